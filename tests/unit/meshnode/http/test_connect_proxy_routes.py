"""What a proxy is told, what it reports, and who may see the live connections."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, Access, Authorizer
from meshnode.agent.connect_reports import MAX_PROXIES, ConnectReports
from meshnode.agent.local_services import LocalPolicy
from meshnode.agent.managed_tokens import ManagedTokens
from meshnode.base.metrics import Metrics
from meshnode.http.api import Api
from meshnode.http.body import MAX_NUMBER_CHARS
from meshnode.http.connect_effects import GetEnvoys, GetLeaf, GetReports, GetRoots, ReportProxy
from meshnode.http.connect_proxy_routes import MAX_ID_CHARS
from meshnode.http.effects import Effect
from meshnode.http.message import Response
from meshnode.http.proxy_report import (
    MAX_CONNECTIONS,
    MAX_COUNTERS,
    MAX_ENDED,
    MAX_LISTENERS,
    MAX_REPORT_BYTES,
    MAX_ROOTS,
    MAX_TEXT_CHARS,
)
from tests.support.local_agent import LocalAgent
from tests.support.local_api import LocalApi, Rules

PROXY = "/v1/agent/connect/proxy/"
REPORT = "/v1/agent/connect/report/"
CONNECTIONS = "/v1/agent/connect/connections"
REGISTER = "/v1/agent/service/register"
CONNECTION = {
    "ID": 7, "Direction": "inbound", "Listener": "public", "Source": "spiffe://t/ns/default/dc/dc1/svc/web",
    "Destination": "db", "Serial": "ab:cd", "Peer": "10.0.0.1:5000", "Rule": "r1", "Because": "matched r1", "Age": 1.5,
    "BytesIn": 10, "BytesOut": 20, "CloseCause": "",
}  # fmt: skip
CLOSED = CONNECTION | {"ID": 8, "CloseCause": "denied", "EndedAgo": 2.0}
REFUSED = {
    "ID": 9, "Listener": "public", "Source": "x", "Peer": "10.0.0.1:51", "Kind": "denied",
    "Because": "no", "Rule": "r2",
    "Ago": 3.0,
}  # fmt: skip
BODY = {
    "Service": "db", "Identity": "spiffe://t/ns/default/dc/dc1/svc/db", "Serial": "12:34", "Roots": ["Consul CA 7"],
    "Listeners": [{"Name": "public", "Address": "0.0.0.0:21000", "Serial": "12:34"}], "Pid": 100,
    "Counters": {"inbound.conns": 3}, "Connections": [CONNECTION], "Closed": [CLOSED], "Refused": [REFUSED],
}  # fmt: skip


class ProxyApi(LocalApi):
    """With the reports of proxies, and managed proxies' tokens; ``asked`` are the other effects."""

    def __init__(self, tokens: dict[str, Authorizer] | None = None) -> None:
        agent = LocalAgent(policy=LocalPolicy(allow_managed_proxies=True))
        super().__init__(agent, tokens)
        self.managed = ManagedTokens(agent.state)
        self.api = Api(self.view, random.Random(1), proxies=self.managed)
        self.reports = ConnectReports(self.view.metrics, lambda: self.view.now)
        self.asked: list[Effect[Any]] = []

    def perform(self, effect: Effect[Any]) -> Any:
        match effect:
            case ReportProxy(report):
                return self.reports.take(report)
            case GetReports():
                return self.reports.live()
            case GetEnvoys():
                return [{"ProxyID": f"{name}-sidecar-proxy", "Service": name} for name in ("db", "web", "")]
            case GetLeaf() | GetRoots():
                self.asked.append(effect)
                raise AssertionError(effect)
        return super().perform(effect)

    def register(self, name: str, query: str = "", **connect: Any) -> None:
        body = {"Name": name, "Port": 80, "Token": f"{name}-token", "Connect": connect}
        assert self.put(REGISTER, query, body).status == 200


def answer(response: Response) -> tuple[int, str]:
    return response.status, response.body.decode()


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


# Reports


def test_what_a_proxy_reports_is_shown_with_the_proxy_and_older_by_the_time_since() -> None:
    api = ProxyApi()
    assert answer(api.put(REPORT + "db-sidecar-proxy", body=BODY)) == (200, "")
    api.view.now += 2.5
    whose = {"ProxyID": "db-sidecar-proxy", "Service": "db"}
    assert api.json(CONNECTIONS) == {
        "Proxies": [{
            "ProxyID": "db-sidecar-proxy", "Service": "db", "Identity": BODY["Identity"], "Serial": "12:34",
            "Roots": ["Consul CA 7"], "Listeners": BODY["Listeners"], "Pid": 100, "Age": 2.5,
            "Counters": {"inbound.conns": 3}, "Omitted": 0,
        }],
        "Connections": [{**CONNECTION, "Age": 4.0, **whose}],
        "Closed": [{**CLOSED, "Age": 4.0, "EndedAgo": 4.5, **whose}],
        "Refused": [{**REFUSED, "Ago": 5.5, **whose}],
    }  # fmt: skip


