"""The walk over records: real handshakes in pieces of any size, resynchronisation, and what only looks like TLS."""

from __future__ import annotations

import os
import random
import ssl

import pytest

from meshnode.prove.tls import MAX_RECORD_BYTES, RESYNC_BYTES, TlsWalk, find_records, is_text, looks_like_tls
from tests.support.handshake import handshake

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


def record(body: bytes, kind: int = 23) -> bytes:
    return bytes((kind, 3, 3)) + len(body).to_bytes(2, "big") + body


def walk(data: bytes, size: int = 1 << 20) -> TlsWalk:
    found = TlsWalk()
    for start in range(0, len(data), size):
        found.feed(data[start : start + size])
    found.finish()
    return found


@VERSIONS
@pytest.mark.parametrize("side", [0, 1])
def test_pieces_of_any_size_give_the_same_walk(version: ssl.TLSVersion, side: int) -> None:
    data = handshake(version)[side]
    whole = walk(data)
    assert whole.position == len(data)
    assert whole.sealed_bytes >= 20
    for size in (1, 2, 3, 5, 7, 64, 1000):
        pieces = walk(data, size)
        assert (pieces.records, pieces.sealed_bytes, pieces.handshake) == (
            whole.records, whole.sealed_bytes, whole.handshake
        )  # fmt: skip


def test_bytes_that_are_no_record_break_it_off_where_they_are() -> None:
    data = record(bytes(range(256))) * 3
    assert walk(data + b"GET / HTTP/1.1\r\n").broken_at == len(data)


def test_text_in_records_is_readable() -> None:
    assert walk(record(b"Dear reader, this is not encrypted at all.")).readable_at == 5
    assert walk(record(b"Dear reader, this is not encrypted at all." * 9)[:90]).readable_at == 5
    assert walk(record(random.Random(1).randbytes(40))).readable_at is None


def test_a_long_stream_is_walked_to_its_end_and_holds_nothing() -> None:
    rng, found = random.Random(2), TlsWalk()
    for _ in range(100):
        found.feed(record(rng.randbytes(16_000)))
    assert found.sealed_bytes == 1_600_000
    assert found.broken_at is None
    found.feed(b"in clear at the very end")
    assert found.broken_at == found.position


@pytest.mark.parametrize(
    ("length", "good"), [(0, False), (1, True), (MAX_RECORD_BYTES, True), (MAX_RECORD_BYTES + 1, False)]
)
def test_lengths_of_records_have_limits(length: int, good: bool) -> None:
    assert looks_like_tls(b"\x17\x03\x03" + length.to_bytes(2, "big")) is good


@pytest.mark.parametrize("lead", [0, 1, 500, MAX_RECORD_BYTES])
def test_records_are_found_in_a_stream_that_was_joined_in_the_middle(lead: int) -> None:
    rng = random.Random(3)
    data = rng.randbytes(lead) + record(rng.randbytes(700)) + record(rng.randbytes(30))
    assert find_records(data[:RESYNC_BYTES]) == lead


def test_one_record_that_is_all_there_is_is_enough() -> None:
    assert find_records(record(bytes(30))) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + record(bytes(300)) + record(bytes(10)),
        b"\x17\x03\x03\x00\x40" + bytes(30),
        random.Random(4).randbytes(RESYNC_BYTES),
    ],
    ids=["nothing", "text before", "half a record", "random"],
)
def test_nothing_is_found_where_no_record_is_sure(data: bytes) -> None:
    assert find_records(data) is None


@pytest.mark.parametrize(
    ("data", "text"), [(b"x" * 23, False), (b"x" * 24, True), (b"x" * 21 + b"\0" * 3, False)]
)
def test_text_needs_a_length_and_printable_bytes(data: bytes, text: bool) -> None:
    assert is_text(data) is text


def test_random_bytes_never_read_as_text() -> None:
    rng = random.Random(5)
    assert not any(is_text(rng.randbytes(24)) for _ in range(100_000))


def test_damaged_handshakes_end_in_a_walk() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "6"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    sides = [*handshake(ssl.TLSVersion.TLSv1_2), *handshake(ssl.TLSVersion.TLSv1_3)]
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "1000"))):
        data = bytearray(rng.choice(sides))
        for _ in range(rng.randint(1, 10)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        found = walk(bytes(data), rng.choice([1, 50, 5000]))
        assert found.position <= len(data)
