"""Commands that are garbage, too long, or not to be written: bounds, and whose fault it is."""

from __future__ import annotations

import os
import random
from typing import Any

import msgpack
import pytest

from meshnode.base.errors import LocalProtocolError, RemoteProtocolError
from meshnode.control.command import Command, KvPut, parse_command, serialize_command
from meshnode.control.log import MAX_COMMAND_BYTES
from tests.unit.meshnode.control.commands import SAMPLES


@pytest.mark.parametrize(
    ("data", "because"),
    [
        (b"", "can't be read"),
        (b"\xc1", "can't be read"),
        (b"\x93\x01\x01", "can't be read"),
        (msgpack.packb([1, 1, "k", b"v", 0]) + b"\x00", "can't be read"),
        (b"\x93\x01\x01\xa1\xff", "can't be read"),
        (b"\x91" * 3000 + b"\xc0", "can't be read"),
        (msgpack.packb(7), "isn't one"),
        (msgpack.packb([]), "isn't one"),
        (msgpack.packb([1]), "isn't one"),
        (msgpack.packb(["1", 1]), "isn't one"),
        (msgpack.packb({"a": 1}), "isn't one"),
        (msgpack.packb({1: 1}), "can't be read"),
        (msgpack.packb([200, 1]), "tag 200 is unknown: was it written by a newer meshnode"),
        (msgpack.packb([1, 2, "k", b"v", 0]), "KvPut of version 2: this meshnode reads 1"),
        (msgpack.packb([1, True, "k", b"v", 0]), "KvPut of version True"),
        (msgpack.packb([1, 1, "k"]), "KvPut is written as a tuple of 1"),
        (msgpack.packb([1, 1, "k", b"v", 0, 0]), "KvPut is written as a tuple of 4"),
        (msgpack.packb([1, 1, b"k", b"v", 0]), "KvPut.key is a bytes, not text"),
        (msgpack.packb([3, 1, "k", b"v", 0, "s", float("nan")]), "KvAcquire.at"),
    ],
)
def test_garbage_is_the_writers_fault(data: bytes, because: str) -> None:
    with pytest.raises(RemoteProtocolError, match=because):
        parse_command(data)


def test_a_command_may_have_so_many_bytes_and_not_one_more() -> None:
    frame = len(serialize_command(KvPut("k", b"x" * 70000))) - 70000
    largest = KvPut("k", b"x" * (MAX_COMMAND_BYTES - frame))
    data = serialize_command(largest)
    assert len(data) == MAX_COMMAND_BYTES
    assert parse_command(data) == largest
    with pytest.raises(LocalProtocolError, match="at most"):
        serialize_command(KvPut("k", largest.value + b"x"))
    with pytest.raises(RemoteProtocolError, match="at most"):
        parse_command(data + b"x")


@pytest.mark.parametrize(
    "command",
    [KvPut("k", b"", 2**64), KvPut("\ud800", b""), KvPut(object(), b"")],  # type: ignore[arg-type]
)
def test_what_can_not_be_written_is_our_own_fault(command: Command) -> None:
    with pytest.raises(LocalProtocolError, match="can't be written"):
        serialize_command(command)


def test_mutated_commands_end_in_a_command_or_a_protocol_error() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "20261125"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    corpus = [serialize_command(sample) for sample in SAMPLES]
    read = 0
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "5000"))):
        data = bytearray(rng.choice(corpus))
        for _ in range(rng.randrange(1, 4)):
            match rng.randrange(4):
                case 0 if data:
                    data[rng.randrange(len(data))] = rng.randrange(256)
                case 1 if data:
                    del data[rng.randrange(len(data)) :]
                case 2:
                    data.insert(rng.randrange(len(data) + 1), rng.randrange(256))
                case _:
                    start = rng.randrange(len(data) + 1)
                    data[start:start] = rng.choice(corpus)[: rng.randrange(9)]
        try:
            parsed: Any = parse_command(bytes(data))
        except RemoteProtocolError:
            continue
        read += 1
        assert parse_command(serialize_command(parsed)) == parsed
    assert read, "some mutations only change a value"
