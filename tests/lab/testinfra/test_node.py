"""Each node is what the inventory says, seen from outside of the agent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.programs import skip

testinfra_hosts = ["ansible://mesh"]

Node = dict[str, Any]
#: Gossip and RPC, on the node's own address.
CLUSTER_PORTS = {8300, 8301, 8302}
#: Of Serf's members.
STATUS_ALIVE = 1
LOOPBACK = {"127.0.0.1", "::1"}


def test_the_service_runs_is_enabled_and_was_not_restarted_by_systemd(node: Node) -> None:
    unit = node["unit"]
    assert (unit["ActiveState"], unit["UnitFileState"], unit["NRestarts"]) == ("active", "enabled", "0")


def test_the_service_has_no_more_rights_than_it_needs(node: Node) -> None:
    unit = node["unit"]
    assert unit["User"] not in {"", "root"}
    assert (unit["NoNewPrivileges"], unit["ProtectSystem"]) == ("yes", "strict")


def test_the_agent_runs_with_what_is_on_disk(node: Node) -> None:
    state = node["state"]
    assert str(state["pid"]) == node["unit"]["MainPID"]
    assert state["config_digest"] == node["config_digest"]
    assert node["entries"]["/opt/meshnode/current"]["target"] == f"releases/{state['package_digest']}"
    assert state["package_digest"] in node["releases"]
    assert len(node["releases"]) <= 2


@pytest.mark.parametrize(
    ("path", "kind", "mode", "owner"),
    [
        ("/etc/consul.d", "directory", "0750", "root"),
        ("/etc/consul.d/meshnode.json", "file", "0640", "root"),
        ("/var/lib/consul", "directory", "0700", "consul"),
        ("/run/consul/state.json", "file", "0644", "consul"),
    ],
)
def test_files_have_their_owner_and_mode(node: Node, path: str, kind: str, mode: str, owner: str) -> None:
    found = node["entries"][path]
    assert (found["kind"], found["mode"], found["owner"]) == (kind, mode, owner)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/usr/local/bin/meshnode", "/opt/meshnode/current/bin/meshnode"),
        ("/usr/local/bin/consul", "/opt/meshnode/current/bin/consul"),
        ("/consul/config", "/etc/consul.d"),
    ],
)
def test_links_lead_where_they_should(node: Node, path: str, target: str) -> None:
    assert node["entries"][path]["target"] == target


def test_the_private_key_is_the_agents_alone(node: Node, tls: bool) -> None:
    if not tls:
        skip("no TLS")
    key = node["entries"][node["config"]["key_file"]]
    assert (key["mode"], key["owner"]) == ("0600", "consul")


def test_the_configuration_says_who_the_node_is(node: Node, variables: Node) -> None:
    config = node["config"]
    assert config["node_name"] == variables["inventory_hostname"]
    assert config["advertise_addr"] == variables["mesh_address"]
    assert config["server"] is ("mesh_servers" in variables["group_names"])
    assert config["datacenter"] == variables.get("mesh_datacenter", "dc1")
    assert variables["mesh_address"] not in config["retry_join"]
    assert config["retry_join"] == sorted(config["retry_join"])
    servers = set(variables["groups"][variables.get("mesh_node_servers_group", "mesh_servers")])
    assert len(config["retry_join"]) == len(servers - {variables["inventory_hostname"]})


def test_the_configuration_turns_every_verification_on(node: Node, tls: bool) -> None:
    if not tls:
        skip("no TLS")
    wanted = ("verify_incoming", "verify_outgoing", "verify_server_hostname")
    assert {name: node["config"].get(name) for name in wanted} == dict.fromkeys(wanted, True)
    gossip = ("encrypt_verify_incoming", "encrypt_verify_outgoing")
    assert {name: node["config"].get(name) for name in gossip} == dict.fromkeys(gossip, True)


def test_every_node_of_a_lan_has_the_same_gossip_key(node: Node, variables: Node) -> None:
    if not variables.get("mesh_gossip_encrypt", True):
        assert node["gossip_key"] == ""
        return
    assert node["gossip_key"]
    first = _FIRST_KEYS.setdefault(variables.get("mesh_cluster", "dc1"), node["gossip_key"])
    assert node["gossip_key"] == first


#: Of each name in the secret store.
_FIRST_KEYS: dict[str, str] = {}


def test_only_configured_ports_are_bound_and_clear_ones_to_loopback_only(node: Node, tls: bool) -> None:
    ports = node["config"].get("ports", {})
    http, https, dns = ports.get("http", 8500), ports.get("https", -1), ports.get("dns", 8600)
    xds = ports.get("grpc", -1)
    bound = {(entry["port"], entry["address"]) for entry in node["listeners"]}
    assert {port for port, _ in bound} <= CLUSTER_PORTS | {http, https, dns, xds}
    assert 8301 in {port for port, _ in bound}
    if tls:
        assert {address for port, address in bound if port in {http, dns, xds}} <= LOOPBACK
        assert https in {port for port, _ in bound}
    if node["config"]["server"]:
        assert 8300 in {port for port, _ in bound}


def test_plain_http_answers_exactly_where_it_is_configured(node: Node) -> None:
    enabled = node["config"]["ports"]["http"] > 0
    assert node["plain"].get("status") == (200 if enabled else None)


def test_the_certificate_is_from_our_ca_and_for_our_key(node: Node, tls: bool) -> None:
    if not tls:
        skip("no TLS")
    code, said = node["tls"]["verify"]
    assert code == 0, said
    assert node["tls"]["certificate_key"] == node["tls"]["private_key"] != "?"


def test_the_certificate_names_the_role_that_the_node_has(node: Node, variables: Node, tls: bool) -> None:
    if not tls:
        skip("no TLS")
    server = f"DNS:server.{node['config']['datacenter']}.consul"
    assert (server in node["tls"]["names"]) is node["config"]["server"]
    assert f"IP Address:{variables['mesh_address']}" in node["tls"]["names"]


def test_https_serves_who_shows_a_certificate_and_refuses_who_does_not(node: Node, tls: bool) -> None:
    if not tls:
        skip("no TLS")
    assert node["tls"]["with_certificate"].get("status") == 200
    assert "refused" in node["tls"]["without_certificate"]


def test_the_node_sees_every_member_alive_and_nobody_else(node: Node, everybody: set[str], tls: bool) -> None:
    """A node that left the inventory is remembered as failed for 72 hours, as in Serf."""
    answer = node["tls"]["with_certificate"] if tls else node["plain"]
    members = {member["Name"]: member["Status"] for member in json.loads(answer["body"])}
    assert {name for name, status in members.items() if status == STATUS_ALIVE} == everybody


def test_the_command_line_finds_the_agent_without_being_told(node: Node, everybody: set[str]) -> None:
    code, said = node["members"]
    assert code == 0, said
    rows = [line.split() for line in said.splitlines()[1:]]
    assert {row[0] for row in rows if row[2] == "alive"} == everybody
