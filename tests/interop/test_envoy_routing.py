"""Config entries through real Envoys: routes, shares, subsets, redirects, failover, hashing, changed while in use."""

from __future__ import annotations

import http.client
import http.server
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.envoy_mesh import EnvoyMesh
from tests.support.mesh_agent import wait
from tests.support.programs import needs
from tests.support.wire import free_port

pytestmark = needs("envoy")


class Shop(http.server.BaseHTTPRequestHandler):
    """Says which instance it is, and what it was asked for; ``/slow`` takes its time, ``/fails`` is 503."""

    protocol_version = "HTTP/1.1"
    tries: Counter[str] = Counter()

    def do_GET(self) -> None:
        Shop.tries[self.path] += 1
        if self.path.startswith("/slow"):
            time.sleep(2)
        body = json.dumps(
            {
                "port": self.server.server_address[1],  # type: ignore[index]
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
            }
        ).encode()
        self.send_response(503 if self.path.startswith("/fails") else 200)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-secret", "of the application")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


class Mall:
    """``web`` leads to ``shop``, which has two versions, and there are ``admin`` and ``spare``."""

    def __init__(self, mesh: EnvoyMesh) -> None:
        self.mesh = mesh
        self.port = free_port()
        self.ports: dict[str, int] = {}
        self.entry(Kind="proxy-defaults", Name="global", Config={"protocol": "http"})
        for service, version in (("shop", "v1"), ("shop", "v2"), ("admin", "v1"), ("spare", "v1")):
            self.ports[f"{service}-{version}"] = mesh.application(Shop).port
            self.register(service, version)
            mesh.start("envoy", f"{service}-{version}")
        mesh.register("web", free_port(), ("shop", self.port))
        self.side = mesh.start("envoy", "web")
        wait(lambda: self.status("/") == 200, "an answer through both Envoys", 60.0)

    def register(self, service: str, version: str) -> None:
        own = f"{service}-{version}"
        body = {
            "ID": own,
            "Name": service,
            "Port": self.ports[own],
            "Meta": {"version": version},
            "Check": {"CheckID": own, "TTL": "1h", "Status": "passing"},
            "Connect": {"SidecarService": {"Port": free_port()}},
        }
        status, text = self.mesh.agent.api("/v1/agent/service/register", "PUT", json.dumps(body).encode())
        assert status == 200, text

    def entry(self, **fields: Any) -> None:
        status, text = self.mesh.agent.api("/v1/config", "PUT", json.dumps(fields).encode())
        assert status == 200, text

    def forget(self, kind: str, name: str = "shop") -> None:
        assert self.mesh.agent.api(f"/v1/config/{kind}/{name}", "DELETE")[0] == 200

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        flow = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            flow.request(
                method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )
            answer = flow.getresponse()
            text = answer.read()
            body = json.loads(text) if text.startswith(b"{") else {"text": text.decode()}
            return answer.status, body, {name.lower(): value for name, value in answer.getheaders()}
        finally:
            flow.close()

    def status(self, path: str) -> int:
        try:
            return self.ask(path)[0]
        except (OSError, http.client.HTTPException):
            return 0

    def who(self, path: str = "/", **headers: str) -> str:
        """The instance that answers: ``shop-v1``."""
        status, body, _ = self.ask(path, **headers)
        if status != 200:
            return f"{status} {body}"
        return next(name for name, port in self.ports.items() if port == body["port"])

    def check(self, own: str, state: str) -> None:
        assert self.mesh.agent.api(f"/v1/agent/check/{state}/{own}", "PUT")[0] == 200


@pytest.fixture(scope="module")
def mall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mall]:
    with EnvoyMesh.new(tmp_path_factory.mktemp("mall")) as mesh:
        yield Mall(mesh)


SUBSETS = {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"Filter": "Service.Meta.version == v2"}}


@pytest.fixture
def resolved(mall: Mall) -> Iterator[Mall]:
    mall.entry(Kind="service-resolver", Name="shop", DefaultSubset="v1", Subsets=SUBSETS)
    wait(lambda: {mall.who() for _ in range(8)} == {"shop-v1"}, "the default subset only")
    yield mall
    for kind in ("service-router", "service-splitter", "service-resolver"):
        mall.forget(kind)
    wait(lambda: {mall.who() for _ in range(16)} == {"shop-v1", "shop-v2"}, "both versions again")


