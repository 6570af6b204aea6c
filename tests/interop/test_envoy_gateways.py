"""Gateways that are real Envoys: from clients outside into the mesh, and from the mesh to services outside of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from meshnode.testing.credentials import Credentials
from tests.support.envoy_mesh import EnvoyMesh, exchange
from tests.support.mesh_agent import run_mesh, wait
from tests.support.programs import needs
from tests.support.wire import free_port

pytestmark = needs("envoy")


class Hello(BaseHTTPRequestHandler):
    """Says which server it is, and for which host it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"port": self.server.server_address[1], "host": self.headers["host"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyMesh]:
    with EnvoyMesh.new(tmp_path_factory.mktemp("gateways")) as made:
        yield made


def entry(mesh: EnvoyMesh, **fields: Any) -> None:
    status, text = mesh.agent.api("/v1/config", "PUT", json.dumps(fields).encode())
    assert status == 200, text


def asks(port: int, host: str, path: str = "/") -> tuple[int, dict[str, Any]]:
    """What a gateway, or an upstream's listener, answers; 0 when nothing does."""
    flow = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        flow.request("GET", path, headers={"host": host})
        answer = flow.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.startswith(b"{") else {}
    except (OSError, http.client.HTTPException):
        return 0, {}
    finally:
        flow.close()


# Into the mesh


def test_clients_outside_reach_services_by_host_and_by_port(mesh: EnvoyMesh) -> None:
    web, shop, ready, http_port, tcp_port = (free_port() for _ in range(5))
    for name in ("in-web", "in-shop"):
        entry(mesh, Kind="service-defaults", Name=name, Protocol="http")
    apps = {}
    for name in ("in-web", "in-shop", "in-raw"):
        app = mesh.application() if name == "in-raw" else mesh.application(Hello)
        apps[name] = app.port
        mesh.register(name, app.port)
        mesh.start("envoy", name)
    del web, shop
    services = [{"Name": "in-web"}, {"Name": "in-shop", "Hosts": ["shop.example"]}]
    entry(
        mesh,
        Kind="ingress-gateway",
        Name="front",
        Listeners=[
            {"Port": http_port, "Protocol": "http", "Services": services},
            {"Port": tcp_port, "Protocol": "tcp", "Services": [{"Name": "in-raw"}]},
        ],
    )
    gateway = mesh.gateway("ingress", "front", f"127.0.0.1:{ready}")
    wait(lambda: asks(http_port, "in-web.ingress.consul")[0] == 200, "an answer through the gateway", 60.0)
    assert asks(http_port, f"in-web.ingress.dc1.consul:{http_port}")[1]["port"] == apps["in-web"]
    wait(lambda: asks(http_port, "shop.example")[0] == 200, "the other service", 30.0)
    assert asks(http_port, "shop.example")[1] == {"port": apps["in-shop"], "host": "shop.example"}
    assert asks(http_port, "elsewhere.example")[0] == 404
    mesh.reaches(tcp_port)
    assert asks(ready, "x", "/ready")[0] == 200
    mesh.cli("intention", "create", "-deny", "front", "in-web")
    wait(lambda: asks(http_port, "in-web.ingress.consul")[0] == 403, "the gateway is a client like any other")
    assert asks(http_port, "shop.example")[0] == 200
    rows = mesh.agent.get("/v1/catalog/gateway-services/front")
    assert [(row["Service"]["Name"], row["Port"]) for row in rows] == [
        ("in-raw", tcp_port),
        ("in-shop", http_port),
        ("in-web", http_port),
    ]
    wait(
        lambda: all(row["Status"] == "passing" for row in mesh.agent.get("/v1/health/checks/front")),
        "the check of the gateway",
        30.0,
    )
    assert not any(row["Nack"] for row in mesh.types(gateway.proxy_id).values())


def test_a_wildcard_lets_in_every_service_of_the_protocol_and_tls_shows_the_gateway_s_leaf(
    mesh: EnvoyMesh,
) -> None:
    port = free_port()
    entry(mesh, Kind="service-defaults", Name="wild-a", Protocol="http")
    app = mesh.application(Hello)
    mesh.register("wild-a", app.port)
    mesh.start("envoy", "wild-a")
    entry(
        mesh,
        Kind="ingress-gateway",
        Name="wild",
        TLS={"Enabled": True, "TLSMinVersion": "TLSv1_3"},
        Listeners=[{"Port": port, "Protocol": "http", "Services": [{"Name": "*"}]}],
    )
    mesh.gateway("ingress", "wild", f"127.0.0.1:{free_port()}")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    roots = mesh.agent.get("/v1/agent/connect/ca/roots")["Roots"]
    context.load_verify_locations(cadata="".join(row["RootCert"] for row in roots))

    def status() -> int:
        flow = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(flow):
            flow.request("GET", "/", headers={"host": "wild-a.ingress.consul"})
            assert flow.sock.version() == "TLSv1.3"
            names = flow.sock.getpeercert()["subjectAltName"]
            assert any(kind == "URI" and name.endswith("/svc/wild") for kind, name in names)
            return flow.getresponse().status
        return 0

    wait(lambda: status() == 200, "an answer over TLS", 60.0)
    later = mesh.application(Hello)
    entry(mesh, Kind="service-defaults", Name="wild-b", Protocol="http")
    mesh.register("wild-b", later.port)
    wait(
        lambda: (
            "wild-b"
            in [row["Service"]["Name"] for row in mesh.agent.get("/v1/catalog/gateway-services/wild")]
        ),
        "a service that came later",
    )


