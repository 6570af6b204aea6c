"""What a proxy is told, and who may see the live connections."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, Access, Authorizer
from meshnode.http.connect_effects import GetLeaf
from tests.support.local_api import Rules
from tests.unit.meshnode.http.proxy_api import BODY, CONNECTIONS, REGISTER, REPORT, ProxyApi, answer

PROXY = "/v1/agent/connect/proxy/"


# What a proxy is told


def test_a_managed_proxy_reads_its_configuration_with_a_hash_in_body_and_header() -> None:
    api = ProxyApi()
    api.register("db", Proxy={"Config": {"upstreams": [{"destination_name": "a", "local_bind_port": 1}]}})
    response = api.get(PROXY + "db-proxy")
    shown = json.loads(response.body)
    assert list(shown) == [
        "ProxyServiceID", "TargetServiceID", "TargetServiceName", "ExecMode", "Command", "Config", "Upstreams",
        "ContentHash",
    ]  # fmt: skip
    assert dict(response.headers) == {"X-Consul-ContentHash": shown["ContentHash"]}
    assert shown["Upstreams"] == [{"DestinationType": "service", "DestinationName": "a", "LocalBindPort": 1}]
    assert "telemetry" not in shown["Config"]


def test_a_sidecar_reads_its_configuration_by_the_same_route() -> None:
    api = ProxyApi()
    api.register("db", SidecarService={})
    shown = api.json(PROXY + "db-sidecar-proxy")
    assert (shown["TargetServiceID"], shown["ExecMode"], shown["Command"]) == ("db", "", [])
    assert shown["Config"]["bind_port"] == 21000


@pytest.mark.parametrize("proxy_id", ["db", "nothing", "db-proxy2"])
def test_what_is_no_proxy_is_unknown(proxy_id: str) -> None:
    api = ProxyApi()
    api.register("db", Proxy={})
    assert answer(api.get(PROXY + proxy_id)) == (404, f"unknown proxy service ID: {proxy_id}")


def test_the_id_is_needed() -> None:
    assert ProxyApi().get(PROXY).status == 400


def test_a_known_hash_waits_for_another_configuration_and_not_for_other_services() -> None:
    api = ProxyApi()
    api.register("db", SidecarService={})
    known = api.json(PROXY + "db-sidecar-proxy")["ContentHash"]
    news: list[dict[str, Any]] = [
        {"Name": "other"},
        {"Name": "db", "Port": 81, "Connect": {"SidecarService": {}}},
    ]
    api.on_wait = lambda: api.put(REGISTER, body=news.pop(0))
    shown = api.json(PROXY + "db-sidecar-proxy", f"hash={known}&wait=10s")
    assert shown["Config"]["local_service_address"] == "127.0.0.1:81"
    assert (shown["ContentHash"] != known, len(api.waits)) == (True, 2)
    assert 10 <= api.waits[0].timeout <= 10.625


def test_the_wait_ends_with_the_time_or_with_the_proxy() -> None:
    api = ProxyApi()
    api.register("db", Proxy={})
    known = api.json(PROXY + "db-proxy")["ContentHash"]

    def time_passes() -> None:
        api.view.now += 400

    api.on_wait = time_passes
    assert api.json(PROXY + "db-proxy", f"hash={known}")["ContentHash"] == known
    api.on_wait = lambda: api.put("/v1/agent/service/deregister/db")
    assert api.get(PROXY + "db-proxy", f"hash={known}").status == 404
    api.register("db", Proxy={})
    assert answer(api.get(PROXY + "db-proxy", "hash=x&wait=soon")) == (400, "Invalid wait time")


# The token of a managed proxy

WRITER = Rules({("service", "db"): Access.WRITE})
READER = Rules({("service", "db"): Access.READ})
OTHER = Rules({("service", "web"): Access.WRITE})
TOKENS: dict[str, Authorizer] = {
    "root": ALLOW_ALL, "writer": WRITER, "reader": READER, "other": OTHER, "": Rules(), "db-token": Rules(),
    "web-token": OTHER,
}  # fmt: skip


def guarded() -> ProxyApi:
    api = ProxyApi(TOKENS)
    api.register("db", "token=root", Proxy={})
    api.register("web", "token=root", Proxy={})
    api.put(REPORT + "db-1", "token=root", BODY)
    return api


@pytest.mark.parametrize(
    ("method", "path", "body", "allowed"),
    [
        ("GET", PROXY + "db-proxy", {}, {"root", "writer", "proxy"}),
        ("PUT", REPORT + "db-proxy", BODY, {"root", "writer", "proxy"}),
        ("PUT", REPORT + "db-1", BODY, {"root", "writer", "proxy"}),
    ],
)
def test_every_route_asks_for_its_right(method: str, path: str, body: Any, allowed: set[str]) -> None:
    for token in ("root", "writer", "reader", "other", "", "proxy", "others proxy"):
        api = guarded()
        given = {"proxy": api.managed.of("db-proxy"), "others proxy": api.managed.of("web-proxy")}.get(
            token, token
        )
        response = api.send(method, path, f"token={given}", json.dumps(body).encode())
        assert response.status == (200 if token in allowed else 403), (token, response.body)
        if token not in allowed:
            assert response.body.startswith(b"Permission denied"), token
    assert answer(guarded().send(method, path, "token=nobody", json.dumps(body).encode())) == (
        403,
        "ACL not found",
    )


def test_live_connections_are_shown_of_the_services_that_the_token_may_read() -> None:
    api = guarded()
    api.put(REPORT + "web-1", "token=root", BODY | {"Service": "web"})
    seen = {
        token: [row["Service"] for row in api.json(CONNECTIONS, f"token={token}")["Proxies"]]
        for token in ("root", "writer", "reader", "other", "")
    }
    assert seen == {"root": ["db", "web"], "writer": ["db"], "reader": ["db"], "other": ["web"], "": []}
    assert answer(api.get(CONNECTIONS, "token=nobody")) == (403, "ACL not found")
    assert [row["Service"] for row in api.json(CONNECTIONS, "token=other")["Connections"]] == ["web"]


def test_a_proxys_token_counts_as_its_services_token_and_opens_its_leaf_alone() -> None:
    api = guarded()
    token = api.managed.of("db-proxy")
    with pytest.raises(AssertionError, match="GetLeaf"):
        api.get("/v1/agent/connect/ca/leaf/db", f"token={token}")
    (asked,) = api.asked
    assert isinstance(asked, GetLeaf)
    assert (asked.service, asked.token) == ("db", "db-token")
    assert api.get("/v1/agent/connect/ca/leaf/web", f"token={token}").status == 403
    body = json.dumps({"Target": "db", "ClientCertURI": "nonsense"}).encode()
    authorize = "/v1/agent/connect/authorize"
    assert api.send("POST", authorize, f"token={token}", body).status == 200
    assert api.send("POST", authorize, "token=reader", body).status == 403
    other = json.dumps({"Target": "web", "ClientCertURI": "nonsense"}).encode()
    assert api.send("POST", authorize, f"token={token}", other).status == 403


def test_a_proxys_token_ends_with_the_proxy() -> None:
    api = guarded()
    token = api.managed.of("db-proxy")
    assert api.get(PROXY + "db-proxy", f"token={token}").status == 200
    api.put("/v1/agent/service/deregister/db", "token=root")
    assert answer(api.get("/v1/agent/services", f"token={token}")) == (403, "ACL not found")


def test_only_the_proxy_itself_is_told_where_to_report() -> None:
    api = ProxyApi()
    api.register("db", Proxy={"Config": {"telemetry": {"a": 1}}})
    own = api.json(PROXY + "db-proxy", f"token={api.managed.of('db-proxy')}")
    assert own["Config"]["telemetry"] == {"metrics_prefix": "consul.proxy.db", "a": 1}
    shown = api.json(PROXY + "db-proxy")
    assert shown["Config"]["telemetry"] == {"a": 1}
    assert shown["ContentHash"] == own["ContentHash"]


@pytest.mark.parametrize(("token", "seen"), [("root", ["db", "web"]), ("reader", ["db"]), ("", [])])
def test_envoys_of_services_that_may_be_read_are_shown(token: str, seen: list[str]) -> None:
    shown = ProxyApi(TOKENS).json("/v1/agent/connect/envoys", f"token={token}")
    assert [row["Service"] for row in shown] == seen
