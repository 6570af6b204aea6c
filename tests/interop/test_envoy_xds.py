"""Real Envoys on a real agent's xDS port: intentions, leaves, health, refusals, and pairs with the built-in proxy."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.testing.credentials import Credentials
from tests.support.envoy import envoy_binary
from tests.support.envoy_mesh import EnvoyMesh, exchange, opened
from tests.support.mesh_agent import run_mesh, wait
from tests.support.programs import needs
from tests.support.wire import free_port

pytestmark = needs("envoy")

PAIRS = [("envoy", "envoy"), ("envoy", "proxy"), ("proxy", "envoy")]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyMesh]:
    with EnvoyMesh.new(tmp_path_factory.mktemp("mesh")) as made:
        yield made


def pair(mesh: EnvoyMesh, name: str, kinds: tuple[str, str], *arguments: str, **config: Any) -> int:
    """``web-<name>`` leads to ``api-<name>``; the port where that begins."""
    port = free_port()
    mesh.register(f"api-{name}", mesh.application().port, **config)
    mesh.register(f"web-{name}", free_port(), (f"api-{name}", port))
    client, server = kinds
    mesh.start(server, f"api-{name}", *(arguments if server == "envoy" else ()))
    mesh.start(client, f"web-{name}")
    mesh.reaches(port)
    return port


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
def test_an_intention_denies_and_allows_whoever_is_on_either_end(
    mesh: EnvoyMesh, kinds: tuple[str, str]
) -> None:
    name = f"deny-{'-'.join(kinds)}"
    port = pair(mesh, name, kinds)
    flow = mesh.opened(port)
    assert exchange(flow) == b"hello"
    mesh.cli("intention", "create", "-deny", f"web-{name}", f"api-{name}")
    mesh.is_refused(port)
    if kinds[1] == "proxy":
        wait(lambda: exchange(flow) == b"", "our proxy has cut what is denied now")
    else:
        # Envoy's rules are of the connection's beginning; see the next test for when it ends.
        assert exchange(flow) == b"hello"
    mesh.cli("intention", "delete", f"web-{name}", f"api-{name}")
    mesh.reaches(port)


def test_the_older_protocol_says_the_same(mesh: EnvoyMesh) -> None:
    port = free_port()
    mesh.register("api-sotw", mesh.application().port)
    mesh.register("web-sotw", free_port(), ("api-sotw", port))
    for name in ("api-sotw", "web-sotw"):
        mesh.start("envoy", name, own=("-sotw",))
    mesh.reaches(port)
    mesh.cli("intention", "create", "-deny", "web-sotw", "api-sotw")
    mesh.is_refused(port)
    mesh.register("web-sotw", free_port())
    wait(
        lambda: mesh.types("web-sotw-sidecar-proxy")["CDS"]["Resources"] == 1,
        "the upstream's cluster is gone",
    )
    assert not any(row["Nack"] for row in mesh.types("web-sotw-sidecar-proxy").values())


def test_what_is_denied_while_it_is_open_ends_with_envoy_s_drain_time(mesh: EnvoyMesh) -> None:
    drained = ("--drain-time-s", "2", "--drain-strategy", "immediate")
    port = pair(mesh, "drain", ("proxy", "envoy"), *drained)
    flow = mesh.opened(port)
    assert exchange(flow) == b"hello"
    mesh.cli("intention", "create", "-deny", "web-drain", "api-drain")
    mesh.is_refused(port)
    assert exchange(flow) == b"hello"
    wait(lambda: exchange(flow) == b"", "Envoy has ended the old flow")


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
def test_leaves_and_roots_change_and_no_connection_is_dropped(
    mesh: EnvoyMesh, kinds: tuple[str, str]
) -> None:
    suffix = f"leaf-{'-'.join(kinds)}"
    port = pair(mesh, suffix, kinds)
    flow, ended, failed = mesh.opened(port), threading.Event(), []

    def talk() -> None:
        while not ended.is_set():
            if exchange(flow) != b"hello":
                failed.append("the old connection")
            with opened(port) as fresh:
                if exchange(fresh) != b"hello":
                    failed.append("a new connection")

    sides = {f"{name}-{suffix}": mesh.side(f"{name}-{suffix}") for name in ("web", "api")}

    def leaf(name: str) -> str:
        return str(mesh.agent.get(f"/v1/agent/connect/ca/leaf/{name}")["SerialNumber"]).replace(":", "")

    before = {name: leaf(name) for name in sides}
    talking = threading.Thread(target=talk, daemon=True)
    talking.start()
    try:
        status, text = mesh.agent.api("/v1/connect/ca/rotation", "PUT", b'{"Action": "start"}')
        assert status == 200, text
        for name, side in sides.items():
            wait(lambda name=name: leaf(name) != before[name], f"{name} has another leaf", 60.0)
            if side.admin_answers:
                wait(
                    lambda name=name, side=side: leaf(name) in side.serials(), f"Envoy of {name} presents it"
                )
    finally:
        ended.set()
        talking.join(30)
    assert failed == []
    mesh.reaches(port)


def test_an_instance_that_fails_its_check_gets_no_connection_until_it_passes(mesh: EnvoyMesh) -> None:
    port = pair(mesh, "health", ("envoy", "envoy"))
    check = {"Name": "mood", "ID": "mood", "ServiceID": "api-health", "TTL": "1h", "Status": "passing"}
    assert mesh.agent.api("/v1/agent/check/register", "PUT", json.dumps(check).encode())[0] == 200
    mesh.reaches(port)
    assert mesh.agent.api("/v1/agent/check/fail/mood", "PUT")[0] == 200
    mesh.is_refused(port)
    assert mesh.agent.api("/v1/agent/check/pass/mood", "PUT")[0] == 200
    mesh.reaches(port)


def test_what_envoy_refuses_is_shown_with_its_words(mesh: EnvoyMesh) -> None:
    port = pair(mesh, "nack", ("envoy", "envoy"))
    assert "REFUSED" not in mesh.cli("connect", "proxies", "-proxy", "web-nack-sidecar-proxy")
    taken = mesh.application()
    mesh.register("web-nack", free_port(), ("api-nack", port), ("api-nack", taken.port))
    wait(lambda: mesh.types("web-nack-sidecar-proxy")["LDS"]["Nack"], "a refusal")
    shown = mesh.cli("connect", "proxies", "-proxy", "web-nack-sidecar-proxy")
    assert "REFUSED" in shown
    assert "web-nack-sidecar-proxy: Envoy refuses LDS" in shown
    assert f"{taken.port}" in shown.splitlines()[-1]
    mesh.reaches(port)


class Answers(http.server.BaseHTTPRequestHandler):
    """Says which path it was asked for, and by whom."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.path} {self.headers.get('x-forwarded-client-cert', '')}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


