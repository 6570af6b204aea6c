"""Requests that two readers might end at different places: each trick by name, with the section that forbids it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.l7.gate import MAX_CHUNK_LINE_BYTES, Read, RequestGate
from meshnode.l7.model import Bounds, RefusalError
from tests.support.smuggling import CHUNKED, HEAD, IN_ORDER, SMUGGLING, Reading, by_gate, by_h11


def read(data: bytes, bounds: Bounds | None = None) -> Reading:
    gate = RequestGate(bounds or Bounds())
    gate.receive(data)
    return by_gate(gate.read())


def refusal(data: bytes, bounds: Bounds | None = None) -> RefusalError:
    with pytest.raises(RefusalError) as caught:
        read(data, bounds)
    return caught.value


@pytest.mark.parametrize(("status", "data"), SMUGGLING.values(), ids=SMUGGLING)
def test_a_request_that_readers_may_end_differently_is_refused(status: int, data: bytes) -> None:
    assert refusal(data).status == status


@pytest.mark.parametrize(("status", "data"), SMUGGLING.values(), ids=SMUGGLING)
def test_it_is_refused_as_well_when_it_comes_byte_by_byte(status: int, data: bytes) -> None:
    gate = RequestGate(Bounds())

    def dribble() -> None:
        for place in range(len(data)):
            gate.receive(data[place : place + 1])
            gate.read()

    with pytest.raises(RefusalError) as caught:
        dribble()
    assert caught.value.status == status


@pytest.mark.parametrize("request_", IN_ORDER)
def test_a_request_in_order_is_read_to_its_last_byte_and_no_further_and_as_h11_reads_it(
    request_: bytes,
) -> None:
    gate = RequestGate(Bounds())
    gate.receive(request_ + b"GET /next")
    found = by_gate(gate.read())
    assert found.ended
    assert found == by_h11(request_)
    assert gate.done
    assert gate.waiting == len(b"GET /next")
    gate.again()
    assert gate.read() == []
    assert gate.in_head


def test_one_empty_line_before_a_request_is_left_out() -> None:
    assert read(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").method == "GET"


def head_of(size: int) -> bytes:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n"
    return head.replace(b"X: ", b"X: " + b"x" * (size - len(head)))


def test_a_head_of_the_most_bytes_is_let_through_and_one_more_is_not() -> None:
    bounds = Bounds(max_head_bytes=200)
    assert read(head_of(200), bounds).ended
    assert refusal(head_of(201), bounds).status == 431
    assert refusal(head_of(500)[:300], bounds).status == 431


def test_a_first_line_that_never_ends_is_told_from_a_long_head() -> None:
    assert refusal(b"GET /" + b"a" * 300, Bounds(max_head_bytes=200)).status == 414


def test_the_most_fields_are_let_through_and_one_more_is_not() -> None:
    fields = b"".join(b"x%d: a\r\n" % number for number in range(4))
    assert len(read(b"GET / HTTP/1.1\r\n" + fields + b"\r\n", Bounds(max_fields=4)).fields) == 4
    assert refusal(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n", Bounds(max_fields=4)).status == 431


def test_a_body_is_bounded_where_a_bound_is_set() -> None:
    bounds = Bounds(max_body_bytes=5)
    assert read(HEAD + b"Content-Length: 5\r\n\r\nabcde", bounds).body == b"abcde"
    assert refusal(HEAD + b"Content-Length: 6\r\n\r\n", bounds).status == 413
    assert refusal(CHUNKED + b"3\r\nabc\r\n3\r\n", bounds).status == 413


def test_trailers_and_extensions_of_chunks_are_bounded() -> None:
    bounds = Bounds(max_head_bytes=200)
    trailer = b"x: " + b"a" * 90 + b"\r\n"
    assert read(CHUNKED + b"0\r\n" + trailer * 2 + b"\r\n", bounds).trailers == ((b"x", b"a" * 90),) * 2
    assert refusal(CHUNKED + b"0\r\n" + trailer * 3 + b"\r\n", bounds).status == 431
    assert read(CHUNKED + b"0;" + b"x" * (MAX_CHUNK_LINE_BYTES - 2) + b"\r\n\r\n").ended
    assert refusal(CHUNKED + b"0;" + b"x" * (MAX_CHUNK_LINE_BYTES - 1) + b"\r\n\r\n").status == 400


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.lists(st.integers(1, 20)))
def test_a_chunked_body_passes_whole_however_it_is_cut(chunks: list[bytes], cuts: list[int]) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    data, gate = CHUNKED + body, RequestGate(Bounds())
    found: list[Read] = []
    while data:
        size = cuts.pop() if cuts else 7
        gate.receive(data[:size])
        data = data[size:]
        found += gate.read()
    assert by_gate(found).body == b"".join(chunks)
    assert gate.done
