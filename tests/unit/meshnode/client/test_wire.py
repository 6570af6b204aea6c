from __future__ import annotations

import pytest

from meshnode.client.endpoint import parse_endpoint
from meshnode.client.wire import request_bytes

HERE = parse_endpoint("http://[::1]:8500")


def test_a_request_leaves_the_connection_open_and_names_its_length() -> None:
    assert request_bytes(HERE, "GET", "/v1/x", [("X-Consul-Token", "t")], None) == (
        b"GET /v1/x HTTP/1.1\r\nHost: [::1]:8500\r\nUser-Agent: meshnode\r\nX-Consul-Token: t\r\n\r\n"
    )
    assert request_bytes(HERE, "PUT", "/v1/x", [], None).endswith(b"\r\nContent-Length: 0\r\n\r\n")
    assert request_bytes(HERE, "PUT", "/v1/x", [], b"abc").endswith(b"\r\nContent-Length: 3\r\n\r\nabc")
    assert b"Host: localhost\r\n" in request_bytes(parse_endpoint("unix:///a"), "GET", "/", [], None)


@pytest.mark.parametrize(
    ("target", "headers"),
    [("/v1/x HTTP/1.1\r\nEvil: 1", []), ("/", [("A", "b\r\nEvil: 1")]), ("/", [("A\n", "b")])],
)
def test_nothing_can_be_smuggled_into_a_request(target: str, headers: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="line break"):
        request_bytes(HERE, "GET", target, headers, None)