def test_requests_go_by_path_header_query_and_method(resolved: Mall) -> None:
    def route(match: dict[str, Any], **destination: Any) -> dict[str, Any]:
        return {"Match": {"HTTP": match}, "Destination": destination}

    resolved.entry(
        Kind="service-router",
        Name="shop",
        Routes=[
            route({"PathPrefix": "/admin/"}, Service="admin", PrefixRewrite="/"),
            route({"PathExact": "/exact"}, Service="spare"),
            route({"PathRegex": "/item/[0-9]+"}, Service="spare"),
            route({"Header": [{"Name": "x-beta", "Exact": "1"}]}, ServiceSubset="v2"),
            route(
                {"PathPrefix": "/inv", "Header": [{"Name": "x-no", "Exact": "1", "Invert": True}]},
                Service="spare",
            ),
            route({"QueryParam": [{"Name": "v", "Exact": "2"}]}, ServiceSubset="v2"),
            route({"Methods": ["POST"]}, Service="admin"),
        ],
    )
    wait(lambda: resolved.who("/admin/x") == "admin-v1", "the router")
    assert resolved.ask("/admin/x?y=1")[1]["path"] == "/x?y=1"
    assert resolved.who("/exact") == "spare-v1"
    assert resolved.who("/exactly") == "shop-v1"
    assert resolved.who("/item/12") == "spare-v1"
    assert resolved.who("/item/12a") == "shop-v1"
    assert resolved.who("/", x_beta="1") == "shop-v2"
    assert resolved.who("/inv") == "spare-v1"
    assert resolved.who("/inv", x_no="1") == "shop-v1"
    assert resolved.who("/?v=2") == "shop-v2"
    assert resolved.who("/?v=3") == "shop-v1"
    assert resolved.ask("/", "POST")[1]["port"] == resolved.ports["admin-v1"]


def test_headers_time_and_retries_are_the_route_s(resolved: Mall) -> None:
    resolved.entry(
        Kind="service-router",
        Name="shop",
        Routes=[
            {
                "Match": {"HTTP": {"PathPrefix": "/changed"}},
                "Destination": {
                    "RequestHeaders": {
                        "Add": {"x-add": "100%"},
                        "Set": {"x-set": "new"},
                        "Remove": ["x-gone"],
                    },
                    "ResponseHeaders": {"Set": {"x-out": "yes"}, "Remove": ["x-secret"]},
                },
            },
            {"Match": {"HTTP": {"PathPrefix": "/slow"}}, "Destination": {"RequestTimeout": "300ms"}},
            {
                "Match": {"HTTP": {"PathPrefix": "/fails"}},
                "Destination": {"NumRetries": 2, "RetryOnStatusCodes": [503]},
            },
        ],
    )
    wait(lambda: "x-out" in resolved.ask("/changed")[2], "the router")
    _, body, headers = resolved.ask("/changed", x_set="old", x_gone="1")
    assert (body["headers"]["x-add"], body["headers"]["x-set"]) == ("100%", "new")
    assert "x-gone" not in body["headers"]
    assert (headers["x-out"], "x-secret" in headers) == ("yes", False)
    assert "x-secret" in resolved.ask("/")[2]
    assert resolved.ask("/slow/a")[0] == 504
    before = Shop.tries["/fails/here"]
    assert resolved.ask("/fails/here")[0] == 503
    assert Shop.tries["/fails/here"] - before == 3


def test_shares_are_kept_and_change_while_requests_go_on(resolved: Mall) -> None:
    def split(one: float, other: float) -> None:
        resolved.entry(
            Kind="service-splitter",
            Name="shop",
            Splits=[{"Weight": one, "ServiceSubset": "v1"}, {"Weight": other, "ServiceSubset": "v2"}],
        )

    split(0, 100)
    wait(lambda: {resolved.who() for _ in range(20)} == {"shop-v2"}, "all of it on v2")
    split(75, 25)
    wait(lambda: resolved.who() == "shop-v1", "some of it on v1")
    seen = Counter(resolved.who() for _ in range(200))
    assert set(seen) == {"shop-v1", "shop-v2"}, "a request failed"
    # 50 of 200 are expected: less than 15 or more than 95 happen once in a hundred million runs.
    assert 15 <= seen["shop-v2"] <= 95
    split(50, 50)
    split(100, 0)
    seen = Counter(resolved.who() for _ in range(100))
    assert set(seen) <= {"shop-v1", "shop-v2"}, "a request failed while the shares changed"