def test_permissions_decide_about_each_request_on_a_connection_that_stays(mesh: EnvoyMesh) -> None:
    port, app = free_port(), mesh.application(Answers)
    mesh.register("api-http", app.port, protocol="http")
    mesh.register("web-http", free_port(), ("api-http", port))
    entry = json.dumps({"Kind": "service-defaults", "Name": "api-http", "Protocol": "http"})
    assert mesh.agent.api("/v1/config", "PUT", entry.encode())[0] == 200
    side = mesh.start("envoy", "api-http")
    mesh.start("envoy", "web-http")
    flow = mesh.ended.enter_context(
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10))
    )

    def asks(method: str, path: str) -> tuple[int, str]:
        flow.request(method, path)
        answer = flow.getresponse()
        return answer.status, answer.read().decode()

    def first() -> bool:
        try:
            return asks("GET", "/public/a")[0] == 200
        except (OSError, http.client.HTTPException):
            flow.close()
            return False

    wait(first, "an answer through both Envoys", 40.0)
    status, text = asks("GET", "/public/a")
    assert (status, text.split()[0]) == (200, "/public/a")
    assert "/svc/web-http" in text.split("URI=")[1]
    local = flow.sock.getsockname()
    permissions = [
        {"Action": "deny", "HTTP": {"PathPrefix": "/public/secret"}},
        {"Action": "allow", "HTTP": {"PathPrefix": "/public/", "Methods": ["GET"]}},
        {"Action": "deny", "HTTP": {"PathPrefix": "/"}},
    ]
    body = {"SourceName": "web-http", "DestinationName": "api-http", "Permissions": permissions}
    status, text = mesh.agent.api("/v1/connect/intentions", "POST", json.dumps(body).encode())
    assert status == 200, text
    wait(lambda: asks("DELETE", "/public/a")[0] == 403, "the permissions hold")
    assert asks("GET", "/public/a")[0] == 200
    refused = {path: asks("GET", path)[0] for path in ("/public/secret", "/public/./secret", "/other")}
    assert set(refused.values()) == {403}, refused
    assert flow.sock.getsockname() == local, "the connection was another one"
    unclear = ("/public//secret", "/public/%2e%2e/other", "/public%2Fa", "/public/x;y", "/public/%73ecret")
    assert {asks("GET", path)[0] for path in unclear} <= {400, 403}
    flow.close()
    assert sum(side.stats("rbac.denied").values()) >= 5


def test_an_intention_that_only_audits_lets_through_and_is_counted(mesh: EnvoyMesh) -> None:
    port = pair(mesh, "audit", ("proxy", "envoy"))
    side = next(one for one in mesh.sides if one.proxy_id == "api-audit-sidecar-proxy")
    body = {"SourceName": "web-audit", "DestinationName": "api-audit", "Action": "deny", "Audit": True}
    assert mesh.agent.api("/v1/connect/intentions", "POST", json.dumps(body).encode())[0] == 200

    def counted() -> int:
        mesh.reaches(port)
        return sum(side.stats(".audit.shadow_denied").values())

    wait(counted, "a connection that would have been denied is counted")


