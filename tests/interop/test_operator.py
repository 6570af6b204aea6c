"""``/v1/operator`` on running agents: by curl and by the command line, with both engines of the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.etcd_cluster import etcd_cluster
from tests.support.mesh_agent import Mesh, MeshAgent, wait
from tests.support.programs import require
from tests.support.waiting import until

SERVERS = ("server1", "server2", "server3")
ALL = (*SERVERS, "client1")


def configuration(agent: MeshAgent) -> dict[str, dict[str, Any]]:
    return {server["Node"]: server for server in agent.get("/v1/operator/raft/configuration")["Servers"]}


def health(agent: MeshAgent) -> tuple[int, dict[str, Any]]:
    status, text = agent.api("/v1/operator/autopilot/health")
    return status, json.loads(text) if status in (200, 429) else {
        "Servers": [],
        "Healthy": None,
        "Error": text,
    }


def well(agent: MeshAgent) -> dict[str, bool]:
    return {server["Name"]: server["Healthy"] for server in health(agent)[1]["Servers"]}


# One server, its log on its own disk


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Mesh.new(tmp_path_factory.mktemp("small")) as mesh:
        settings = {"autopilot": {"max_trailing_logs": 300}}
        mesh.add("server1", 1, server=True, bootstrap_expect=1, **settings).launch()
        mesh.add("client1", 2, retry_join=[f"{mesh.network}.1"]).launch()
        mesh.wait_alive("server1", "client1")
        wait(lambda: mesh.leader("server1", "client1"), "a leader")
        yield mesh


@pytest.mark.parametrize("name", ["server1", "client1"])
def test_the_one_server_leads_and_has_the_only_vote(small: Mesh, name: str) -> None:
    agent, server = small[name], small["server1"]
    assert configuration(agent)["server1"] == {
        "ID": (server.data_dir / "node-id").read_text().strip(),
        "Node": "server1", "Address": f"{server.host}:8300", "Leader": True, "ProtocolVersion": "3", "Voter": True,
    }  # fmt: skip
    done = agent.cli("operator", "raft", "list-peers")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split()[2:] == [f"{server.host}:8300", "leader", "true", "3"]


def test_a_live_server_is_not_removed_and_an_unknown_one_is_not_found(small: Mesh) -> None:
    peer_id = configuration(small["client1"])["server1"]["ID"]
    status, text = small["client1"].api(f"/v1/operator/raft/peer?id={peer_id}", "DELETE")
    assert (status, "server server1 is alive: run `consul leave` on it" in text) == (500, True)
    done = small["client1"].cli("operator", "raft", "remove-peer", "-address=10.9.9.9:8300")
    assert (done.returncode, "was not found in the Raft configuration" in done.stderr) == (1, True)


def test_the_settings_begin_as_configured_and_are_changed_by_the_command_line(small: Mesh) -> None:
    client = small["client1"]

    def shown() -> list[str]:
        return client.cli("operator", "autopilot", "get-config").stdout.splitlines()

    wait(lambda: "MaxTrailingLogs = 300" in shown(), "the settings of the configuration")
    done = client.cli("operator", "autopilot", "set-config", "-cleanup-dead-servers=false")
    assert (done.returncode, done.stdout) == (0, "Configuration updated!\n")
    assert shown()[:3] == [
        "CleanupDeadServers = false",
        "LastContactThreshold = 200ms",
        "MaxTrailingLogs = 300",
    ]
    done = client.cli("operator", "autopilot", "set-config", "-redundancy-zone-tag=zone")
    assert (done.returncode, "RedundancyZoneTag must stay empty" in done.stderr) == (1, True)


def test_the_settings_stay_after_a_restart(small: Mesh) -> None:
    small["server1"].kill()
    small["server1"].start()
    wait(lambda: small.leader("server1", "client1"), "a leader again")
    wait(lambda: small["client1"].api("/v1/operator/autopilot/configuration")[0] == 200, "an answer")
    assert small["client1"].get("/v1/operator/autopilot/configuration")["CleanupDeadServers"] is False


def test_its_health_is_told_and_that_nothing_may_fail(small: Mesh) -> None:
    status, report = wait(lambda: (found := health(small["client1"]))[0] == 200 and found, "health")
    (server,) = report["Servers"]
    assert (status, report["Healthy"], report["FailureTolerance"]) == (200, True, 0)
    assert (server["Leader"], server["LastContact"], server["SerfStatus"]) == (True, "0s", "alive")
    assert server["LastIndex"] > 0
    names = [gauge["Name"] for gauge in small["server1"].get("/v1/agent/metrics")["Gauges"]]
    assert any(name.endswith("autopilot.healthy") for name in names)


def test_leadership_can_not_be_handed_to_nobody(small: Mesh) -> None:
    status, text = small["client1"].api("/v1/operator/raft/transfer-leader", "POST")
    assert (status, "set state_log.engine to etcd" in text) == (500, True)


# Three servers, their log in etcd


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    require("etcd", "etcdctl")
    with (
        etcd_cluster(tmp_path_factory.mktemp("etcd"), 3) as etcd,
        Mesh.new(tmp_path_factory.mktemp("mesh")) as mesh,
    ):
        asyncio.run(until(lambda: etcd.leader() >= 0, "etcd has a leader", 60))
        ca, cert, key = etcd.files("client")
        endpoints = [f"https://{address}" for address in etcd.clients]
        log = {"engine": "etcd", "endpoints": endpoints, "ca_file": ca, "cert_file": cert, "key_file": key}
        # Machines under test may be busy: what is late by a second is not ill here.
        settings = {"state_log": log, "autopilot": {"last_contact_threshold": "1s"}}
        for number, name in enumerate((*ALL, "server4"), 1):
            server = name in SERVERS or name == "server4"
            extra = {"bootstrap_expect": 3, **settings} if server else {}
            # Through any of the three: the first may be the one that was killed.
            seeds = [f"{mesh.network}.{seed}" for seed in (1, 2, 3)]
            mesh.add(name, number, server=server, retry_join=seeds, **extra)
        for name in ALL:
            mesh[name].launch()
        mesh.wait_alive(*ALL)
        wait(lambda: mesh.leader(*ALL), "a leader")
        yield mesh


def leads(agent: MeshAgent) -> str:
    status, text = agent.api("/v1/operator/raft/configuration")
    servers = json.loads(text)["Servers"] if status == 200 else []
    return next((server["Node"] for server in servers if server["Leader"]), "")


def test_every_server_has_the_log_and_one_may_fail(mesh: Mesh) -> None:
    client = mesh["client1"]
    wait(lambda: health(client)[0] == 200, "all servers are well")
    assert {name: server["Voter"] for name, server in configuration(client).items()} == dict.fromkeys(
        SERVERS, True
    )
    assert [server["Leader"] for server in configuration(client).values()].count(True) == 1
    assert health(client)[1]["FailureTolerance"] == 1


def test_leadership_is_handed_to_the_server_that_is_named(mesh: Mesh) -> None:
    client = mesh["client1"]
    heir = next(name for name in SERVERS if name != leads(client))
    peer_id = configuration(client)[heir]["ID"]
    assert client.api(f"/v1/operator/raft/transfer-leader?id={peer_id}", "POST") == (200, '{"Success":true}')
    wait(lambda: leads(client) == heir, f"{heir} leads")


def test_a_failed_server_is_not_well_until_another_came_in_its_place(mesh: Mesh) -> None:
    client = mesh["client1"]
    gone = next(name for name in SERVERS if name != leads(client))
    mesh[gone].kill()
    wait(lambda: well(client).get(gone) is False and health(client)[0] == 429, f"{gone} is not well")
    wait(lambda: client.statuses().get(gone) == "failed", f"{gone} has failed")
    report = health(client)[1]
    assert (report["Healthy"], report["FailureTolerance"]) == (False, 0)
    mesh["server4"].launch()
    wait(lambda: client.statuses().get(gone) == "left", f"{gone} was removed", 60)
    rest = {*SERVERS, "server4"} - {gone}
    wait(lambda: well(client) == dict.fromkeys(rest, True), "the others are well")
    assert health(client)[1]["FailureTolerance"] == 1


def test_a_failed_server_is_removed_on_request(mesh: Mesh) -> None:
    client = mesh["client1"]
    gone = next(name for name in configuration(client) if name != leads(client))
    address = configuration(client)[gone]["Address"]
    mesh[gone].kill()
    wait(lambda: client.statuses().get(gone) == "failed", f"{gone} has failed")
    done = client.cli("operator", "raft", "remove-peer", f"-address={address}")
    assert (done.returncode, done.stderr) == (0, "")
    wait(lambda: gone not in configuration(client), f"{gone} is no longer listed")
