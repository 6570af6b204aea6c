"""The services of each node run, speak through their sidecars, and only to whom the intentions say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.testinfra.services import collect_services
from tests.support.programs import skip

testinfra_hosts = ["ansible://mesh"]

Node = dict[str, Any]
LOOPBACK = {"127.0.0.1", "::1"}
_ASKED: dict[str, Node] = {}


@pytest.fixture
def services(host: Any, variables: Node) -> Node:
    """What the node says of its services; skips where the inventory has none for it."""
    if not variables.get("mesh_services"):
        skip("no services")
    name = variables["inventory_hostname"]
    if name not in _ASKED:
        _ASKED[name] = collect_services(host, str(variables.get("mesh_node_config_dir", "/etc/consul.d")))
    return _ASKED[name]


def test_the_services_are_those_of_the_inventory_and_well(services: Node, variables: Node) -> None:
    wanted = sorted(str(one.get("id") or one["name"]) for one in variables["mesh_services"])
    assert services["services"] == wanted
    assert [name for name, status in services["checks"].items() if status == "critical"] == []


def test_applications_are_bound_to_loopback_only(services: Node) -> None:
    ports = {services["ports"][name] for name in services["units"]}
    bound = {(one["port"], one["address"]) for one in services["listeners"] if one["port"] in ports}
    assert {port for port, _address in bound} == ports
    assert {address for _port, address in bound} <= LOOPBACK


def test_upstreams_are_bound_to_loopback_only(services: Node) -> None:
    ports = {one["port"] for one in services["upstreams"]}
    bound = {(one["port"], one["address"]) for one in services["listeners"] if one["port"] in ports}
    assert {port for port, _address in bound} == ports
    assert {address for _port, address in bound} <= LOOPBACK


def test_applications_and_sidecars_have_no_more_rights_than_they_need(services: Node) -> None:
    units = [*services["units"].values(), *(one["unit"] for one in services["sidecars"].values())]
    assert units
    for unit in units:
        assert (unit["ActiveState"], unit["UnitFileState"], unit["NRestarts"]) == ("active", "enabled", "0")
        assert unit["User"] not in {"", "root", "consul"}
        assert (unit["NoNewPrivileges"], unit["ProtectSystem"]) == ("yes", "strict")


def envoys(variables: Node) -> set[str]:
    """Services whose sidecar the inventory has as Envoy."""
    default = variables.get("mesh_services_data_plane", "builtin")
    planes = {
        str(one.get("id") or one["name"]): one.get("data_plane", default)
        for one in variables["mesh_services"]
    }
    return {name for name, plane in planes.items() if plane == "envoy"}


def test_a_sidecar_is_told_its_service_and_nothing_else(services: Node, variables: Node) -> None:
    for name, one in services["sidecars"].items():
        argv = one["unit"]["argv"]
        if name in envoys(variables):
            # Which service it is for is in what it reads, and so is its token.
            assert argv[0].endswith("/envoy")
            assert argv[1:] == ["--config-path", argv[2], "--disable-hot-restart"]
            assert argv[2].startswith("/dev/fd/")
        else:
            assert argv[-4:] == ["connect", "proxy", "-sidecar-for", name]


def test_environments_are_for_root_only(services: Node) -> None:
    assert services["entries"]
    assert {tuple(found) for found in services["entries"].values()} == {("0600", "root")}


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_a_sidecar_refuses_who_shows_no_certificate(services: Node, version: str) -> None:
    for name, sidecar in services["sidecars"].items():
        code, said = sidecar["without"][version]
        assert code != 0, f"{name}: {said}"
        assert "alert" in said, f"{name}: {said}"


def test_a_sidecar_says_nothing_in_clear(services: Node) -> None:
    for sidecar in services["sidecars"].values():
        assert "HTTP/" not in sidecar["in_clear"]


def test_who_may_talk_does_and_who_may_not_does_not(services: Node) -> None:
    for one in services["upstreams"]:
        allowed = one["explained"]["Allowed"]
        assert (one["said"] != "closed") is allowed, one


def test_every_decision_can_be_explained(services: Node, variables: Node) -> None:
    stated = {(one["source"], one["destination"]) for one in variables.get("mesh_intentions") or []}
    for one in services["upstreams"]:
        reason = one["explained"]["Reason"]
        if (one["source"], one["destination"]) in stated:
            assert f"default/{one['source']} => default/{one['destination']}" in reason, reason
        assert reason


def test_a_flow_can_be_seen_while_it_is_open(services: Node, variables: Node) -> None:
    for one in services["upstreams"]:
        # An Envoy does not tell the agent of its connections.
        if one["explained"]["Allowed"] and one["source"] not in envoys(variables):
            assert {row["Direction"] for row in one["seen"]} >= {"outbound"}, one


def test_a_stranger_is_treated_as_the_intentions_say(services: Node) -> None:
    if not services["denied"]:
        skip("no upstream")
    allowed = services["denied"]["explained"]["Allowed"]
    assert (services["denied"]["said"] != "closed") is allowed, services["denied"]
