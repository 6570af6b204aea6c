"""The echo service of the TLS lab, over HTTP and HTTPS: the fields of the source document, in its order."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.tls_modes import FIELDS, Echo, Files, echo


@pytest.fixture(scope="module")
def http() -> Iterator[Echo]:
    with echo() as running:
        yield running


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Echo]:
    files = Files(tmp_path_factory.mktemp("echo"))
    with echo(*files.pair("service", "localhost")) as running:
        yield running


def said(flow: socket.socket) -> bytes:
    answer = b""
    while piece := flow.recv(65536):
        answer += piece
    return answer


def raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as flow:
        flow.sendall(request)
        return said(flow)


def asked(port: int, head: str, body: bytes = b"") -> dict[str, Any]:
    answer = raw(port, f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


def test_the_answer_has_the_documents_fields_in_its_order(http: Echo) -> None:
    found = asked(http.port, "GET / HTTP/1.1\r\nHost: localhost:10000\r\nAccept: */*")
    assert list(found) == FIELDS
    assert found == {
        "path": "/",
        "headers": {"host": "localhost:10000", "accept": "*/*", "connection": "close"},
        "method": "GET",
        "body": "",
        "fresh": False,
        "hostname": "localhost",
        "ip": "::ffff:127.0.0.1",
        "ips": [],
        "protocol": "http",
        "query": {},
        "subdomains": [],
        "xhr": False,
        "os": {"hostname": socket.gethostname()},
        "connection": {},
    }


def test_forwarded_headers_of_a_private_address_are_believed(http: Echo) -> None:
    head = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8"
    found = asked(http.port, head)
    assert (found["protocol"], found["ip"], found["ips"]) == ("https", "1.2.3.4", ["1.2.3.4", "5.6.7.8"])


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "BREW"])
def test_every_method_is_answered_with_its_body(http: Echo, method: str) -> None:
    found = asked(
        http.port, f"{method} /a/b?c=1&d=2&d=3 HTTP/1.1\r\nHost: x.y.shop.test\r\nContent-Length: 5", b"hello"
    )
    assert (found["method"], found["path"], found["body"]) == (method, "/a/b", "hello")
    assert (found["query"], found["subdomains"]) == ({"c": "1", "d": ["2", "3"]}, ["y", "x"])


def test_a_body_in_pieces_is_put_together(http: Echo) -> None:
    body = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: z\r\n\r\n"
    assert (
        asked(http.port, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", body)["body"] == "abcde"
    )


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Length: 1048577", b""),
        ("Content-Length: -1", b""),
        ("Content-Length: x", b""),
        ("Transfer-Encoding: chunked", b"100001\r\n"),
        ("Transfer-Encoding: chunked", b"-1\r\n"),
        ("Transfer-Encoding: chunked", b"zz\r\n"),
    ],
)
def test_a_body_that_is_too_long_or_has_no_length_is_refused(http: Echo, head: str, body: bytes) -> None:
    answer = raw(http.port, f"POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n".encode() + body)
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(("name", "shown"), [("shop.test", "shop.test"), (None, False)])
def test_over_tls_it_says_which_name_the_client_sent(https: Echo, name: str | None, shown: Any) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", https.port), 10) as plain,
        context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=True) as flow,
    ):
        flow.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        found = json.loads(said(flow).partition(b"\r\n\r\n")[2])
    assert (found["connection"], found["protocol"]) == ({"servername": shown}, "https")


def test_who_says_nothing_keeps_nobody_else_waiting(https: Echo) -> None:
    with socket.create_connection(("127.0.0.1", https.port), 10):
        test_over_tls_it_says_which_name_the_client_sent(https, None, False)


def test_http_to_https_ends_without_an_answer(https: Echo) -> None:
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        answer = raw(https.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200" not in answer