# Out of the mesh


class Outside(ThreadingHTTPServer):
    """A server that isn't in the mesh, over TLS with a certificate for ``names``."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Hello)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()


def outside(mesh: EnvoyMesh, name: str, address: str, port: int) -> None:
    """A service of a node that has no agent."""
    service = {"Service": name, "Port": port, "Address": address}
    body = {"Node": f"node-{name}", "Address": "127.0.0.1", "Service": service, "SkipNodeUpdate": False}
    status, text = mesh.agent.api("/v1/catalog/register", "PUT", json.dumps(body).encode())
    assert status == 200, text


def test_services_outside_are_reached_over_tls_that_is_checked_and_by_intentions(
    mesh: EnvoyMesh, tmp_path: Path
) -> None:
    made = Credentials(tmp_path)
    certificate, key = made.issue("out", "server", "dc1", "")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    servers = [Outside(context), Outside(context), Outside(None)]
    for server in servers:
        mesh.ended.callback(server.end)
    good, wrong, plain = (int(server.server_address[1]) for server in servers)
    names = ("out-good", "out-wrong", "out-plain", "out-named")
    ports = {name: free_port() for name in names}
    for name in names:
        entry(mesh, Kind="service-defaults", Name=name, Protocol="http")
    outside(mesh, "out-good", "127.0.0.1", good)
    outside(mesh, "out-wrong", "127.0.0.1", wrong)
    outside(mesh, "out-plain", "127.0.0.1", plain)
    outside(mesh, "out-named", "localhost", good)
    ca = str(made.ca_file)
    entry(
        mesh,
        Kind="terminating-gateway",
        Name="exit",
        Services=[
            {"Name": "out-good", "CAFile": ca, "SNI": "server.dc1.consul"},
            {"Name": "out-wrong", "CAFile": ca, "SNI": "other.example"},
            {"Name": "out-plain"},
            {"Name": "out-named", "CAFile": ca, "SNI": "server.dc1.consul"},
        ],
    )
    exit_port = free_port()
    gateway = mesh.gateway("terminating", "exit", f"127.0.0.1:{exit_port}")
    mesh.register("out-client", free_port(), *ports.items())
    mesh.start("envoy", "out-client")
    for name, port in (("out-good", good), ("out-plain", plain), ("out-named", good)):
        wait(lambda name=name: asks(ports[name], "x")[0] == 200, f"an answer of {name}", 60.0)
        assert asks(ports[name], "x")[1]["port"] == port
    assert asks(ports["out-wrong"], "x")[0] == 503, "its certificate is of another name"
    mesh.cli("intention", "create", "-deny", "out-client", "out-good")
    wait(lambda: asks(ports["out-good"], "x")[0] == 403, "the intention")
    assert asks(ports["out-plain"], "x")[0] == 200
    rows = mesh.agent.get("/v1/catalog/gateway-services/exit")
    assert [row["Service"]["Name"] for row in rows] == sorted(names)
    assert not any(row["Nack"] for row in mesh.types(gateway.proxy_id).values())


def test_a_tcp_service_outside_is_found_by_a_wildcard(mesh: EnvoyMesh) -> None:
    port = free_port()
    entry(mesh, Kind="terminating-gateway", Name="all-out", Services=[{"Name": "*"}])
    mesh.gateway("terminating", "all-out", f"127.0.0.1:{free_port()}")
    mesh.register("tcp-client", free_port(), ("tcp-out", port))
    mesh.start("envoy", "tcp-client")
    outside(mesh, "tcp-out", "127.0.0.1", mesh.application().port)
    mesh.reaches(port)
    flow = mesh.opened(port)
    assert exchange(flow) == b"hello"
    mesh.cli("intention", "create", "-deny", "tcp-client", "tcp-out")
    mesh.is_refused(port)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("mesh", "-gateway=mesh is not supported: sidecars reach other datacenters directly here"),
        ("api", "-gateway=api is not supported: it is of Consul 1.15: use -gateway=ingress"),
        ("ingres", "-gateway=ingres is none: write ingress or terminating"),
    ],
)
def test_gateways_of_other_kinds_are_refused_by_name(mesh: EnvoyMesh, kind: str, words: str) -> None:
    done = run_mesh("connect", "envoy", f"-gateway={kind}", CONSUL_HTTP_ADDR=f"{mesh.agent.host}:8500")
    assert (done.returncode, done.stderr) == (1, f"{words}\n")
