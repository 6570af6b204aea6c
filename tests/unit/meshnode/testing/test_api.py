from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from meshnode.testing.api import Answer, ApiError, checked, send


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, one line each."""

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        lines = [self.command, self.path, self.headers.get("X-Consul-Token", "-"), body]
        content = "\n".join(lines).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def asked(port: int, path: str, **options: Any) -> list[str]:
    return send("127.0.0.1", port, path, **options).text.split("\n")


def test_a_request_has_its_method_token_and_body(port: int) -> None:
    assert asked(port, "/v1/a", method="PUT", body="x", token="secret") == ["PUT", "/v1/a", "secret", "x"]
    assert asked(port, "/v1/a") == ["GET", "/v1/a", "-", ""]


@pytest.mark.parametrize(
    ("body", "sent"), [(b"x", "x"), ("\xe9", "\xe9"), ({"A": 1}, '{"A": 1}'), ([], "[]"), (None, "")]
)
def test_bytes_and_text_are_sent_as_they_are_and_the_rest_as_json(port: int, body: object, sent: str) -> None:
    assert asked(port, "/", method="PUT", body=body)[3] == sent


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/a", {"b": "c d", "e": 1}, "/a?b=c+d&e=1"),
        ("/a", {"stale": True, "pretty": False, "dc": None}, "/a?stale="),
        ("/a?b", {"c": 1}, "/a?b&c=1"),
        ("/a", {}, "/a"),
    ],
)
def test_a_query_is_added_to_the_path(port: int, path: str, query: dict[str, Any], target: str) -> None:
    assert asked(port, path, query=query)[1] == target


def test_a_proxy_of_the_environment_is_not_used(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert asked(port, "/v1/a")[1] == "/v1/a"


def test_an_answer_that_is_cut_off_is_a_connection_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectionError, match=r"GET /v1/a: the answer was cut off"):
            send("127.0.0.1", server.getsockname()[1], "/v1/a")
        thread.join()


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "content", "value"),
    [(JSON, b'{"a": [1]}', {"a": [1]}), (JSON, b"", None), ({}, b"plain", "plain"), (JSON, b"null", None)],
)
def test_the_value_of_an_answer_is_what_its_type_says(
    headers: dict[str, str], content: bytes, value: object
) -> None:
    assert Answer(200, headers, content).value == value


def test_the_index_of_an_answer_is_a_number_and_0_without_one() -> None:
    assert Answer(200, {"x-consul-index": "12"}, b"").index == 12
    assert Answer(200, {}, b"").index == 0


def test_an_error_has_the_status_and_the_words_of_the_agent() -> None:
    assert checked(Answer(399, {}, b""), "GET /").status == 399
    with pytest.raises(ApiError, match=r"GET /v1/a: 400 no such thing") as raised:
        checked(Answer(400, {}, b"no such thing\n"), "GET /v1/a")
    assert (raised.value.status, raised.value.text) == (400, "no such thing\n")