def test_nothing_reported_is_empty_lists() -> None:
    assert ProxyApi().json(CONNECTIONS) == {"Proxies": [], "Connections": [], "Closed": [], "Refused": []}


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("", ([7, 7], [8, 8], [9, 9])), ("proxy=p1", ([7], [8], [9])), ("service=db", ([7], [8], [9])),
        ("proxy=p1&service=web", ([], [], [])), ("id=8", ([], [8, 8], [])), ("id=9&proxy=p2", ([], [], [9])),
        ("id=10", ([], [], [])), ("proxy=no", ([], [], [])),
    ],
)  # fmt: skip
def test_connections_may_be_asked_for_by_proxy_service_and_number(
    query: str, seen: tuple[list[int], list[int], list[int]]
) -> None:
    api = ProxyApi()
    api.put(REPORT + "p1", body=BODY)
    api.put(REPORT + "p2", body=BODY | {"Service": "web"})
    shown = api.json(CONNECTIONS, query)
    assert tuple([row["ID"] for row in shown[part]] for part in ("Connections", "Closed", "Refused")) == seen


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "1" * 21, "٣"])
def test_a_number_of_a_connection_is_a_number(number: str) -> None:
    status, text = answer(ProxyApi().get(CONNECTIONS, f"id={number}"))
    assert (status, text.startswith("Invalid value for ?id:")) == (400, True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty, send JSON"),
        (b"[]", "expected object, got list"),
        (b"{}", "Service: is empty: name the service that the proxy stands for"),
        ({"Service": 1}, "Service: expected string, got number"),
        ({"Pid": -1}, "Pid: can't be negative"),
        ({"Pid": "1"}, "Pid: expected number, got string"),
        ({"Roots": "x"}, "Roots: expected list, got string"),
        ({"Listeners": [1]}, "Listeners[0]: expected object, got number"),
        ({"Counters": {"a b": 1}}, "Counters: 'a b' is not a name"),
        ({"Counters": {"a": -1}}, "Counters.a: can't be negative"),
        ({"Counters": {"a": 1.5}}, "Counters.a: expected a whole number"),
        (
            {"Connections": [{**CONNECTION, "Direction": "up"}]},
            'Connections[0].Direction: "up" can\'t be used',
        ),
        ({"Connections": [{**CONNECTION, "ID": -1}]}, "Connections[0].ID: can't be negative"),
        (
            {"Connections": [{**CONNECTION, "Age": "1"}]},
            "Connections[0].Age: expected a number of seconds, got string",
        ),
        ({"Connections": [{**CONNECTION, "Age": -1}]}, "Connections[0].Age: expected seconds, 0 or more"),
        ({"Connections": [{**CONNECTION, "Age": 1e300}]}, "Connections[0].Age: expected seconds"),
        (
            {"Closed": [{**CLOSED, "EndedAgo": True}]},
            "Closed[0].EndedAgo: expected a number of seconds, got boolean",
        ),
        ({"Refused": [{**REFUSED, "Because": []}]}, "Refused[0].Because: expected string, got list"),
        (
            b'{"Service":"db","Pid":' + b"1" * (MAX_NUMBER_CHARS + 1) + b"}",
            "a number has more than 400 digits",
        ),
    ],
)
def test_a_report_that_makes_no_sense_is_a_400_that_names_the_field(body: Any, reason: str) -> None:
    api = ProxyApi()
    sent = body if isinstance(body, bytes) else BODY | body
    status, text = answer(api.put(REPORT + "p", body=sent))
    assert status == 400
    assert text.startswith(f"Request decode failed: {reason}")
    assert api.json(CONNECTIONS)["Proxies"] == []


def test_what_is_left_out_of_a_report_is_empty() -> None:
    api = ProxyApi()
    api.put(REPORT + "p", body={"Service": "db", "Connections": [{"Direction": "outbound"}]})
    shown = api.json(CONNECTIONS)
    assert (shown["Proxies"][0]["Serial"], shown["Proxies"][0]["Pid"]) == ("", 0)
    assert (shown["Connections"][0]["ID"], shown["Connections"][0]["Peer"]) == (0, "")