def test_envoy_goes_on_while_the_agent_is_away_and_follows_it_again(tmp_path: Path) -> None:
    with EnvoyMesh.new(tmp_path) as mesh:
        port = pair(mesh, "away", ("envoy", "envoy"))
        flow = mesh.opened(port)
        mesh.agent.kill()
        assert exchange(flow) == b"hello"
        mesh.reaches(port, "an answer without an agent")
        mesh.agent.start()
        wait(
            lambda: mesh.types("api-away-sidecar-proxy").get("LDS", {}).get("Applied"), "Envoy is back", 60.0
        )
        assert exchange(flow) == b"hello"
        mesh.cli("intention", "create", "-deny", "web-away", "api-away")
        mesh.is_refused(port)


def test_the_token_is_needed_and_is_in_no_argument(tmp_path: Path) -> None:
    acl = {
        "acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": "s3cret", "agent": "s3cret"}}
    }
    with EnvoyMesh.new(tmp_path, primary_datacenter="dc1", **acl) as mesh:
        environment = {"CONSUL_HTTP_TOKEN": "s3cret"}
        service = {
            "service": {"name": "api", "port": 1, "connect": {"sidecar_service": {"port": free_port()}}}
        }
        file = tmp_path / "api.json"
        file.write_text(json.dumps(service))

        def register() -> bool:
            return mesh.agent.cli("services", "register", str(file), **environment).returncode == 0

        wait(register, "the service is registered")
        good = mesh.start("envoy", "api", **environment)
        shown = ("connect", "proxies", "-format", "json")
        wait(lambda: "LDS" in mesh.agent.cli(*shown, **environment).stdout, "Envoy is served")
        arguments = Path(f"/proc/{good.process.pid}/cmdline").read_bytes()
        assert b"envoy" in arguments
        assert b"s3cret" not in arguments
        printed = mesh.agent.cli(
            "connect", "envoy", "-sidecar-for", "api", "-bootstrap", **environment
        ).stdout
        file.write_text(printed.replace(environment["CONSUL_HTTP_TOKEN"], "nobody"))
        binary, log = envoy_binary(), tmp_path / "nobody.log"
        assert binary is not None
        with log.open("wb") as errors:
            command = [binary, "-c", str(file), "--disable-hot-restart", "--log-level", "warning"]
            process = subprocess.Popen(command, stdout=errors, stderr=errors, stdin=subprocess.DEVNULL)
        try:
            wait(lambda: "ACL not found" in log.read_text(), "Envoy is told why it isn't served")
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("asked", [False, True], ids=["of no client", "of clients, too"])
def test_envoy_takes_the_port_with_tls_by_the_agent_s_certificate(tmp_path: Path, asked: bool) -> None:
    made = Credentials(tmp_path)
    certificate, key = made.issue("one", "server", "dc1", "")
    authority = str(made.ca_file)
    tls = {
        "ca_file": authority,
        "cert_file": str(certificate),
        "key_file": str(key),
        "ports": {"grpc_tls": 8503},
        "verify_incoming": asked,
    }
    shown = ("-client-cert", str(certificate), "-client-key", str(key)) if asked else ()
    with EnvoyMesh.new(tmp_path, **tls) as mesh:
        mesh.register("api", mesh.application().port)
        address = f"https://{mesh.agent.host}:8503"
        trusted = ("-ca-file", authority, "-tls-server-name", "server.dc1.consul")
        own = ("-grpc-addr", address, *trusted, *shown)
        mesh.start("envoy", "api", own=own)
        wait(lambda: mesh.types("api-sidecar-proxy").get("LDS", {}).get("Applied"), "Envoy is served", 40.0)
        certificate, key = made.issue("two", "server", "dc1", "")
        mesh.agent.write_config(cert_file=str(certificate), key_file=str(key))
        assert mesh.agent.cli("reload").returncode == 0
        mesh.register("web", mesh.application().port)
        mesh.start("envoy", "web", own=own)
        wait(
            lambda: mesh.types("web-sidecar-proxy").get("LDS", {}).get("Applied"), "with another certificate"
        )


def test_a_node_without_envoy_is_told_how_to_get_it(mesh: EnvoyMesh) -> None:
    mesh.register("alone", 1)
    done = run_mesh(
        "connect", "envoy", "-sidecar-for", "alone", "-envoy-binary", "no-such-envoy",
        CONSUL_HTTP_ADDR=f"{mesh.agent.host}:8500",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "-envoy-binary: there is no program no-such-envoy\n")
