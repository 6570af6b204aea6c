"""Queries, tokens and targets."""

from __future__ import annotations

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.http.message import Request
from meshnode.http.target import parse_target


@pytest.mark.parametrize(
    ("query", "headers", "token"),
    [
        ("", [], ""),
        ("token=q", [(b"x-consul-token", b"h"), (b"authorization", b"Bearer b")], "q"),
        ("", [(b"x-consul-token", b"h"), (b"authorization", b"Bearer b")], "h"),
        ("token=", [(b"authorization", b"Bearer b")], "b"),
        ("", [(b"authorization", b"bearer  b ")], "b"),
        ("", [(b"authorization", b"Basic b")], ""),
        ("", [(b"authorization", b"Bearer")], ""),
        ("%74oken=a%20b", [], "a b"),
    ],
)
def test_the_token_is_that_of_the_query_then_the_header_then_the_bearer(
    query: str, headers: list[tuple[bytes, bytes]], token: str
) -> None:
    assert Request("GET", "/", query, headers).token == token


def test_a_query_gives_the_first_value_all_values_and_flags() -> None:
    query = Request("GET", "/", "a=1&a=2&pretty&b=").query
    assert (query.get("a"), list(query.all("a")), query.get("c", "d")) == ("1", ["1", "2"], "d")
    assert ["pretty" in query, "b" in query, "c" in query] == [True, True, False]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", ""),
        (b"/v1/kv/a%2Fb%20c?x=%20", "/v1/kv/a/b c", "x=%20"),
        (b"/?a?b", "/", "a?b"),
        (b"http://host:8500/v1/x?y", "/v1/x", "y"),
        (b"HTTPS://host", "/", ""),
        (b"http://host?y", "/", "y"),
        (b"*", "*", ""),
        (b"//a", "//a", ""),
        (b"/%ff", "/\udcff", ""),
        (b"/%25zz", "/%zz", ""),
    ],
)
def test_a_target_is_a_decoded_path_and_a_raw_query(target: bytes, path: str, query: str) -> None:
    assert parse_target(target) == (path, query)


@pytest.mark.parametrize(
    "target",
    [b"", b"a", b"a:1", b"/a#b", b"/%", b"/%4g", b"/\xc3", b"/a b", b"/\x01", b"http://", b"http:///x"],
)
def test_anything_else_is_no_target(target: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_target(target)
