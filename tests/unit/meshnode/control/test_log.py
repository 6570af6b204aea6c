"""Entries as bytes: there and back, the exact bytes, and nothing but an error for anything else."""

from __future__ import annotations

import random
import zlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.control.log import (
    MAX_BATCH_BYTES,
    MAX_BATCH_COMMANDS,
    Entry,
    LogCorruptError,
    LogUnavailableError,
    LogVersionError,
    NotLeaderError,
    Snapshot,
    check_batch,
    parse_entry,
    serialize_entry,
)

ENTRIES = st.builds(
    Entry,
    st.integers(1, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(max_size=300), min_size=1, max_size=40).map(tuple),
)


@given(ENTRIES)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert parse_entry(serialize_entry(entry)) == entry


def test_the_bytes_of_an_entry_are_these_forever() -> None:
    data = serialize_entry(Entry(7, 3, (b"a", b"")))
    assert data.hex() == "01" + data[1:5].hex() + "93070392c40161c400"
    assert data[1:5].hex() == "d679435c"
    assert parse_entry(data) == Entry(7, 3, (b"a", b""))


def test_the_last_index_counts_commands() -> None:
    assert Entry(7, 1, (b"a", b"b", b"c")).last == 9


@given(ENTRIES, st.data())
def test_any_changed_bit_is_noticed(entry: Entry, data: st.DataObject) -> None:
    good = bytearray(serialize_entry(entry))
    good[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(LogCorruptError):
        parse_entry(bytes(good))


@pytest.mark.parametrize(
    "body", [[], [1, 2], [0, 1, [b"x"]], [1, 1, []], [1, 1, ["text"]], ["1", 1, [b"x"]], 5, [1, 1, [b"x"], 0]]
)
def test_a_sound_checksum_over_something_else_is_no_entry(body: object) -> None:
    packed = msgpack.packb(body)
    with pytest.raises(LogCorruptError):
        parse_entry(b"\x01" + zlib.crc32(b"\x01" + packed).to_bytes(4, "big") + packed)


def test_garbage_ends_in_an_error_of_ours() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(2000):
        with pytest.raises(LogCorruptError):
            parse_entry(rng.randbytes(rng.randrange(40)))


def test_a_newer_format_is_refused_by_name() -> None:
    with pytest.raises(LogVersionError, match="format 2, this meshnode reads 1"):
        parse_entry(b"\x02" + zlib.crc32(b"\x02whatever").to_bytes(4, "big") + b"whatever")


def test_a_batch_is_bounded_in_commands_and_bytes() -> None:
    check_batch([b""] * MAX_BATCH_COMMANDS)
    check_batch([b"x" * MAX_BATCH_BYTES])
    for batch in ([], [b""] * (MAX_BATCH_COMMANDS + 1), [b"x" * MAX_BATCH_BYTES, b"x"]):
        with pytest.raises(ValueError, match="a batch has"):
            check_batch(batch)


def test_errors_say_what_became_of_the_write() -> None:
    assert str(LogUnavailableError("the disk is full")) == "the disk is full"
    assert str(LogUnavailableError("no answer", in_doubt=True)).endswith(
        "the write may have been made or not"
    )
    assert str(NotLeaderError("node-2")) == "not the leader: node-2 is"
    assert str(NotLeaderError()) == "No cluster leader"


def test_a_snapshot_does_not_print_the_state() -> None:
    assert "secret" not in repr(Snapshot(1, b"secret"))
