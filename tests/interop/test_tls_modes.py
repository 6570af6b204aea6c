"""The four TLS modes on loopback, by Envoy and by the built-in proxy: the document's curls, and what goes wrong."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh_agent import wait
from tests.support.programs import needs
from tests.support.proxy import Ca
from tests.support.tls_modes import Answer, Echo, Files, TlsProxy, curl, echo, fields, tls_proxy

pytestmark = needs("envoy", "curl", "openssl")

PLANES = ["envoy", "builtin"]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
#: Which headers upstreams get besides the client's own, by data plane.
ADDED = {
    "envoy": ["x-forwarded-proto", "x-request-id", "x-envoy-expected-rq-timeout-ms"],
    "builtin": ["x-forwarded-for", "x-forwarded-proto", "x-request-id"],
}


class Sandbox:
    """The document's four proxies and two services."""

    def __init__(self, files: Files, proxy: TlsProxy, http: Echo, https: Echo, plane: str) -> None:
        self.files, self.proxy, self.http, self.https, self.plane = files, proxy, http, https, plane

    def url(self, name: str) -> str:
        scheme = "http" if name == "originate" else "https"
        return f"{scheme}://localhost:{self.proxy.ports[name]}"

    def get(self, name: str, *arguments: str, path: str = "") -> Answer:
        done = curl("-k", *arguments, self.url(name) + path)
        assert done.returncode == 0, (done.returncode, done.stderr, self.proxy.output[-3000:])
        found: Answer = json.loads(done.stdout)
        return found


def listeners(files: Files, http: Echo, https: Echo) -> dict[str, Any]:
    shown = files.certificate()
    checked = {"address": https.address, "ca_file": files.ca_file, "server_name": "service-https"}
    return {
        "terminate": {"mode": "terminate", "certificate": shown, "upstream": {"address": http.address}},
        "bridge": {"mode": "bridge", "certificate": shown, "upstream": checked},
        "originate": {"mode": "originate", "upstream": checked},
        "passthrough": {"mode": "passthrough", "upstream": {"address": https.address}},
        "named": {
            "mode": "passthrough",
            "server_names": ["service-https", "*.shop.test"],
            "upstream": {"address": https.address},
        },
        "sni": {"mode": "bridge", "certificate": shown, "upstream": {**checked, "sni": "service-https"}},
    }


@pytest.fixture(scope="module", params=PLANES)
def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    files = Files(tmp_path_factory.mktemp("sandbox"))
    with (
        echo() as http,
        echo(*files.pair("service", "service-https")) as https,
        tls_proxy(files.folder, request.param, listeners(files, http, https)) as proxy,
    ):
        yield Sandbox(files, proxy, http, https, request.param)


def expected(sandbox: Sandbox, name: str, protocol: str, connection: Any) -> Answer:
    ips = ["127.0.0.1"] if sandbox.plane == "builtin" and name != "passthrough" else []
    return {
        "path": "/",
        "method": "GET",
        "body": "",
        "fresh": False,
        "hostname": "localhost",
        "ips": ips,
        "protocol": protocol,
        "query": {},
        "subdomains": [],
        "xhr": False,
        "connection": connection,
    }


@pytest.mark.parametrize(
    ("name", "protocol", "connection"),
    [
        ("terminate", "https", {}),
        ("bridge", "https", {"servername": False}),
        ("originate", "http", {"servername": False}),
        ("passthrough", "https", {"servername": "localhost"}),
        ("sni", "https", {"servername": "service-https"}),
    ],
)
def test_the_documents_curls_get_the_documents_answers(
    sandbox: Sandbox, name: str, protocol: str, connection: Any
) -> None:
    answer = sandbox.get(name)
    assert fields(answer) == expected(sandbox, name, protocol, connection)
    headers = answer["headers"]
    own = ["host", "user-agent", "accept"]
    added = [] if name == "passthrough" else ADDED[sandbox.plane]
    assert list(headers)[:3] == own
    assert sorted(headers) == sorted(own + added)
    assert headers["host"] == f"localhost:{sandbox.proxy.ports[name]}"
    if added:
        assert headers["x-forwarded-proto"] == protocol
        assert UUID.fullmatch(headers["x-request-id"])
    if sandbox.plane == "envoy" and added:
        assert list(headers)[3:] == added
        assert headers["x-envoy-expected-rq-timeout-ms"] == "15000"


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("name", ["terminate", "bridge"])
def test_clients_choose_their_version_of_http(sandbox: Sandbox, name: str, version: str) -> None:
    done = curl("-k", version, "-o", "/dev/null", "-w", "%{http_version}", sandbox.url(name))
    assert done.stdout == {"--http1.1": "1.1", "--http2": "2"}[version]


