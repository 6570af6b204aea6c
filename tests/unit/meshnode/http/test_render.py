"""JSON, gzip and heads."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError, LocalProtocolError
from meshnode.http.message import JSON, Request, Response
from meshnode.http.render import (
    MIN_GZIP_BYTES,
    Heads,
    accepts_gzip,
    compressed,
    member_json,
    object_json,
    to_json,
)
from meshnode.http.view import HttpSettings


def asking(encoding: bytes) -> Request:
    return Request("GET", "/", "", [(b"accept-encoding", encoding)])


def test_json_is_minimised_or_indented_by_four_with_a_newline() -> None:
    value = {"A": [1, None], "B": "é<&>"}
    assert to_json(value, pretty=False) == '{"A":[1,null],"B":"é<&>"}'.encode()
    assert to_json({"A": []}, pretty=True) == b'{\n    "A": []\n}\n'
    assert json.loads(to_json("\udcff", pretty=False)) == "?"


@pytest.mark.parametrize(
    ("encoding", "taken"),
    [(b"gzip", True), (b"deflate, GZIP;q=0.5", True), (b"x-gzip", True), (b"", False), (b"identity", False),
     (b"gzip;q=0", False), (b"gzip; q=0.000", False), (b"br", False)],
)  # fmt: skip
def test_gzip_is_used_when_the_client_takes_it(encoding: bytes, taken: bool) -> None:
    assert accepts_gzip(asking(encoding)) is taken
    response = compressed(asking(encoding), Response(200, b"x" * MIN_GZIP_BYTES, JSON))
    assert ("Vary", "Accept-Encoding") in response.headers
    assert (("Content-Encoding", "gzip") in response.headers) is taken
    assert (gzip.decompress(response.body) if taken else response.body) == b"x" * MIN_GZIP_BYTES


def test_short_bodies_are_left_alone_and_a_kept_answer_is_compressed_once() -> None:
    short = Response(200, b"x" * (MIN_GZIP_BYTES - 1))
    assert compressed(asking(b"gzip"), short) is short
    kept = Response(200, b"x" * 5000)
    assert compressed(asking(b"gzip"), kept) is compressed(asking(b"gzip"), kept)
    assert compressed(asking(b""), kept).body == b"x" * 5000
    assert compressed(asking(b""), kept).headers.count(("Vary", "Accept-Encoding")) == 1


def test_a_head_has_the_status_the_type_and_the_configured_headers() -> None:
    heads = Heads({"Access-Control-Allow-Origin": "*"})
    head = heads.render(200, JSON, (("X-Consul-Index", "7"),))
    assert head == (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Access-Control-Allow-Origin: *\r\nX-Consul-Index: 7\r\n")  # fmt: skip
    for index in range(1000):
        assert f"X: {index}\r\n".encode() in heads.render(200, JSON, (("X", str(index)),))


def test_a_header_can_not_smuggle_another() -> None:
    with pytest.raises(LocalProtocolError):
        Heads({}).render(200, JSON, (("X", "a\r\nY: b"),))
    for name, value in (("X", "a\r\nY: b"), ("X Y", "a"), ("", "a"), ("X:", "a")):
        with pytest.raises(ConfigError) as caught:
            HttpSettings(response_headers={name: value})
        assert caught.value.key == "http_config.response_headers"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), _json, min_size=1, max_size=5), st.booleans())
def test_an_object_of_rendered_members_is_the_object_rendered_whole(
    value: dict[str, Any], pretty: bool
) -> None:
    members = [member_json(name, item, pretty=pretty) for name, item in value.items()]
    assert object_json(members, pretty=pretty) == to_json(value, pretty=pretty)
