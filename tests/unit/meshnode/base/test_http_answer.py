from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.http_answer import MAX_HEAD_BYTES, AnswerReader, MalformedAnswer

WHOLE = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 5\r\n\r\nhello"


def read(*pieces: bytes) -> AnswerReader:
    reader = AnswerReader()
    for piece in pieces:
        reader.feed(piece)
    return reader


@given(st.lists(st.integers(0, len(WHOLE)), max_size=6))
def test_an_answer_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(WHOLE)]
    reader = read(*(WHOLE[a:b] for a, b in itertools.pairwise(places)))
    assert (reader.status, b"".join(reader.pieces), reader.complete, reader.reusable) == (
        200,
        b"hello",
        True,
        True,
    )
    assert reader.headers == {"x-consul-index": "7", "content-length": "5"}


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        WHOLE + b"surplus",
        WHOLE + WHOLE,
    ],
)
def test_a_connection_is_not_used_again_when_the_agent_ends_it_or_says_more_than_asked(text: bytes) -> None:
    reader = read(text)
    assert reader.complete
    assert not reader.reusable
    assert reader.status == 200


def test_bytes_after_the_answer_end_the_use_of_the_connection() -> None:
    reader = read(WHOLE)
    assert reader.reusable
    reader.feed(b"x")
    assert not reader.reusable
    assert b"".join(reader.pieces) == b"hello"


def test_a_second_answer_changes_nothing_of_the_first() -> None:
    reader = read(WHOLE + b"HTTP/1.1 500 No\r\nX-Other: 1\r\nContent-Length: 3\r\n\r\nbad")
    assert (reader.status, b"".join(reader.pieces)) == (200, b"hello")
    assert "x-other" not in reader.headers


@pytest.mark.parametrize("text", [b"SSH-2.0-x\r\n", b"\x15\x03\x01\0\2\2\x46", b"HTTP/1.1 abc OK\r\n\r\n"])
def test_what_is_not_http_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedAnswer, match="does not speak HTTP"):
        read(text)


def test_a_head_is_bounded() -> None:
    line = b"X-Filler: " + b"y" * 1000 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\n" + line * (MAX_HEAD_BYTES // len(line))
    reader = read(head, b"z: " + b"1" * (MAX_HEAD_BYTES - len(head) - 7) + b"\r\n\r\n")
    assert reader.status == 200
    with pytest.raises(MalformedAnswer, match=f"more than {MAX_HEAD_BYTES} bytes"):
        read(head, b"z: " + b"1" * (MAX_HEAD_BYTES - len(head)))


def test_only_an_answer_without_a_length_ends_with_the_connection() -> None:
    assert read(b"HTTP/1.1 200 OK\r\n\r\nab").ended()
    assert not read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").ended()
    assert not read(b"HTTP/1.1 200 OK\r\n").ended()


def test_what_comes_before_the_real_answer_leaves_no_trace() -> None:
    reader = read(b"HTTP/1.1 103 Early\r\nLink: x\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n")
    assert (reader.status, reader.headers) == (200, {})


def test_the_answer_to_head_has_no_body_whatever_its_length_says() -> None:
    reader = AnswerReader(bodiless=True)
    reader.feed(b"HTTP/1.1 204 Nothing here\r\nContent-Length: 1000\r\n\r\n")
    assert (reader.status, reader.reason, reader.complete) == (204, "Nothing here", True)
