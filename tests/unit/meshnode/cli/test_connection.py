from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError, MeshError
from meshnode.cli.connection import Connection
from meshnode.client.answer import MAX_ANSWER_BYTES
from meshnode.client.endpoint import Endpoint, TlsFiles, parse_endpoint
from tests.support.certs import Pair, make_ca, make_cert
from tests.support.http_stub import stub_agent


@contextlib.contextmanager
def answering(*pieces: bytes) -> Iterator[Endpoint]:
    """A server that reads once, sends ``pieces`` and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                peer, _ = server.accept()
                with peer:
                    peer.recv(65536)
                    for piece in pieces:
                        peer.sendall(piece)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield parse_endpoint(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join(10)


def ask(endpoint: Endpoint, tls: TlsFiles | None = None, timeout: float | None = 5.0) -> tuple[int, bytes]:
    with Connection(endpoint, tls or TlsFiles(), timeout) as connection:
        connection.send("GET", "/", {}, None)
        return connection.status(), b"".join(connection.body())


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"], 200, b"hi"),
        ([b"HTTP/1.1 200 OK\r\n\r\nto ", b"the end"], 200, b"to the end"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", b"0\r\n\r\n"], 200, b"hi"),
        ([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"], 404, b""),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], 200, b""),
    ],
)
def test_every_framing_of_an_answer_is_read(pieces: list[bytes], status: int, body: bytes) -> None:
    with answering(*pieces) as endpoint:
        assert ask(endpoint) == (status, body)


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([], "closed the connection before its answer was whole"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"], "closed the connection"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "does not speak HTTP"),
        ([b"\x15\x03\x01\x00\x02\x02\x16"], "does it speak TLS"),
    ],
)
def test_what_is_no_whole_answer_is_a_sentence(pieces: list[bytes], words: str) -> None:
    with answering(*pieces) as endpoint, pytest.raises(MeshError, match=words):
        ask(endpoint)


@pytest.mark.parametrize(("excess", "fits"), [(0, True), (1, False)])
def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch, excess: int, fits: bool) -> None:
    assert MAX_ANSWER_BYTES == 64 * 1024 * 1024
    monkeypatch.setattr("meshnode.cli.connection.MAX_ANSWER_BYTES", 1000)
    body = b"x" * (1000 + excess)
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body) as endpoint:
        if fits:
            assert ask(endpoint) == (200, body)
        else:
            with pytest.raises(MeshError, match=r"more than 1000 bytes"):
                ask(endpoint)


def test_silence_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = parse_endpoint(f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(MeshError, match=r"did not answer in time"):
            ask(endpoint, timeout=0.05)


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:1", "unix:///nowhere/api.sock", "http://no-such-host.invalid:1"]
)
def test_nobody_there_says_where_to_set_the_address(text: str) -> None:
    with pytest.raises(
        MeshError, match=r"can't reach the agent at .*: .* Set -http-addr or CONSUL_HTTP_ADDR"
    ):
        ask(parse_endpoint(text))


# TLS


@pytest.fixture(scope="module")
def ca() -> Pair:
    return make_ca()


@pytest.fixture
def files(ca: Pair, tmp_path: Path) -> dict[str, str]:
    found = dict(zip(("ca", "ca_key"), ca.write(tmp_path, "ca"), strict=True))
    found |= dict(
        zip(
            ("cert", "key"), make_cert(["agent.example", "127.0.0.1"], ca).write(tmp_path, "own"), strict=True
        )
    )
    return found


def served(files: dict[str, str], *, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert"], files["key"])
    if mutual:
        context.load_verify_locations(files["ca"])
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_tls_verifies_the_agent_by_address_or_by_a_name_of_ones_choice(files: dict[str, str]) -> None:
    with stub_agent(served(files)) as stub:
        stub.answer("GET /", b"yes")
        endpoint = parse_endpoint(f"https://{stub.address}")
        assert ask(endpoint, TlsFiles(ca_file=files["ca"])) == (200, b"yes")
        assert ask(endpoint, TlsFiles(ca_file=files["ca"], server_name="agent.example")) == (200, b"yes")
        assert ask(endpoint, TlsFiles(verify=False)) == (200, b"yes")
        with pytest.raises(MeshError, match=r"failed: .*Set CONSUL_CACERT"):
            ask(endpoint)
        with pytest.raises(MeshError, match=r"CONSUL_TLS_SERVER_NAME"):
            ask(endpoint, TlsFiles(ca_file=files["ca"], server_name="other.example"))


def test_tls_shows_a_certificate_to_an_agent_that_asks_for_one(files: dict[str, str]) -> None:
    with stub_agent(served(files, mutual=True)) as stub:
        stub.answer("GET /", b"yes")
        endpoint = parse_endpoint(f"https://{stub.address}")
        given = TlsFiles(ca_file=files["ca"], certificate=files["cert"], key=files["key"])
        assert ask(endpoint, given) == (200, b"yes")
        with pytest.raises(MeshError, match=r"CONSUL_CLIENT_CERT"):
            ask(endpoint, TlsFiles(ca_file=files["ca"]))


def test_tls_to_a_port_that_speaks_http_says_so() -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as endpoint:
        secure = parse_endpoint(endpoint.text.replace("http://", "https://"))
        with pytest.raises(MeshError, match=r"does not speak TLS"):
            ask(secure, TlsFiles(verify=False))


def test_tls_files_that_cannot_be_used_are_named(files: dict[str, str], tmp_path: Path) -> None:
    endpoint = parse_endpoint("https://127.0.0.1:1")
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for given in (
        TlsFiles(ca_file="/nowhere/ca.pem"),
        TlsFiles(ca_file=str(broken)),
        TlsFiles(certificate=files["cert"], key=files["ca_key"]),
    ):
        with pytest.raises(ConfigError, match=r"can't load the TLS files .*pem"):
            ask(endpoint, given)
    with pytest.raises(ConfigError, match=r"-client-key is given and -client-cert is not"):
        ask(endpoint, TlsFiles(key=files["key"]))
