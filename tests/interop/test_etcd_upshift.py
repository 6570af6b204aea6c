"""Members of real etcd from clear to TLS and back, one after the other, by what the module does, while a client writes.

A systemd is not here: units are processes of the test.
"""

from __future__ import annotations

import asyncio
import grp
import json
import os
import pwd
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._etcd import Etcd, Plan, Report
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_control import Control
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import MemberError, Server
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_turn import Turn, spoken

from meshnode.base.address import Address
from meshnode.control.log import LogUnavailableError
from meshnode.runtime.etcd_client import EtcdClient, EtcdSettings, etcd_tls
from meshnode.runtime.etcd_election import put
from meshnode.runtime.etcd_messages import TXN, message
from tests.support.certs import make_ca, make_cert
from tests.support.etcd_machine import Machine
from tests.support.programs import needs
from tests.support.wire import free_port

pytestmark = [pytest.mark.timeout(180), needs("etcd", "etcdctl")]

USER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
HOSTS = ("127.0.3.1", "127.0.3.2", "127.0.3.3")
FORTH, BACK = ("clear", "offered", "required"), ("required", "offered", "clear")


class Mesh:
    """Three servers, each with its machine; certificates for all are there before anybody uses them."""

    def __init__(self, folder: Path) -> None:
        self.places = [(f"{host}:{free_port(host=host)}", f"{host}:{free_port(host=host)}") for host in HOSTS]
        self.machines = [Machine(folder / f"m{number}") for number in range(3)]
        for machine in self.machines:
            machine.files.mkdir()
        ca = make_ca()
        ca.write(folder, "ca")
        # A peer's certificate has to name the address that it calls from, which on loopback is this one.
        make_cert(["etcd", "127.0.0.1", *HOSTS], ca).write(folder, "etcd")
        names = {"ca_file": "ca", "cert_file": "etcd", "key_file": "etcd-key"}
        self.tls: dict[str, str | None] = {name: str(folder / f"{file}.pem") for name, file in names.items()}
        self.tls |= {"ca": None, "certificate": None}

    def plan(self, number: int, step: str, **changes: Any) -> Plan:
        scheme = "https" if step == "required" else "http"
        servers = tuple(
            Server(f"m{at}", f"{scheme}://{client}", f"{scheme}://{peer}")
            for at, (client, peer) in enumerate(self.places)
        )
        me, files = servers[number], self.machines[number].files
        settings: dict[str, Any] = {
            "name": me.name, "data-dir": str(files / "data"), "logger": "zap", "log-level": "warn",
            "listen-client-urls": me.client, "advertise-client-urls": me.client,
            "listen-peer-urls": me.peer, "initial-advertise-peer-urls": me.peer,
        }  # fmt: skip
        flags = {"trusted-ca-file": "ca_file", "cert-file": "cert_file", "key-file": "key_file"}
        if step != "clear":
            settings |= {f"peer-{flag}": self.tls[file] for flag, file in flags.items()}
        if step == "required":
            settings |= {flag: self.tls[file] for flag, file in flags.items()}
            settings |= {"client-cert-auth": True, "peer-client-cert-auth": True}
        return Plan(
            me, servers, settings, "[Service]\n", self.tls if step != "clear" else {}, config_dir=str(files),
            data_dir=str(files / "data"), clear_members=True, unit_folder=str(files), user=USER, group=GROUP, **changes,
        )  # fmt: skip

    def bring(self, number: int, step: str, **changes: Any) -> Report:
        return Etcd(self.machines[number], self.plan(number, step, **changes)).run()

    def known_by(self, number: int) -> list[set[str]]:
        """How this member knows the three, by the schemes of their URLs for peers."""
        server = self.plan(0, "clear").servers[number]
        reached = Turn(Control(self.machines[0], "etcdctl", self.tls), server, (), print).reached(server)
        control = Control(self.machines[0], "etcdctl", self.tls)
        _code, out, _err = control.ask(reached.client, "member", "list", "--write-out=json")
        return [
            {url.partition(":")[0] for url in member["peerURLs"]} for member in json.loads(out)["members"]
        ]

    def client(self) -> EtcdClient:
        """One as an agent has it meanwhile: every member with TLS, and then in clear."""
        endpoints = tuple(
            Address(host, int(port)) for host, _, port in (place.partition(":") for place, _ in self.places)
        )
        context = etcd_tls(*(str(self.tls[name]) for name in ("ca_file", "cert_file", "key_file")))
        return EtcdClient(EtcdSettings(endpoints, context, clear=endpoints))


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path)
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda number: mesh.bring(number, "clear", may_begin=True), range(3)))
    assert all(report.healthy for report in reports)
    yield mesh
    for machine in mesh.machines:
        machine.stop()


async def write(client: EtcdClient, value: str) -> None:
    """As the log does: again, with the next member, a few times."""
    for left in reversed(range(8)):
        try:
            await client.call(TXN, message("TxnRequest", success=[put(b"k", value.encode())]))
        except LogUnavailableError:
            assert left, "no member took the write"
        else:
            return


@pytest.mark.parametrize("way", [FORTH, [*FORTH, *BACK[1:]]], ids=["forth", "forth and back"])
def test_members_change_in_turns_and_each_time_a_client_that_knows_both_urls_writes(
    mesh: Mesh, way: list[str]
) -> None:
    async def main() -> None:
        client = mesh.client()
        try:
            for step in way[1:]:
                for number in range(3):
                    report = await asyncio.to_thread(mesh.bring, number, step)
                    assert report.healthy
                    assert report.members == ["m0", "m1", "m2"]
                    await write(client, f"{step} {number}")
        finally:
            await client.close()

    asyncio.run(main())
    scheme = "https" if way[-1] == "required" else "http"
    assert [mesh.known_by(number) for number in range(3)] == [[{scheme}] * 3] * 3
    server = mesh.plan(0, way[-1]).me
    assert (spoken(server.client), spoken(server.peer)) == (scheme, scheme)
    # Nothing depends on how they were before.
    mesh.machines[0].stop()
    mesh.machines[0].systemctl("start")
    assert mesh.bring(0, way[-1]).changes == []


def test_one_that_is_broken_off_between_url_and_restart_is_reached_and_finished_by_the_next_run(
    mesh: Mesh,
) -> None:
    for number in range(3):
        mesh.bring(number, "offered")
    assert mesh.bring(1, "required", restart="start").pending
    plan = mesh.plan(1, "required")
    turn = Etcd(mesh.machines[1], plan).turn
    assert turn.announce() != ""
    assert turn.announce() == ""
    assert mesh.known_by(0).count({"http", "https"}) == 1
    assert mesh.bring(0, "offered").healthy
    assert f"URLs for peers: {plan.me.peer}" in mesh.bring(1, "required").changes
    assert mesh.known_by(0).count({"https"}) == 1
    assert mesh.bring(1, "required").changes == []


def test_a_member_is_not_restarted_while_the_others_would_be_no_majority(mesh: Mesh) -> None:
    mesh.machines[2].stop()
    process = mesh.machines[0].process
    with pytest.raises(MemberError, match=r"lose its majority by a restart of m0: m2 is not well"):
        mesh.bring(0, "offered", timeout=2)
    assert mesh.machines[0].process is process
    assert mesh.bring(1, "clear").healthy
