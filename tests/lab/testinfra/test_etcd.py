"""The replicated log of two servers or more, seen from outside: who runs etcd, who may speak to it, what is on disk."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.programs import skip

testinfra_hosts = ["ansible://mesh"]

Node = dict[str, Any]
CLIENT_PORT, PEER_PORT = 2379, 2380
HTTP_OK = 200


@pytest.fixture
def member(node: Node, variables: Node, on_etcd: bool) -> Node:
    """What a server said of its etcd."""
    if not on_etcd or "mesh_servers" not in variables["group_names"]:
        skip("no etcd")
    found: Node = node["etcd"]
    return found


def test_etcd_runs_on_servers_of_such_a_mesh_and_nowhere_else(
    node: Node, variables: Node, on_etcd: bool
) -> None:
    wanted = on_etcd and "mesh_servers" in variables["group_names"]
    assert (node["etcd"]["active"] == "active") is wanted
    assert node["config"].get("state_log", {}).get("engine", "embedded") == ("etcd" if wanted else "embedded")


def test_etcd_listens_on_the_address_of_the_node_and_on_two_ports_only(
    node: Node, variables: Node, on_etcd: bool
) -> None:
    wanted = on_etcd and "mesh_servers" in variables["group_names"]
    address = variables["mesh_address"]
    bound = {(entry["address"], entry["port"]) for entry in node["etcd"]["listeners"]}
    assert bound == ({(address, CLIENT_PORT), (address, PEER_PORT)} if wanted else set())


def test_every_server_is_a_member_and_the_cluster_is_healthy(member: Node, variables: Node) -> None:
    code, said = member["health"]
    assert code == 0, said
    rows = [line.split(", ") for line in member["members"][1].splitlines()]
    assert {row[2]: row[1] for row in rows} == dict.fromkeys(variables["groups"]["mesh_servers"], "started")


def test_etcd_refuses_who_shows_no_certificate_and_who_speaks_in_clear(member: Node, tls: bool) -> None:
    if not tls:
        skip("no TLS")
    assert "refused" in member["without_certificate"]
    assert member["in_clear"].get("status") != HTTP_OK


def test_etcd_takes_the_certificate_of_a_server_and_refuses_that_of_a_client(
    node: Node, variables: Node, on_etcd: bool, tls: bool
) -> None:
    if not (on_etcd and tls):
        skip("no TLS of etcd")
    server = "mesh_servers" in variables["group_names"]
    assert len(node["etcd_by_agent"]) == len(variables["groups"]["mesh_servers"])
    assert {answer.get("status") == HTTP_OK for answer in node["etcd_by_agent"]} == {server}


def test_the_certificate_names_the_address_that_calls_come_from(
    member: Node, variables: Node, tls: bool
) -> None:
    if not tls:
        skip("no TLS")
    assert f"IP Address:{variables['mesh_address']}" in member["names"]


def test_keys_and_data_are_etcds_alone(member: Node, tls: bool) -> None:
    wanted = {"directory": ("0700", "etcd", "etcd"), "file": ("0600", "etcd", "etcd")}
    assert len(member["entries"]) == (5 if tls else 2)
    wrong = {
        path: found
        for path, found in member["entries"].items()
        if (found["mode"], found["owner"], found["group"]) != wanted[found["kind"]]
    }
    assert wrong == {}


def test_etcd_has_no_more_rights_than_it_needs(member: Node) -> None:
    unit = dict(line.split("=", 1) for line in member["unit"].splitlines())
    assert unit == {
        "User": "etcd", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "UnitFileState": "enabled",
    }  # fmt: skip


def test_the_log_of_the_mesh_is_in_it(member: Node) -> None:
    assert member["keys"][1].startswith("meshnode/")
