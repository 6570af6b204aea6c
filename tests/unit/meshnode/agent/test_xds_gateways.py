"""Gateways as Envoy is told of them, on an API of the test's."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.agent.xds_feed import ProxyFeed
from meshnode.agent.xds_sources import Sources
from meshnode.config_entries.parse import entry_fields, parse_entry
from meshnode.xds.schema import CLUSTER, LISTENER, ROUTES, unpacked
from tests.support.asynchronous import asynchronous
from tests.support.config_entries import http
from tests.support.waiting import until
from tests.support.xds import DOMAIN
from tests.support.xds_api import Api, chain, row

FRONT = {"ID": "front", "Service": "front", "Kind": "ingress-gateway", "Address": "127.0.0.1", "Port": 9000}
EXIT = {**FRONT, "ID": "exit", "Service": "exit", "Kind": "terminating-gateway"}


def known(*services: str) -> Api:
    """An API that knows the leaves of these services and nothing about them."""
    api = Api()
    api.set("/v1/agent/service/front", FRONT)
    api.set("/v1/agent/service/exit", EXIT)
    api.set("/v1/agent/connect/ca/roots", {"TrustDomain": DOMAIN, "Roots": [{"RootCert": "ROOT"}]})
    api.set("/v1/config/proxy-defaults", [])
    api.set("/v1/config/ingress-gateway", [])
    api.set("/v1/connect/intentions/match", {})
    api.set("/v1/connect/intentions/explain", {"Default": {"Allowed": True, "Reason": ""}})
    for service in ("front", *services):
        uri = f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/{service}"
        leaf = {"CertPEM": "CERTIFICATE", "PrivateKeyPEM": "s3cret", "ServiceURI": uri}
        api.set(f"/v1/agent/connect/ca/leaf/{service}", leaf)
    return api


def ingress(api: Api, *listeners: dict[str, Any], **more: Any) -> None:
    entry = {"Kind": "ingress-gateway", "Name": "front", "Listeners": list(listeners), **more}
    rows = [{**entry_fields(parse_entry(entry)), "CreateIndex": 7, "ModifyIndex": 7}]
    api.set("/v1/config/ingress-gateway", rows)


def listener(port: int, *services: dict[str, Any], protocol: str = "http") -> dict[str, Any]:
    return {"Port": port, "Protocol": protocol, "Services": list(services)}


@asynchronous
async def test_an_ingress_gateway_waits_for_its_entry_and_follows_it() -> None:
    api = known()
    feed = ProxyFeed(Sources(api), "front", "token")
    await until(lambda: feed.snapshot, "a snapshot of nothing", interval=0.001)
    assert feed.snapshot is not None
    assert feed.snapshot[LISTENER] == {}
    api.set("/v1/discovery-chain/web", chain("web", *http("web")))
    api.set("/v1/health/connect/web", [row(21001)])
    ingress(api, listener(80, {"Name": "web"}))
    await until(lambda: feed.snapshot and feed.snapshot[LISTENER], "a listener", interval=0.001)
    assert list(feed.snapshot[LISTENER]) == ["ingress:127.0.0.1:80"]
    assert feed.service == "front"
    feed.close()


@asynchronous
async def test_a_wildcard_is_what_the_servers_say_on_that_port() -> None:
    api = known()
    for name in ("web", "api"):
        api.set(f"/v1/discovery-chain/{name}", chain(name, *http(name)))
        api.set(f"/v1/health/connect/{name}", [])
    linked = [
        {"Service": {"Name": name}, "Port": port} for name, port in (("web", 80), ("api", 80), ("api", 81))
    ]
    api.set("/v1/catalog/gateway-services/front", linked)
    ingress(api, listener(80, {"Name": "*"}), listener(81, {"Name": "*"}))
    feed = ProxyFeed(Sources(api), "front", "")
    await until(lambda: feed.snapshot, "a snapshot", interval=0.001)
    assert feed.snapshot is not None
    found = {
        name: [host.name for host in unpacked(each.body).virtual_hosts]
        for name, each in feed.snapshot[ROUTES].items()
    }
    assert found == {"ingress:127.0.0.1:80": ["api", "web"], "ingress:127.0.0.1:81": ["api"]}
    feed.close()


@pytest.mark.parametrize(
    ("listeners", "more", "place"),
    [
        (
            [listener(80, {"Name": "web"})],
            {"TLS": {"SDS": {"ClusterName": "c", "CertResource": "r"}}},
            "TLS.SDS",
        ),
        (
            [
                listener(
                    80,
                    {
                        "Name": "web",
                        "Hosts": ["a.example"],
                        "TLS": {"SDS": {"ClusterName": "c", "CertResource": "r"}},
                    },
                )
            ],
            {},
            "web: TLS.SDS",
        ),
    ],
)
@asynchronous
async def test_certificates_from_elsewhere_are_refused_with_their_place(
    listeners: list[dict[str, Any]], more: dict[str, Any], place: str
) -> None:
    api = known()
    ingress(api, *listeners, **more)
    feed = ProxyFeed(Sources(api), "front", "")
    await until(lambda: feed.problem, "the problem", interval=0.001)
    assert feed.problem.startswith(f"ingress-gateway/front, listener on port 80: {place} is not supported")
    feed.close()


@asynchronous
async def test_the_port_that_says_ready_is_no_listener_s() -> None:
    api = known()
    ingress(api, listener(9000, {"Name": "web"}))
    feed = ProxyFeed(Sources(api), "front", "")
    await until(lambda: feed.problem, "the problem", interval=0.001)
    assert feed.problem.startswith(
        "ingress-gateway/front, listener on port 9000: that is the port of the gateway's"
    )
    feed.close()


@asynchronous
async def test_a_terminating_gateway_has_the_identity_of_each_service_that_it_leads_to() -> None:
    api = known("legacy")
    link = {"Service": {"Name": "legacy"}, "CAFile": "/ca.pem", "SNI": "legacy.example"}
    api.set("/v1/catalog/gateway-services/exit", [link])
    api.set("/v1/discovery-chain/legacy", chain("legacy"))
    api.set("/v1/health/service/legacy", [row(80), row(81, "critical"), {"Service": {}}])
    feed = ProxyFeed(Sources(api), "exit", "")
    await until(lambda: feed.snapshot, "a snapshot", interval=0.001)
    assert feed.snapshot is not None
    (each,) = feed.snapshot[LISTENER].values()
    (only,) = unpacked(each.body).filter_chains
    assert list(only.filter_chain_match.server_names) == [f"legacy.default.dc1.internal.{DOMAIN}"]
    assert list(feed.snapshot[CLUSTER]) == ["outside:legacy"]
    api.set("/v1/catalog/gateway-services/exit", [])
    await until(lambda: feed.snapshot and not feed.snapshot[CLUSTER], "nothing is linked", interval=0.001)
    feed.close()


@asynchronous
async def test_a_token_that_may_not_have_a_linked_service_s_identity_is_told_where() -> None:
    api = known()
    api.set("/v1/catalog/gateway-services/exit", [{"Service": {"Name": "legacy"}}])
    api.set("/v1/agent/connect/ca/leaf/legacy", "Permission denied", 403)
    feed = ProxyFeed(Sources(api), "exit", "weak")
    await until(lambda: feed.refusal, "the refusal", interval=0.001)
    assert str(feed.refusal) == "/v1/agent/connect/ca/leaf/legacy: Permission denied"
    feed.close()


@asynchronous
async def test_what_is_no_proxy_is_named_with_its_kind() -> None:
    api = known()
    api.set("/v1/agent/service/front", {**FRONT, "Kind": ""})
    feed = ProxyFeed(Sources(api), "front", "")
    await until(lambda: feed.problem, "the problem", interval=0.001)
    assert feed.problem == (
        "front is no proxy: its kind is '', not one of connect-proxy, ingress-gateway, terminating-gateway"
    )
    feed.close()
