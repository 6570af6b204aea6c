"""JSON, gzip and heads."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError, LocalProtocolError
from meshnode.http.effects import Pieces, StreamLog
from meshnode.http.message import JSON, Request, Response, StreamResponse
from meshnode.http.render import (
    MIN_GZIP_BYTES,
    Heads,
    accepts_gzip,
    array_json,
    compressed,
    compressed_pieces,
    member_json,
    object_json,
    to_json,
)
from meshnode.http.view import HttpSettings

VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
)


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


@given(st.lists(st.lists(VALUES, min_size=1, max_size=3), min_size=1, max_size=4), st.booleans())
def test_an_array_in_slices_is_to_the_byte_what_it_is_in_one_piece(slices: list[Any], pretty: bool) -> None:
    whole = to_json([value for values in slices for value in values], pretty=pretty)
    pieces = [*array_json(iter(slices), pretty=pretty)]
    assert (b"".join(pieces), len(pieces)) == (whole, len(slices) + 1)


@pytest.mark.parametrize("taken", [True, False])
def test_pieces_are_compressed_as_they_come(taken: bool) -> None:
    made = []

    def pieces() -> Any:
        for number in range(3):
            made.append(number)
            yield b"x" * 200_000

    answer = compressed_pieces(
        asking(b"gzip" if taken else b""), StreamResponse(Pieces(pieces()), headers=(("A", "b"),))
    )
    coding = (("Content-Encoding", "gzip"),) if taken else ()
    assert answer.headers == (("A", "b"), ("Vary", "Accept-Encoding"), *coding)
    assert made == []
    assert isinstance(answer.source, Pieces)
    first = next(answer.source.pieces)
    assert made == [0]
    whole = first + b"".join(answer.source.pieces)
    assert (gzip.decompress(whole) if taken else whole) == b"x" * 600_000


def test_a_stream_without_an_end_is_not_compressed() -> None:
    answer = compressed_pieces(asking(b"gzip"), StreamResponse(StreamLog("INFO")))
    assert (answer.headers, answer.source) == ((), StreamLog("INFO"))


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
