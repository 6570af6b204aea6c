"""Members that come and go, on real etcd: what the collection's modules do, with etcdctl as it is installed.

A systemd is not here: units are processes of the test.
"""

from __future__ import annotations

import asyncio
import grp
import json
import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._etcd import Etcd, Plan
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_control import Control
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_departure import Departure, Leaver
from ansible_collections.meshnode.lab.plugins.module_utils._etcd_member import (
    MemberError,
    Server,
)

from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.etcd_machine import Machine
from tests.support.waiting import until
from tests.support.wire import free_port

pytestmark = pytest.mark.timeout(120)

USER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


@pytest.fixture
def three(tmp_path: Path) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path, 3, tls=False) as cluster:
        asyncio.run(until(lambda: cluster.leader() >= 0, "etcd has a leader", 60))
        yield cluster


def servers_of(cluster: EtcdCluster) -> tuple[Server, ...]:
    return tuple(
        Server(f"m{number}", f"http://{client}", f"http://{peer}")
        for number, (client, peer) in enumerate(zip(cluster.clients, cluster.peers, strict=True))
    )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "etc").mkdir()
    machine = Machine(tmp_path / "etc")
    yield machine
    if machine.process:
        machine.process.kill()
        machine.process.wait(20)


def join(machine: Machine, me: Server, servers: tuple[Server, ...]) -> list[str]:
    """What the module does on a server without data."""
    settings = {
        "name": me.name,
        "data-dir": str(machine.files / "data"),
        "listen-client-urls": me.client,
        "advertise-client-urls": me.client,
        "listen-peer-urls": me.peer,
        "initial-advertise-peer-urls": me.peer,
    }
    plan = Plan(
        me, servers, settings, "[Service]\n", {}, config_dir=str(machine.files), data_dir=str(machine.files / "data"),
        unit_folder=str(machine.files), user=USER, group=GROUP, token="etcd-cluster",
    )  # fmt: skip
    report = Etcd(machine, plan).run()
    assert report.members == sorted(server.name for server in servers)
    return report.changes


def leave(
    machine: Machine, servers: tuple[Server, ...], leaving: Server, *, pretend: bool = False
) -> Departure:
    return Leaver(Control(machine, "etcdctl", {}), servers, leaving, 30).run(pretend=pretend)


def members(cluster: EtcdCluster) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(cluster.etcdctl("member", "list", "-w", "json"))["members"]
    return listed


def test_a_fourth_member_joins_as_a_learner_and_ends_as_a_voter_with_the_data(
    three: EtcdCluster, machine: Machine
) -> None:
    three.etcdctl("put", "before", "x")
    new = Server(
        "m3",
        f"http://127.0.2.4:{free_port(host='127.0.2.4')}",
        f"http://127.0.2.4:{free_port(host='127.0.2.4')}",
    )
    changes = join(machine, new, (*servers_of(three), new))
    steps = ["add this member", "join the cluster", "etcd.service: start", "become a voter"]
    assert [change for change in changes if change in steps] == steps
    assert [bool(one.get("isLearner")) for one in members(three)] == [False] * 4
    _code, out, _err = Control(machine, "etcdctl", {}).ask(new.client, "get", "before", "--consistency=s")
    assert out.split() == ["before", "x"]


def test_a_member_that_lost_its_disk_is_replaced_under_its_name_and_address(
    three: EtcdCluster, machine: Machine
) -> None:
    servers = servers_of(three)
    old = {one["name"]: one["ID"] for one in members(three)}
    three.kill(1)
    changes = join(machine, servers[1], servers)
    assert [change for change in changes if change.endswith(" member")] == [
        "remove the old member",
        "add this member",
    ]
    new = {one["name"]: one["ID"] for one in members(three)}
    assert new["m1"] != old["m1"]
    assert {name: number for name, number in new.items() if name != "m1"} == {
        name: number for name, number in old.items() if name != "m1"
    }


def test_a_leader_hands_over_and_leaves_and_the_next_one_may_not(
    three: EtcdCluster, machine: Machine
) -> None:
    servers, leading = servers_of(three), three.leader()
    left = leave(machine, servers, servers[leading])
    rest = [server.name for server in servers if server != servers[leading]]
    assert left == Departure([f"remove the member m{leading}", "let another member lead"], rest, rest)
    assert [one["name"] for one in sorted(members(three), key=lambda one: one["name"])] == rest
    stays, asked = (server for server in servers if server.name in rest)
    three.kill(servers.index(asked), signal.SIGKILL)
    with pytest.raises(MemberError, match="no majority now: of 2 members 2 have to be healthy, and"):
        leave(machine, (stays, asked), asked, pretend=True)