def test_no_request_fails_while_everything_about_them_changes(resolved: Mall) -> None:
    ended, failed, count = threading.Event(), [], 0

    def load() -> None:
        nonlocal count
        while not ended.is_set():
            count += 1
            if (status := resolved.status("/")) != 200:
                failed.append(status)

    threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    halves = [{"Weight": 50, "ServiceSubset": "v1"}, {"Weight": 50, "Service": "spare"}]
    everything = {"Match": {"HTTP": {"PathPrefix": "/"}}, "Destination": {"Service": "admin"}}
    try:
        for _ in range(3):
            resolved.entry(Kind="service-splitter", Name="shop", Splits=halves)
            wait(lambda: resolved.who("/") == "spare-v1", "the share of the other service")
            resolved.entry(Kind="service-router", Name="shop", Routes=[everything])
            wait(lambda: resolved.who("/") == "admin-v1", "the router")
            resolved.forget("service-router")
            resolved.forget("service-splitter")
            wait(lambda: {resolved.who() for _ in range(6)} == {"shop-v1"}, "the default subset")
    finally:
        ended.set()
        for thread in threads:
            thread.join(30)
    assert failed == []
    assert count > 50


def test_a_redirect_leads_to_another_service(mall: Mall) -> None:
    mall.entry(Kind="service-resolver", Name="shop", Redirect={"Service": "spare"})
    wait(lambda: mall.who() == "spare-v1", "the redirect")
    mall.forget("service-resolver")
    wait(lambda: mall.who().startswith("shop"), "the service itself")


def test_when_no_instance_is_healthy_the_next_place_answers(mall: Mall) -> None:
    mall.entry(Kind="service-resolver", Name="shop", Failover={"*": {"Service": "spare"}})
    wait(lambda: len(mall.side.priorities("shop.default.dc1")) == 2, "a second priority")
    assert {mall.who() for _ in range(10)} == {"shop-v1", "shop-v2"}
    mall.check("shop-v1", "fail")
    wait(lambda: {mall.who() for _ in range(10)} == {"shop-v2"}, "the other one takes all of it")
    mall.check("shop-v2", "fail")
    wait(lambda: mall.who() == "spare-v1", "the failover")
    mall.check("shop-v1", "warn")
    wait(lambda: {mall.who() for _ in range(10)} == {"shop-v1"}, "the service itself, which only warns")
    for own in ("shop-v1", "shop-v2"):
        mall.check(own, "pass")
    mall.forget("service-resolver")
    wait(lambda: {mall.who() for _ in range(16)} == {"shop-v1", "shop-v2"}, "both versions again")


@pytest.mark.parametrize("policy", ["ring_hash", "maglev"])
def test_requests_with_one_header_go_to_one_instance(mall: Mall, policy: str) -> None:
    hashed = [{"Field": "header", "FieldValue": "x-user"}]
    mall.entry(Kind="service-resolver", Name="shop", LoadBalancer={"Policy": policy, "HashPolicies": hashed})
    users = [f"user-{number}" for number in range(12)]

    def sticky() -> bool:
        return all(len({mall.who(x_user=user) for _ in range(6)}) == 1 for user in users)

    wait(sticky, "one instance for each user", 30.0)
    assert {mall.who(x_user=user) for user in users} == {"shop-v1", "shop-v2"}
    mall.forget("service-resolver")


def test_no_change_was_refused_by_envoy(mall: Mall) -> None:
    rows = json.loads(mall.mesh.cli("connect", "proxies", "-format", "json"))
    assert [(row["ProxyID"], each["Nack"]) for row in rows for each in row["Types"] if each["Nack"]] == []
    assert [row["Problem"] for row in rows if row["Problem"]] == []
