"""Envoy and the built-in proxy side by side: what dies comes back, and what is explained is what is done."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.test_envoy_gateways import Hello
from tests.support.envoy_mesh import EnvoyMesh, exchange
from tests.support.mesh_agent import wait
from tests.support.programs import needs
from tests.support.wire import free_port

pytestmark = needs("envoy")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyMesh]:
    with EnvoyMesh.new(tmp_path_factory.mktemp("life")) as made:
        yield made


@pytest.mark.parametrize("kinds", [("envoy", "envoy"), ("proxy", "envoy"), ("envoy", "proxy")], ids="-".join)
def test_a_sidecar_that_dies_is_shown_as_gone_and_serves_again_when_it_is_started(
    mesh: EnvoyMesh, kinds: tuple[str, str]
) -> None:
    suffix, port = "-".join(kinds), free_port()
    mesh.register(f"api-{suffix}", mesh.application().port)
    mesh.register(f"web-{suffix}", free_port(), (f"api-{suffix}", port))
    server = mesh.start(kinds[1], f"api-{suffix}")
    mesh.start(kinds[0], f"web-{suffix}")
    mesh.reaches(port)
    server.process.kill()
    server.process.wait()
    mesh.is_refused(port)
    if kinds[1] == "envoy":
        wait(lambda: not mesh.types(server.proxy_id), "the dead Envoy is gone from the list")
    mesh.start(kinds[1], f"api-{suffix}")
    mesh.reaches(port)


def test_what_is_explained_is_what_envoy_does_to_each_request(mesh: EnvoyMesh) -> None:
    port, app = free_port(), mesh.application(Hello)
    entry = {"Kind": "service-defaults", "Name": "api-why", "Protocol": "http"}
    assert mesh.agent.api("/v1/config", "PUT", json.dumps(entry).encode())[0] == 200
    mesh.register("api-why", app.port)
    mesh.register("web-why", free_port(), ("api-why", port))
    for name in ("api-why", "web-why"):
        mesh.start("envoy", name)

    def asks(path: str, **headers: str) -> int:
        flow = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            flow.request("GET", path, headers=headers)
            return flow.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            flow.close()

    wait(lambda: asks("/") == 200, "an answer through both Envoys", 60.0)
    permissions = [
        {"Action": "deny", "HTTP": {"PathPrefix": "/public/secret"}},
        {"Action": "allow", "HTTP": {"PathExact": "/exact"}},
        {"Action": "allow", "HTTP": {"PathRegex": "/item/[0-9]+"}},
        {"Action": "allow", "HTTP": {"PathPrefix": "/public/", "Methods": ["GET", "HEAD"]}},
        {"Action": "allow", "HTTP": {"PathPrefix": "/", "Header": [{"Name": "x-key", "Exact": "1"}]}},
        {"Action": "deny", "HTTP": {"PathPrefix": "/"}},
    ]
    body = {"SourceName": "web-why", "DestinationName": "api-why", "Permissions": permissions}
    status, text = mesh.agent.api("/v1/connect/intentions", "POST", json.dumps(body).encode())
    assert status == 200, text
    wait(lambda: asks("/") == 403, "the permissions hold")

    def explained(path: str, **headers: str) -> int:
        query = [("source", "web-why"), ("destination", "api-why"), ("method", "GET"), ("path", path)]
        query += [("header", f"{name}:{value}") for name, value in headers.items()]
        found = mesh.agent.get(f"/v1/connect/intentions/explain?{urllib.parse.urlencode(query)}")
        return 200 if found["Allowed"] else 403

    plain = (
        "/",
        "/exact",
        "/exact/",
        "/item/7",
        "/item/x",
        "/public/a",
        "/public/secret",
        "/public/secret/x",
    )
    wanted = {path: explained(path) for path in plain}
    assert set(wanted.values()) == {200, 403}
    assert {path: asks(path) for path in plain} == wanted
    assert asks("/", **{"x-key": "1"}) == explained("/", **{"x-key": "1"}) == 200
    assert asks("/", **{"x-key": "2"}) == explained("/", **{"x-key": "2"}) == 403


def test_the_built_in_proxy_says_which_entry_only_envoy_can_follow(mesh: EnvoyMesh) -> None:
    port = free_port()
    mesh.register("api-plain", mesh.application().port)
    mesh.register("api-other", mesh.application().port)
    mesh.register("web-plain", free_port(), ("api-plain", port))
    for name in ("api-plain", "api-other"):
        mesh.start("proxy", name)
    entry = {"Kind": "service-resolver", "Name": "api-plain", "Redirect": {"Service": "api-other"}}
    assert mesh.agent.api("/v1/config", "PUT", json.dumps(entry).encode())[0] == 200
    side = mesh.start("proxy", "web-plain")
    words = (
        "service-resolver/api-plain leads to api-other, which the built-in proxy and the SDK can't: run Envoy"
    )

    def told() -> bool:
        mesh.is_refused(port)
        return words in side.log.read_text()

    wait(told, "the reason in the proxy's log")
    assert mesh.agent.api("/v1/config/service-resolver/api-plain", "DELETE")[0] == 200
    mesh.reaches(port)
    assert exchange(mesh.opened(port)) == b"hello"
    assert mesh.agent.api("/v1/config", "PUT", json.dumps(entry).encode())[0] == 200
    mesh.is_refused(port)


@pytest.mark.parametrize("kinds", [("proxy", "envoy"), ("envoy", "proxy")], ids="-".join)
def test_permissions_hold_whoever_is_on_either_end(mesh: EnvoyMesh, kinds: tuple[str, str]) -> None:
    suffix, port = f"http-{'-'.join(kinds)}", free_port()
    service, source = f"api-{suffix}", f"web-{suffix}"
    entry = {"Kind": "service-defaults", "Name": service, "Protocol": "http"}
    assert mesh.agent.api("/v1/config", "PUT", json.dumps(entry).encode())[0] == 200
    mesh.register(service, mesh.application(Hello).port, protocol="http")
    mesh.register(source, free_port(), (service, port))
    mesh.start(kinds[1], service)
    mesh.start(kinds[0], source)

    def asks(path: str) -> int:
        flow = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            flow.request("GET", path)
            return flow.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            flow.close()

    wait(lambda: asks("/") == 200, "an answer", 60.0)
    permissions = [
        {"Action": "allow", "HTTP": {"PathPrefix": "/open/"}},
        {"Action": "deny", "HTTP": {"PathPrefix": "/"}},
    ]
    body = {"SourceName": source, "DestinationName": service, "Permissions": permissions}
    assert mesh.agent.api("/v1/connect/intentions", "POST", json.dumps(body).encode())[0] == 200
    wait(lambda: asks("/") == 403, "the permissions hold")
    assert asks("/open/a") == 200
    assert asks("/open/../a") == 403


def test_requests_leave_a_line_and_figures_are_shown(mesh: EnvoyMesh, tmp_path: Path) -> None:
    port, metrics, log = free_port(), free_port(), tmp_path / "access.log"
    for name in ("api-log", "web-log"):
        entry = {"Kind": "service-defaults", "Name": name, "Protocol": "http"}
        assert mesh.agent.api("/v1/config", "PUT", json.dumps(entry).encode())[0] == 200
    logs = {"enabled": True, "type": "file", "path": str(log), "text_format": "%REQ(:PATH)% %RESPONSE_CODE%"}
    mesh.register(
        "api-log",
        mesh.application(Hello).port,
        access_logs=logs,
        envoy_prometheus_bind_addr=f"127.0.0.1:{metrics}",
    )
    mesh.register("web-log", free_port(), ("api-log", port))
    for name in ("api-log", "web-log"):
        mesh.start("envoy", name, "--file-flush-interval-msec", "100")

    def fetched(at: int, path: str, method: str = "GET") -> tuple[int, str]:
        flow = http.client.HTTPConnection("127.0.0.1", at, timeout=10)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(flow):
            flow.request(method, path)
            answer = flow.getresponse()
            return answer.status, answer.read().decode()
        return 0, ""

    wait(lambda: fetched(port, "/logged")[0] == 200, "an answer through both Envoys", 60.0)
    wait(lambda: log.exists() and "/logged 200\n" in log.read_text(), "a line in the log")
    status, text = fetched(metrics, "/metrics")
    assert status == 200
    assert "envoy_http_downstream_rq_total" in text
    assert fetched(metrics, "/metrics", "POST")[0] == fetched(metrics, "/quitquitquit")[0] == 404
