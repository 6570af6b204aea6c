"""Members of gzip are expanded wherever they begin and however they are cut, and a bomb ends at a limit."""

from __future__ import annotations

import gzip
import os
import random

import pytest

from meshnode.prove.gzip_search import MAX_EXPANDED_BYTES, MAX_MEMBERS, Gunzip

TEXT = b"a canary, and more text " * 40


def expand(data: bytes, size: int = 1 << 30) -> bytes:
    reader = Gunzip()
    return b"".join(b"".join(reader.feed(data[at : at + size])) for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1400, 1 << 30])
def test_a_member_is_expanded_in_pieces_of_any_size(size: int) -> None:
    data = b"HTTP/1.1 200 OK\r\n\r\n" + gzip.compress(TEXT) + b"rest \x1f\x8b" + gzip.compress(b"second")
    assert expand(data, size) == TEXT + b"second"


def test_an_empty_piece_stands_before_each_member() -> None:
    pieces = Gunzip().feed(gzip.compress(b"can") + gzip.compress(b"ary"))
    assert pieces == [b"", b"can", b"", b"ary"]


def test_a_false_start_hides_no_member() -> None:
    assert expand(b"\x1f\x8b\x08\x00" + b"\xff" * 20 + b"\x1f\x8b\x08" + gzip.compress(TEXT)) == TEXT


def test_what_is_behind_missing_bytes_is_looked_at_from_the_start() -> None:
    reader, packed = Gunzip(), gzip.compress(os.urandom(5000))
    reader.feed(packed[:2000])
    reader.skip()
    assert b"".join(reader.feed(b"x" + gzip.compress(TEXT))) == TEXT


def test_a_bomb_is_expanded_up_to_the_limit() -> None:
    at, over = bytes(MAX_EXPANDED_BYTES), bytes(MAX_EXPANDED_BYTES + 1)
    assert len(expand(gzip.compress(at))) == MAX_EXPANDED_BYTES
    assert len(expand(gzip.compress(over))) == MAX_EXPANDED_BYTES
    assert max(map(len, Gunzip().feed(gzip.compress(over)))) <= 256 * 1024


def test_no_more_members_than_the_limit_are_expanded() -> None:
    one = gzip.compress(b"x")
    assert len(expand(one * (MAX_MEMBERS + 3), 4096)) == MAX_MEMBERS


def test_any_bytes_end_in_pieces() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "13"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "500"))):
        data = bytearray(gzip.compress(TEXT) * 2)
        for _ in range(rng.randint(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        expand(bytes(data), rng.randint(1, 60))
