"""Out of the mesh by a terminating gateway, from either kind of sidecar: names asked for, certificates, files."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.interop.test_envoy_gateways import Outside, asks, entry, outside
from tests.support.envoy_mesh import EnvoyMesh
from tests.support.mesh_agent import wait
from tests.support.programs import needs
from tests.support.proxy import Ca
from tests.support.tls_modes import Files
from tests.support.wire import free_port

pytestmark = needs("envoy")

KINDS = ["envoy", "proxy"]
#: With capitals, as services may have: what is asked for in a handshake is compared in lower case.
GOOD = "Out-Good"
NAME = "billing.example"
#: Service -> the name in the certificate that it shows, and what is wrong with it.
BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "out-stranger": (NAME, {"ca": Ca(name="somebody else")}),
    "out-expired": (NAME, {"days": -0.5}),
    "out-other": ("other.example", {}),
}
#: Its CAFile is not on the gateway's disk.
LACKING = "out-lacking"


class Seen(BaseHTTPRequestHandler):
    """Says for which name it was asked in the handshake, and for whom it took its client."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        shown = self.request.getpeercert() or {}
        names = [name for _, name in shown.get("subjectAltName", ())]
        body = json.dumps({"asked": getattr(self.request, "asked", None), "client": names}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


def seeing(mesh: EnvoyMesh, files: Files, pair: tuple[str, str]) -> int:
    """The port of a server outside that wants to see a certificate of ``files``' CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.load_verify_locations(files.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.sni_callback = _remember
    server = Outside(context)
    server.RequestHandlerClass = Seen
    mesh.ended.callback(server.end)
    return int(server.server_address[1])


def _remember(connection: Any, name: str | None, context: ssl.SSLContext) -> None:
    connection.asked = name


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyMesh]:
    with EnvoyMesh.new(tmp_path_factory.mktemp("terminating")) as made:
        yield made


@pytest.fixture(scope="module")
def ports(mesh: EnvoyMesh, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], int]:
    """Kind of the client's sidecar and service -> where the client reaches it."""
    files = Files(tmp_path_factory.mktemp("files"))
    cert, key = files.pair("gateway", "gateway.example")
    shown = {GOOD: (NAME, {}), **BAD, LACKING: (NAME, {})}
    linked = []
    for service, (name, settings) in shown.items():
        entry(mesh, Kind="service-defaults", Name=service, Protocol="http")
        outside(mesh, service, "127.0.0.1", seeing(mesh, files, files.pair(service, name, **settings)))
        ca_file = str(Path(files.ca_file).with_name("nowhere.pem")) if service == LACKING else files.ca_file
        linked.append({"Name": service, "CAFile": ca_file, "CertFile": cert, "KeyFile": key, "SNI": NAME})
    entry(mesh, Kind="terminating-gateway", Name="exit", Services=linked)
    mesh.gateway("terminating", "exit", f"127.0.0.1:{free_port()}")
    found: dict[tuple[str, str], int] = {}
    for kind in KINDS:
        own = {service: free_port() for service in shown}
        mesh.register(f"client-{kind}", free_port(), *own.items())
        mesh.start(kind, f"client-{kind}")
        found |= {(kind, service): port for service, port in own.items()}
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_outside_hears_its_name_and_sees_the_gateway_s_certificate(
    ports: dict[tuple[str, str], int], kind: str
) -> None:
    port = ports[kind, GOOD]
    wait(lambda: asks(port, "x")[0] == 200, f"an answer by {kind}", 60.0)
    assert asks(port, "x")[1] == {"asked": NAME, "client": ["gateway.example"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("service", BAD)
def test_who_can_t_prove_its_name_outside_gets_no_request(
    ports: dict[tuple[str, str], int], kind: str, service: str
) -> None:
    wait(lambda: asks(ports[kind, GOOD], "x")[0] == 200, f"an answer by {kind}", 60.0)
    wait(lambda: asks(ports[kind, service], "x")[0] == 503, "the gateway's refusal", 60.0)


def test_a_file_that_is_not_on_the_gateway_s_disk_is_named_and_keeps_no_other_service_back(
    mesh: EnvoyMesh, ports: dict[tuple[str, str], int]
) -> None:
    wait(lambda: asks(ports["envoy", GOOD], "x")[0] == 200, "an answer of another one", 60.0)
    wait(lambda: bool(mesh.types("exit").get("CDS", {}).get("Nack")), "Envoy's refusal")
    assert "nowhere.pem" in mesh.types("exit")["CDS"]["Nack"]
    assert asks(ports["envoy", LACKING], "x")[0] in (0, 503)


@pytest.mark.parametrize("kind", KINDS)
def test_an_intention_about_the_service_outside_is_the_gateway_s_to_keep(
    mesh: EnvoyMesh, ports: dict[tuple[str, str], int], kind: str
) -> None:
    wait(lambda: asks(ports[kind, GOOD], "x")[0] == 200, f"an answer by {kind}", 60.0)
    mesh.cli("intention", "create", "-deny", f"client-{kind}", GOOD)
    wait(lambda: asks(ports[kind, GOOD], "x")[0] == 403, "the intention")
    mesh.cli("intention", "delete", f"client-{kind}", GOOD)
    wait(lambda: asks(ports[kind, GOOD], "x")[0] == 200, "an answer again")