def test_bodies_queries_and_methods_arrive(sandbox: Sandbox) -> None:
    for name in ("terminate", "bridge", "originate", "passthrough"):
        answer = sandbox.get(name, "-X", "PUT", "-d", "x" * 70_000, path="/a/b?c=1&d=2&d=3")
        assert (answer["method"], answer["path"]) == ("PUT", "/a/b")
        assert answer["query"] == {"c": "1", "d": ["2", "3"]}
        assert len(answer["body"]) == 70_000


def test_clients_see_the_proxy_s_certificate_and_through_passthrough_the_service_s(sandbox: Sandbox) -> None:
    ca = ("--cacert", sandbox.files.ca_file)
    for name in ("terminate", "bridge"):
        assert curl(*ca, sandbox.url(name)).returncode == 0
    assert curl(*ca, sandbox.url("passthrough")).returncode == 60, "its name is service-https"
    port = sandbox.proxy.ports["passthrough"]
    to = ("--connect-to", f"service-https:443:127.0.0.1:{port}", "https://service-https/")
    done = curl(*ca, *to)
    assert json.loads(done.stdout)["connection"] == {"servername": "service-https"}


@pytest.mark.parametrize(
    ("asked", "let_in"),
    [
        ("service-https", True),
        ("SERVICE-HTTPS", True),
        ("a.shop.test", True),
        ("shop.test", False),
        ("other.test", False),
        ("", False),
    ],
)
def test_passthrough_with_names_lets_in_who_asks_for_one(sandbox: Sandbox, asked: str, let_in: bool) -> None:
    context = ssl.create_default_context(cafile=sandbox.files.ca_file)
    context.check_hostname = False
    with socket.create_connection(("127.0.0.1", sandbox.proxy.ports["named"]), 10) as plain:
        if not let_in:
            with pytest.raises((ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError)):
                context.wrap_socket(plain, server_hostname=asked or None)
            return
        with context.wrap_socket(plain, server_hostname=asked) as flow:
            flow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"200" in flow.recv(65536)


def test_a_first_message_in_pieces_is_read_all_the_same(sandbox: Sandbox) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=sandbox.files.ca_file)
    tls = context.wrap_bio(incoming, outgoing, server_hostname="service-https")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    with socket.create_connection(("127.0.0.1", sandbox.proxy.ports["named"]), 10) as flow:
        flow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(hello), 100):
            flow.sendall(hello[at : at + 100])
        assert flow.recv(1) == b"\x16"


def test_plain_http_to_a_port_for_tls_is_refused(sandbox: Sandbox) -> None:
    for name in ("terminate", "bridge", "passthrough", "named"):
        with socket.create_connection(("127.0.0.1", sandbox.proxy.ports[name]), 10) as flow:
            flow.settimeout(15)
            flow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := flow.recv(65536):
                    answer += piece
        assert b"200 OK" not in answer
    if sandbox.plane == "builtin":
        sandbox.proxy.wait_for("it does not speak TLS")


def test_tls_to_a_port_for_plain_http_is_refused(sandbox: Sandbox) -> None:
    done = curl("-k", f"https://127.0.0.1:{sandbox.proxy.ports['originate']}")
    assert done.returncode in (35, 52, 56)
    assert sandbox.get("originate")["method"] == "GET"


