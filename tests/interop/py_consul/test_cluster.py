"""py-consul: events, coordinates, status, snapshots, and what operators do."""

from __future__ import annotations

import consul
import pytest
from consul.exceptions import BadRequest, ConsulException

from meshnode.testing import Mesh
from tests.support.py_consul import eventually

# Events, coordinates, status, snapshots


def test_an_event_that_is_fired_is_listed_with_its_payload(client: consul.Consul, name: str) -> None:
    fired = client.event.fire(name, "payload", node="client1")
    assert (fired["Name"], fired["NodeFilter"], fired["Version"]) == (name, "client1", 1)
    [heard] = eventually(lambda: client.event.list(name)[1])
    assert (heard["ID"], heard["Payload"]) == (fired["ID"], b"payload")
    assert heard["LTime"] > 0
    index, _ = client.event.list(name)
    assert int(index) > 0


def test_coordinates_are_reported_and_read(client: consul.Consul) -> None:
    coordinate = {"Vec": [0.1] * 8, "Error": 1.5, "Adjustment": 0.0, "Height": 0.00001}
    assert client.coordinate.update("server1", coordinate)
    eventually(lambda: client.coordinate.node("server1")[1])
    assert client.coordinate.node("server1")[1][0]["Node"] == "server1"
    assert "server1" in [entry["Node"] for entry in client.coordinate.nodes()[1]]
    assert [entry["Datacenter"] for entry in client.coordinate.datacenters()] == ["dc1"]


def test_the_leader_is_one_of_the_peers(client: consul.Consul, cluster: Mesh) -> None:
    assert client.status.leader() == f"{cluster['server1'].host}:8300"
    assert client.status.peers() == [client.status.leader()]


def test_a_snapshot_brings_the_state_back(client: consul.Consul, name: str) -> None:
    client.kv.put(name, "before")
    archive = client.snapshot.save()
    assert archive.startswith(b"\x1f\x8b")
    client.kv.put(name, "after")
    assert client.snapshot.restore(archive)
    assert client.kv.get(name)[1]["Value"] == b"before"
    with pytest.raises(ConsulException):
        client.snapshot.restore(b"not an archive")


# Operator


def test_the_servers_are_the_raft_configuration(client: consul.Consul) -> None:
    [found] = client.operator.raft_config()["Servers"]
    assert (found["Node"], found["Leader"], found["Voter"]) == ("server1", True, True)
    assert found["Address"] == client.status.leader()
    with pytest.raises(ConsulException):
        client.operator.raft_remove_peer(address="10.99.99.99:8300")
    with pytest.raises(BadRequest):
        client.operator.raft_remove_peer()


def test_the_only_server_can_not_hand_over_its_leadership(client: consul.Consul) -> None:
    with pytest.raises(ConsulException, match=r"500 .*only it can lead"):
        client.operator.raft_transfer_leader()


def test_autopilot_is_read_changed_and_healthy(client: consul.Consul) -> None:
    before = client.operator.autopilot_configuration()
    assert before["LastContactThreshold"] == "200ms"
    assert client.operator.update_autopilot_configuration(
        cleanup_dead_servers=False, max_trailing_logs=300, last_contact_threshold="300ms"
    )
    after = client.operator.autopilot_configuration()
    assert (after["CleanupDeadServers"], after["MaxTrailingLogs"]) == (False, 300)
    assert after["LastContactThreshold"] == "300ms"
    assert client.operator.update_autopilot_configuration(cas=before["ModifyIndex"]) is False
    health = eventually(lambda: (found := client.operator.autopilot_health())["Healthy"] and found)
    assert [found["Name"] for found in health["Servers"]] == ["server1"]


def test_a_gossip_key_is_installed_used_and_removed(server: consul.Consul) -> None:
    old = next(iter(server.operator.keyring_list()[0]["Keys"]))
    new = "MDEyMzQ1Njc4OWFiY2RlZg=="
    assert server.operator.keyring_install(new)
    assert server.operator.keyring_use(new, relay_factor=1)
    assert server.operator.keyring_remove(old)
    for ring in server.operator.keyring_list():
        assert list(ring["Keys"]) == [new]
    with pytest.raises(ConsulException, match="500"):
        server.operator.keyring_remove(new)
