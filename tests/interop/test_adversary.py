"""Somebody hostile on the network of a real mesh: what they send changes nothing, and would without the defence.

Each attack has a positive control (the same by somebody who may is taken) and, where a setting is the defence, a
negative one (the same against a mesh without it succeeds). What is tested elsewhere is not repeated: another CA,
another key, RPC and the API in clear (``test_cluster``), handshakes without end (``test_http_tls``), bombs
(``memberlist/test_fuzz``).
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshnode.control import user_event
from meshnode.gossip.memberlist.codec import encode_message
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.messages import Dead, Suspect, UserMessage
from meshnode.gossip.serf import messages as serf
from meshnode.pki.leaf import Role
from tests.support.mesh_agent import CLEAN, Mesh, MeshAgent, wait
from tests.support.programs import needs

CLEAR: Mapping[str, Any] = {
    **dict.fromkeys(("encrypt", "ca_file", "cert_file", "key_file"), None),
    **dict.fromkeys(("verify_incoming", "verify_outgoing", "verify_server_hostname", "ports"), None),
}
#: Lamport times of events: always later ones, for each agent forgets what is long ago.
TIMES = itertools.count(1000)
pytestmark = [needs("curl", "openssl"), pytest.mark.timeout(180)]


def pair(mesh: Mesh, **config: Any) -> None:
    """A server and a client that know each other."""
    mesh.add("server1", 1, server=True, bootstrap_expect=1, **config)
    mesh.add("client1", 2, retry_join=[f"{mesh.network}.1"], **config)
    for agent in mesh.agents.values():
        agent.launch()
    mesh.wait_alive("server1", "client1")
    wait(lambda: mesh.leader("server1", "client1"), "there is a leader")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Mesh.new(tmp_path_factory.mktemp("sealed")) as mesh:
        pair(mesh)
        yield mesh


@pytest.fixture(scope="module")
def clear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Mesh.new(tmp_path_factory.mktemp("clear")) as mesh:
        pair(mesh, **CLEAR)
        yield mesh


@dataclass
class Attacker:
    """Sends datagrams to the gossip port of an agent; ``key`` is what they are sealed with, or nothing."""

    target: MeshAgent
    key: bytes = b""

    def send(self, *packets: bytes) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            for packet in packets:
                sender.sendto(packet, (self.target.host, 8301))

    def wrap(self, message: bytes, key: bytes | None = None) -> bytes:
        used = self.key if key is None else key
        return Keyring([used]).seal(message, os.urandom(12), b"") if used else message

    def event(self, name: str, ltime: int = 0) -> bytes:
        """A user event as an agent would send it, not sealed."""
        body = user_event.serialize_event(user_event.UserEvent(f"id-{name}", name, b"x"))
        told = serf.UserEvent(ltime or next(TIMES), f"{user_event.EVENT_PREFIX}{name}", body)
        return encode_message(UserMessage(serf.serialize(told)))

    def fence(self) -> None:
        """Wait until the target has taken everything that was sent before: datagrams on loopback keep their order."""
        name = f"fence{next(TIMES)}"
        self.send(self.wrap(self.event(name)))
        wait(lambda: self.heard(name), "the event of somebody who may is taken")

    def heard(self, name: str) -> int:
        """How often the target delivered an event."""
        return len(self.target.get(f"/v1/event/list?name={name}"))


def key_of(mesh: Mesh) -> bytes:
    return base64.b64decode(mesh.key)


def test_plaintext_gossip_that_is_injected_is_not_taken(sealed: Mesh, clear: Mesh) -> None:
    attacker = Attacker(sealed["server1"], key_of(sealed))
    attacker.send(attacker.event("injected"))
    attacker.fence()
    assert attacker.heard("injected") == 0
    twin = Attacker(clear["server1"])
    twin.send(twin.event("injected"))
    wait(lambda: twin.heard("injected"), "a mesh in clear takes it")


@pytest.mark.parametrize("size", [16, 24, 32])
def test_gossip_under_another_key_is_not_taken(sealed: Mesh, size: int) -> None:
    attacker = Attacker(sealed["server1"], key_of(sealed))
    attacker.send(attacker.wrap(attacker.event("wrongkey"), bytes(size)))
    attacker.fence()
    assert attacker.heard("wrongkey") == 0


def test_each_changed_byte_of_a_sealed_packet_makes_it_nothing(sealed: Mesh) -> None:
    attacker = Attacker(sealed["server1"], key_of(sealed))
    packet = attacker.wrap(attacker.event("changed"))
    for at in range(len(packet)):
        attacker.send(packet[:at] + bytes((packet[at] ^ 1,)) + packet[at + 1 :])
        if at % 16 == 15:
            attacker.fence()
    attacker.fence()
    assert attacker.heard("changed") == 0
    attacker.send(packet)
    attacker.fence()
    assert attacker.heard("changed") == 1


def test_an_event_that_is_replayed_is_delivered_once(sealed: Mesh) -> None:
    attacker = Attacker(sealed["client1"], key_of(sealed))
    message = attacker.event("replayed")
    packet = attacker.wrap(message)
    # The very same bytes, and the same message sealed anew.
    attacker.send(packet, packet, attacker.wrap(message))
    attacker.fence()
    attacker.send(packet, attacker.wrap(message))
    attacker.fence()
    assert attacker.heard("replayed") == 1


def test_events_that_arrive_in_another_order_are_each_delivered_once(sealed: Mesh) -> None:
    attacker = Attacker(sealed["client1"], key_of(sealed))
    times = [next(TIMES) for _ in range(6)]
    packets = [attacker.wrap(attacker.event(f"reordered{at}", ltime)) for at, ltime in enumerate(times)]
    attacker.send(*reversed(packets), *packets)
    attacker.fence()
    assert [attacker.heard(f"reordered{at}") for at in range(6)] == [1] * 6


def test_an_event_from_long_ago_is_not_delivered_any_more(sealed: Mesh) -> None:
    attacker = Attacker(sealed["client1"], key_of(sealed))
    then = next(TIMES)
    assert next(itertools.islice(TIMES, 1000, None)) > then
    attacker.fence()
    attacker.send(attacker.wrap(attacker.event("ancient", ltime=then)))
    attacker.fence()
    assert attacker.heard("ancient") == 0


@pytest.mark.parametrize("kind", [Suspect, Dead])
def test_an_old_word_that_a_node_is_gone_changes_nothing_and_a_new_one_is_refuted(
    sealed: Mesh, kind: type[Suspect] | type[Dead]
) -> None:
    server, victim = sealed["server1"], sealed["client1"]
    attacker = Attacker(server, key_of(sealed))
    before = len(server.log)
    for _ in range(3):
        attacker.send(attacker.wrap(encode_message(kind(0, "client1", "server1"))))
        attacker.fence()
    assert server.statuses() == {"server1": "alive", "client1": "alive"}
    assert "client1" not in "".join(
        line for line in server.log[before:].splitlines() if "suspect" in line.lower()
    )
    # Positive control: with a number that is not old the word is believed, until the node says otherwise.
    newer, heard = next(TIMES), len(victim.log)
    attacker.send(attacker.wrap(encode_message(kind(newer, "client1", "server1"))))
    wait(lambda: "refuted" in victim.log[heard:], "the victim hears of it and refutes")
    wait(lambda: server.statuses() == {"server1": "alive", "client1": "alive"}, "both are alive again")


def s_client(
    agent: MeshAgent, *more: str, certificate: tuple[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    shown = ["-cert", certificate[0], "-key", certificate[1]] if certificate else []
    return subprocess.run(
        ["openssl", "s_client", "-connect", f"{agent.host}:10443", "-brief", *shown, *more],
        input="GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        capture_output=True, text=True, check=False, timeout=30, env=CLEAN,
    )  # fmt: skip


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_an_old_version_of_tls_is_refused(sealed: Mesh, version: str) -> None:
    agent, certificate = sealed["server1"], sealed.certificate("client")
    weak = ["-cipher", "DEFAULT@SECLEVEL=0"]
    old = s_client(agent, version, *weak, certificate=certificate)
    assert old.returncode != 0
    assert "CONNECTION ESTABLISHED" not in old.stderr
    for later, shown in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
        new = s_client(agent, later, *weak, certificate=certificate)
        assert f"Protocol version: {shown}" in new.stderr, new.stderr


@pytest.mark.parametrize("suite", ["NULL-SHA256", "ECDHE-ECDSA-NULL-SHA", "AECDH-NULL-SHA", "ADH-AES128-SHA"])
def test_a_suite_without_encryption_or_without_a_certificate_is_refused(sealed: Mesh, suite: str) -> None:
    found = s_client(
        sealed["server1"],
        "-tls1_2",
        "-cipher",
        f"{suite}:@SECLEVEL=0",
        certificate=sealed.certificate("client"),
    )
    assert found.returncode != 0
    assert "CONNECTION ESTABLISHED" not in found.stderr


def rogue(folder: Path, role: Role = "client", dc: str = "dc1", **client: Any) -> tuple[int, str]:
    """What a client gets whose only server has a certificate of the right CA with another name."""
    with Mesh.new(folder) as mesh:
        certificate, key = mesh.certificate(role, f"{mesh.network}.1", dc)
        tolerant = {"verify_server_hostname": False}
        mesh.add("rogue", 1, server=True, bootstrap_expect=1, cert_file=certificate, key_file=key, **tolerant)
        mesh.add("client1", 2, retry_join=[f"{mesh.network}.1"], **client)
        for agent in mesh.agents.values():
            agent.launch()
        mesh.wait_alive("rogue", "client1")
        wait(lambda: mesh["rogue"].get("/v1/status/leader"), "the rogue leads")
        asked: tuple[int, str] = (0, "")

        def settled() -> bool:
            nonlocal asked
            asked = mesh["client1"].api("/v1/kv/secret", "PUT", b"word")
            return asked[0] == 200 or "hostname" in asked[1].lower() or "certificate" in asked[1].lower()

        wait(settled, f"the call ends: {asked}")
        return asked


@pytest.mark.parametrize(("role", "dc"), [("client", "dc1"), ("server", "dc2")])
def test_a_server_with_a_clients_certificate_or_another_datacenters_gets_no_call(
    tmp_path: Path, role: Role, dc: str
) -> None:
    status, body = rogue(tmp_path, role, dc)
    assert status == 500, body
    assert "rpc error making call" in body
    assert "certificate" in body


def test_without_verify_server_hostname_the_same_rogue_gets_the_call(tmp_path: Path) -> None:
    assert rogue(tmp_path, verify_server_hostname=False) == (200, json.dumps(True))