BAD = {
    "self-signed": ({"ca": True}, "service-https"),
    "expired": ({"days": -0.5}, "service-https"),
    "wrong name": ({}, "other-service"),
}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("bad", BAD)
def test_an_upstream_that_can_t_prove_its_name_is_refused_unless_nobody_asks(
    tmp_path: Path, plane: str, bad: str
) -> None:
    files = Files(tmp_path)
    settings, name = BAD[bad]
    made = {**settings, **({"ca": Ca(name="somebody else")} if "ca" in settings else {})}
    with echo(*files.pair("service", name, **made)) as https:  # type: ignore[arg-type]
        checked = {"address": https.address, "ca_file": files.ca_file, "server_name": "service-https"}
        open_to_all = {"address": https.address, "insecure_skip_verify": True}
        config = {
            "checked": {"mode": "originate", "upstream": checked},
            "bridged": {"mode": "bridge", "certificate": files.certificate(), "upstream": checked},
            "unchecked": {"mode": "originate", "upstream": open_to_all},
        }
        with tls_proxy(tmp_path, plane, config) as proxy:
            for refused in ("checked", "bridged"):
                scheme = "https" if refused == "bridged" else "http"
                done = curl("-k", "-w", "%{http_code}", f"{scheme}://127.0.0.1:{proxy.ports[refused]}")
                assert done.stdout[-3:] in ("502", "503"), done
            proxy.wait_for("CERTIFICATE_VERIFY_FAILED" if plane == "envoy" else "certificate")
            done = curl(f"http://127.0.0.1:{proxy.ports['unchecked']}")
            assert json.loads(done.stdout)["connection"] == {"servername": False}
            assert "insecure_skip_verify: whoever answers" in proxy.output


def serial(port: int) -> int:
    """That of the certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(plain) as flow:
        from cryptography import x509

        return x509.load_der_x509_certificate(flow.getpeercert(binary_form=True) or b"").serial_number


@pytest.mark.parametrize("plane", PLANES)
def test_certificates_are_replaced_under_load_and_no_request_fails(tmp_path: Path, plane: str) -> None:
    files = Files(tmp_path)
    ended, failed, done = threading.Event(), [], []
    with echo() as http:
        one = {"mode": "terminate", "certificate": files.certificate(), "upstream": {"address": http.address}}
        with tls_proxy(tmp_path, plane, {"one": one}) as proxy:
            url = f"https://localhost:{proxy.ports['one']}"

            def ask() -> None:
                while not ended.is_set():
                    # Two requests on one connection, verified.
                    said = curl("--cacert", files.ca_file, "-o", "/dev/null", "-o", "/dev/null", url, url)
                    (done if said.returncode == 0 else failed).append(said)

            asking = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
            for each in asking:
                each.start()
            seen = {serial(proxy.ports["one"])}
            for _ in range(3):
                count = len(done)
                files.certificate()
                wait(lambda: serial(proxy.ports["one"]) not in seen, "another certificate is shown")
                seen.add(serial(proxy.ports["one"]))
                wait(lambda count=count: len(done) > count + 1, "requests go on")
            ended.set()
            for each in asking:
                each.join(30)
    assert failed == []
    assert len(seen) == 4


@pytest.mark.parametrize("plane", PLANES)
def test_half_a_pair_replaces_nothing_and_the_whole_pair_does(tmp_path: Path, plane: str) -> None:
    files = Files(tmp_path)
    with echo() as http:
        shown = files.certificate()
        one = {"mode": "terminate", "certificate": shown, "upstream": {"address": http.address}}
        with tls_proxy(tmp_path, plane, {"one": one}) as proxy:
            before = serial(proxy.ports["one"])
            other = files.certificate("other")
            Path(shown["cert_file"]).write_bytes(Path(other["cert_file"]).read_bytes())
            proxy.wait_for(
                "the certificates are not replaced, the old ones stay: listener.one.certificate.key"
            )
            assert serial(proxy.ports["one"]) == before
            Path(shown["key_file"]).write_bytes(Path(other["key_file"]).read_bytes())
            wait(lambda: serial(proxy.ports["one"]) != before, "the new certificate is shown")


@pytest.mark.parametrize("plane", PLANES)
def test_another_ca_is_taken_up_for_the_upstream(tmp_path: Path, plane: str) -> None:
    files, other = Files(tmp_path), Ca(name="Consul CA 8")
    with echo(*files.pair("service", "localhost", ca=other)) as https:
        upstream = {"address": https.address, "ca_file": files.ca_file}
        with tls_proxy(tmp_path, plane, {"one": {"mode": "originate", "upstream": upstream}}) as proxy:
            url = f"http://127.0.0.1:{proxy.ports['one']}"
            assert curl("-f", url).returncode == 22
            Path(files.ca_file).write_text(other.root.certificate_pem)
            wait(lambda: curl("-f", url).returncode == 0, "the upstream is believed")