def test_lists_and_texts_are_cut_to_their_bounds_and_live_connections_are_counted() -> None:
    api = ProxyApi()
    long = "x" * (MAX_TEXT_CHARS + 1)
    row, ended = {"Direction": "inbound", "Because": long}, {"Direction": "inbound"}
    api.put(REPORT + "p", body={
        "Service": "db", "Identity": long, "Roots": [long] * (MAX_ROOTS + 1),
        "Listeners": [{}] * (MAX_LISTENERS + 1), "Connections": [row] * (MAX_CONNECTIONS + 2),
        "Closed": [{**ended, "ID": n} for n in range(MAX_ENDED + 1)], "Refused": [{}] * (MAX_ENDED + 1),
    })  # fmt: skip
    shown = api.json(CONNECTIONS)
    (proxy,) = shown["Proxies"]
    assert (len(proxy["Identity"]), len(proxy["Roots"]), len(proxy["Roots"][0])) == (
        MAX_TEXT_CHARS, MAX_ROOTS, MAX_TEXT_CHARS,
    )  # fmt: skip
    assert (len(proxy["Listeners"]), proxy["Omitted"]) == (MAX_LISTENERS, 2)
    assert (len(shown["Connections"]), len(shown["Connections"][0]["Because"])) == (
        MAX_CONNECTIONS,
        MAX_TEXT_CHARS,
    )
    assert (len(shown["Closed"]), shown["Closed"][0]["ID"], len(shown["Refused"])) == (
        MAX_ENDED,
        1,
        MAX_ENDED,
    )


def test_counters_are_so_many_at_most() -> None:
    api = ProxyApi()
    at_most = {f"c{n}": 1 for n in range(MAX_COUNTERS)}
    assert api.put(REPORT + "p", body=BODY | {"Counters": at_most}).status == 200
    status, text = answer(api.put(REPORT + "p", body=BODY | {"Counters": {**at_most, "x": 1}}))
    assert (status, "send at most 64" in text) == (400, True)


def test_a_report_may_be_larger_than_other_bodies_and_ids_are_bounded() -> None:
    api = ProxyApi()
    assert api.api.max_body_bytes(REPORT + "p") == MAX_REPORT_BYTES
    assert api.put(REPORT + "p" * MAX_ID_CHARS, body=BODY).status == 200
    assert api.put(REPORT + "p" * (MAX_ID_CHARS + 1), body=BODY).status == 400
    assert answer(api.put(REPORT, body=BODY)) == (400, "Missing proxy ID: PUT /v1/agent/connect/report/<id>")


def test_a_registered_proxy_reports_for_its_own_service_only() -> None:
    api = ProxyApi()
    api.register("web", SidecarService={})
    status, text = answer(api.put(REPORT + "web-sidecar-proxy", body=BODY))
    assert (status, text) == (400, 'Service: web-sidecar-proxy is a proxy of "web", not of "db"')
    api.put(REPORT + "db-1", body=BODY)
    status, text = answer(api.put(REPORT + "db-1", body=BODY | {"Service": "web"}))
    assert (status, text) == (400, 'Service: a proxy of "db" reports as db-1: take another id')


def test_one_proxy_too_many_is_told_so() -> None:
    api = ProxyApi()
    for number in range(MAX_PROXIES):
        api.put(f"{REPORT}p{number}", body={"Service": "db"})
    assert answer(api.put(REPORT + "one-more", body=BODY)) == (
        429, f"this agent keeps the reports of {MAX_PROXIES} proxies at most",
    )  # fmt: skip
    assert api.put(REPORT + "p0", body=BODY).status == 200


def test_counters_become_metrics_of_the_agent() -> None:
    api = ProxyApi()
    api.view.metrics = Metrics(0.0)
    api.reports = ConnectReports(api.view.metrics, lambda: api.view.now)
    api.put(REPORT + "p", body=BODY)
    shown = api.json("/v1/agent/metrics")
    assert [(row["Name"], row["Sum"]) for row in shown["Counters"]] == [
        ("consul.proxy.db.inbound.conns", 3.0)
    ]


@pytest.mark.parametrize(("token", "seen"), [("root", ["db", "web"]), ("reader", ["db"]), ("", [])])
def test_envoys_of_services_that_may_be_read_are_shown(token: str, seen: list[str]) -> None:
    shown = ProxyApi(TOKENS).json("/v1/agent/connect/envoys", f"token={token}")
    assert [row["Service"] for row in shown] == seen
