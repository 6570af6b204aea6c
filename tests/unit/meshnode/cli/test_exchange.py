"""``ApiClient.exchange``: the answer as it is, for commands that wait for changes."""

from __future__ import annotations

import socket
import threading

import pytest

from meshnode.base.errors import MeshError
from meshnode.cli.api import ApiAnswer, ApiClient
from meshnode.client.settings import ApiSettings


def exchange(answer: bytes) -> ApiAnswer:
    """What the client makes of these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            client = ApiClient(ApiSettings(address=f"http://127.0.0.1:{server.getsockname()[1]}"))
            return client.exchange("GET", "/v1/kv/a", {"index": "5"})
        finally:
            thread.join()


def test_the_headers_of_blocking_queries_are_read_whatever_their_case() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nx-consul-index: 12\r\nX-CONSUL-CONTENTHASH: c0ffee\r\nContent-Length: 2\r\n\r\n"
    )
    assert exchange(head + b"[]") == ApiAnswer(200, b"[]", "12", "c0ffee")


def test_an_answer_of_any_status_is_an_answer() -> None:
    answer = exchange(b"HTTP/1.1 404 Not Found\r\nX-Consul-Index: 3\r\nContent-Length: 0\r\n\r\n")
    assert answer == ApiAnswer(404, b"", "3")
    refused = exchange(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 18\r\n\r\nPermission denied\n")
    assert refused.refusal == "Unexpected response code: 403 (Permission denied)"


def test_no_answer_is_an_error() -> None:
    with pytest.raises(MeshError, match="closed the connection before its answer was whole"):
        exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
