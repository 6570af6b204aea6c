"""Gateways and the services behind them, through the methods of a server."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.control.gateways import gateways_to
from tests.support.state_api import Grants, StateApi, json_of

INGRESS = {
    "Kind": "ingress-gateway",
    "Name": "front",
    "Listeners": [
        {"Port": 80, "Protocol": "http", "Services": [{"Name": "*"}]},
        {"Port": 81, "Protocol": "http", "Services": [{"Name": "web", "Hosts": ["web.example"]}]},
    ],
}
LINK = {"Name": "legacy", "CAFile": "/ca.pem", "SNI": "legacy.example"}
TERMINATING = {"Kind": "terminating-gateway", "Name": "exit", "Services": [LINK]}
DEFAULTS = {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}


def register(api: StateApi, name: str, node: str = "n1", **more: Any) -> None:
    service = {"Service": name, "ID": name, "Port": 80, **more}
    api.put("/v1/catalog/register", {"Node": node, "Address": "10.0.0.1", "Service": service})


@pytest.fixture
def api() -> StateApi:
    """``web`` is in the mesh, ``legacy`` and ``old`` are outside, and ``exit`` is a gateway."""
    made = StateApi()
    made.put("/v1/config", DEFAULTS)
    for name in ("web", "legacy", "old"):
        register(made, name)
    register(made, "web-proxy", Kind="connect-proxy", ProxyDestination="web")
    register(made, "exit", "n2", Kind="terminating-gateway")
    return made


def rows(api: StateApi, gateway: str) -> list[dict[str, Any]]:
    found = api.json(f"/v1/catalog/gateway-services/{gateway}")
    return [{name: value for name, value in row.items() if "Index" not in name} for row in found]


def instances(api: StateApi, service: str) -> list[str]:
    return [row["Service"]["Service"] for row in api.json(f"/v1/health/connect/{service}")]


def test_a_wildcard_of_an_ingress_gateway_is_what_is_in_the_mesh(api: StateApi) -> None:
    assert rows(api, "front") == []
    api.put("/v1/config", INGRESS)
    one = {"Gateway": {"Name": "front"}, "Service": {"Name": "web"}, "GatewayKind": "ingress-gateway"}
    assert rows(api, "front") == [
        {**one, "Port": 80, "Protocol": "http", "FromWildcard": True},
        {**one, "Port": 81, "Protocol": "http", "Hosts": ["web.example"]},
    ]
    api.put("/v1/config", {"Kind": "service-defaults", "Name": "web", "Protocol": "http"})
    api.put("/v1/config", {**DEFAULTS, "Config": {"protocol": "tcp"}})
    assert len(rows(api, "front")) == 2, "its own defaults count"


def test_a_linked_service_is_reached_by_the_gateway(api: StateApi) -> None:
    assert instances(api, "legacy") == []
    api.put("/v1/config", TERMINATING)
    files = {"CAFile": "/ca.pem", "SNI": "legacy.example"}
    (row,) = rows(api, "exit")
    assert row == {
        "Gateway": {"Name": "exit"},
        "Service": {"Name": "legacy"},
        "GatewayKind": "terminating-gateway",
        **files,
    }
    assert instances(api, "legacy") == ["exit"]
    assert instances(api, "Legacy") == ["exit"]
    assert instances(api, "old") == []
    api.delete("/v1/config/terminating-gateway/exit")
    assert instances(api, "legacy") == []


def test_a_wildcard_of_a_terminating_gateway_is_what_is_outside(api: StateApi) -> None:
    api.put("/v1/config", {**TERMINATING, "Services": [LINK, {"Name": "*"}]})
    assert [(row["Service"]["Name"], row.get("FromWildcard", False)) for row in rows(api, "exit")] == [
        ("legacy", False),
        ("old", True),
    ]
    machine = api.machine
    assert gateways_to(machine, "web") == [], "it has a sidecar"
    assert gateways_to(machine, "consul") == []
    assert gateways_to(machine, "nobody") == []
    assert instances(api, "web") == ["web-proxy"]


def test_who_waits_for_instances_hears_of_links_and_of_the_gateway(api: StateApi) -> None:
    def waiting(service: str = "legacy") -> Any:
        return api.blocked(f"/v1/health/connect/{service}?index={api.machine.last_index}")

    read = waiting()
    api.put("/v1/config", TERMINATING)
    assert [row["Service"]["Service"] for row in json_of(read.answer)] == ["exit"]
    read = waiting()
    register(api, "exit", "n3", Kind="terminating-gateway")
    assert len(json_of(read.answer)) == 2
    read = waiting("fresh")
    api.put("/v1/config", {**TERMINATING, "Services": [{"Name": "*"}]})
    read = waiting("fresh")
    assert read.answer is None
    register(api, "fresh")
    assert len(json_of(read.answer)) == 2, "a wildcard takes in what comes later"


def test_only_who_may_read_the_gateway_and_a_service_sees_the_link(api: StateApi) -> None:
    api.put("/v1/config", {**TERMINATING, "Services": [LINK, {"Name": "old"}]})
    api.tokens["gateway"] = Grants.of("service:exit:read", "service:old:read")
    api.tokens["client"] = Grants.of("service:legacy:read", "node:*:read")
    path = "/v1/catalog/gateway-services/exit"
    assert [row["Service"]["Name"] for row in api.json(path, token="gateway")] == ["old"]
    found = api.json("/v1/health/connect/legacy", token="client")
    assert [row["Service"]["Service"] for row in found] == ["exit"], "a client need not know the gateway"
    assert api.get(path, token="client").status == 403
