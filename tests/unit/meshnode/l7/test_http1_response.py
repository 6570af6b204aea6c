"""Answers of HTTP/1.1: read to their end, however they are cut, and refused where their end is in doubt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.l7.gate import EndRead
from meshnode.l7.http1_response import Answered, ResponseReader
from meshnode.l7.model import Bounds, RefusalError, ResponseHead

OK = b"HTTP/1.1 200 OK\r\n"


def reader(
    bounds: Bounds | None = None, *, bodiless: bool = False, upgrading: bool = False
) -> ResponseReader:
    return ResponseReader(bounds or Bounds(), bodiless=bodiless, upgrading=upgrading)


def body_of(found: list[Answered]) -> bytes:
    return b"".join(each for each in found if isinstance(each, bytes))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=4), st.lists(st.integers(1, 30), max_size=20))
def test_chunks_and_trailers_are_read_however_they_are_cut(chunks: list[bytes], cuts: list[int]) -> None:
    data = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    data += b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX-Sum: 1\r\n\r\n"
    there, found = reader(), []
    while data:
        size = cuts.pop() if cuts else 11
        found += there.feed(data[:size])
        data = data[size:]
    assert found[0] == ResponseHead(200)
    assert body_of(found) == b"".join(chunks)
    assert found[-1] == EndRead(((b"x-sum", b"1"),))
    assert there.complete
    assert there.reusable


def test_interim_answers_come_before_the_final_one() -> None:
    found = reader().feed(b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na")
    assert found == [
        ResponseHead(103, ((b"link", b"a"),)),
        ResponseHead(200, ((b"content-length", b"1"),)),
        b"a",
        EndRead(),
    ]


def test_an_answer_to_head_has_no_body_whatever_it_says() -> None:
    there = reader(bodiless=True)
    assert there.feed(OK + b"Content-Length: 9\r\n\r\n")[-1] == EndRead()
    assert there.reusable
    there.feed(b"x")
    assert not there.reusable


def test_an_answer_without_a_length_ends_with_the_connection_and_any_other_does_not() -> None:
    there = reader()
    assert body_of(there.feed(OK + b"\r\nabc")) == b"abc"
    assert not there.complete
    assert there.ended() == [EndRead()]
    for data in (
        b"",
        b"HTTP/1.1 200",
        OK + b"Content-Length: 4\r\n\r\nabc",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
    ):
        broken = reader()
        if data:
            broken.feed(data)
        with pytest.raises(RefusalError, match="ended"):
            broken.ended()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "can't be read"),
        (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", "can't be read"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "can't be read"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", "other than chunked"),
        (OK + b"X: a\0b\r\n\r\n", "can't be read"),
        (OK + b"X: a\r\n folded\r\n\r\n", "can't be read"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "can't be read"),
        (OK + b"Connection: host\r\n\r\n", "belongs to the message"),
        (b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "nobody asked it to"),
        (b"SSH-2.0-OpenSSH\r\n", "can't be read"),
    ],
)
def test_an_answer_whose_end_or_meaning_is_in_doubt_is_502(data: bytes, text: str) -> None:
    with pytest.raises(RefusalError, match=text) as caught:
        reader().feed(data)
    assert caught.value.status == 502


def test_a_101_says_to_which_protocol() -> None:
    there = reader(upgrading=True)
    there.feed(b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nabc")
    assert there.switched
    assert there.rest == b"abc"
    with pytest.raises(RefusalError, match="doesn't say to which"):
        reader(upgrading=True).feed(b"HTTP/1.1 101 Go\r\n\r\nabc")


def test_a_head_and_trailers_are_bounded_whole_or_in_pieces() -> None:
    bounds = Bounds(max_head_bytes=200)
    assert reader(bounds).feed(OK + b"X: " + b"x" * 150 + b"\r\nContent-Length: 0\r\n\r\n")
    last = OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    whole, begun = b"X: " + b"x" * 250 + b"\r\n\r\n", b"X: " + b"x" * 250
    for pieces in ([OK + whole], [OK + begun], [last + whole], [last, begun]):
        there = reader(bounds)
        for piece in pieces[:-1]:
            there.feed(piece)
        with pytest.raises(RefusalError, match="more than 200 bytes"):
            there.feed(pieces[-1])


def test_bytes_behind_an_answer_end_the_use_of_the_connection() -> None:
    there = reader()
    there.feed(OK + b"Content-Length: 0\r\n\r\n" + OK)
    assert there.complete
    assert not there.reusable
