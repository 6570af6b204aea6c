from __future__ import annotations

import random

import msgpack
import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.rpc.msgpack_extent import Extent


def measure(data: bytes, max_bytes: int = 1 << 20, max_values: int = 1 << 20) -> int | None:
    extent = Extent(0, max_bytes, max_values)
    return extent.end if extent.advance(bytearray(data)) else None


def test_every_first_byte_is_measured_as_msgpack_itself_does() -> None:
    tail = bytes(80)  # zero is a value, a length and a payload
    for first in range(256):
        data = bytes([first]) + tail
        if first == 0xC1:
            with pytest.raises(RemoteProtocolError, match="0xc1"):
                measure(data)
            continue
        unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
        unpacker.feed(data)
        unpacker.skip()
        assert measure(data) == unpacker.tell(), hex(first)


def any_value(rng: random.Random, depth: int = 0) -> object:
    kind = rng.randrange(9 if depth < 4 else 7)
    match kind:
        case 0:
            return rng.choice([None, True, False, 1.5])
        case 1 | 2:
            return rng.choice(
                [0, 127, 128, 255, 256, 65535, 65536, 2**32, 2**63, -1, -32, -33, -129, -(2**40)]
            )
        case 3 | 4:
            return rng.randbytes(rng.choice([0, 1, 31, 32, 255, 256, 70000]))
        case 5 | 6:
            return msgpack.ExtType(5, rng.randbytes(rng.choice([1, 2, 3, 4, 8, 16, 17, 300])))
        case 7:
            return [any_value(rng, depth + 1) for _ in range(rng.choice([0, 3, 15, 16, 20]))]
        case _:
            return {str(n): any_value(rng, depth + 1) for n in range(rng.choice([0, 3, 15, 16, 20]))}


@pytest.mark.parametrize("bin_type", [False, True])
def test_the_extent_of_any_value_is_its_length_and_no_byte_less_is_enough(bin_type: bool) -> None:
    rng = random.Random(7)
    for _ in range(150):
        packed = msgpack.packb(any_value(rng), use_bin_type=bin_type)
        assert measure(packed + b"\xc0", 1 << 26) == len(packed)
        if len(packed) > 1:
            assert measure(packed[:-1], 1 << 26) is None


def test_bytes_may_come_one_at_a_time() -> None:
    packed = msgpack.packb({"a": [1, "xyz" * 20, {"b": None}]}, use_bin_type=False)
    extent, buffer = Extent(0, 1000, 100), bytearray()
    for position, byte in enumerate(packed):
        buffer.append(byte)
        assert extent.advance(buffer) is (position == len(packed) - 1)
    assert extent.end == len(packed)


def test_a_declared_length_over_the_bound_is_refused_before_its_bytes_come() -> None:
    assert measure(b"\xda\x00\x0a" + bytes(10), max_bytes=13) == 13
    with pytest.raises(RemoteProtocolError, match="longer than 12 bytes"):
        measure(b"\xda\x00\x0a", max_bytes=12)
    with pytest.raises(RemoteProtocolError, match="longer than"):
        measure(b"\xdb\xff\xff\xff\xff")
    with pytest.raises(RemoteProtocolError, match="longer than"):
        measure(b"\xdd\xff\xff\xff\xff")


def test_values_are_counted_as_declared_up_to_the_bound_and_not_past_it() -> None:
    assert measure(b"\x93\x01\x02\x03", max_values=4) == 4
    with pytest.raises(RemoteProtocolError, match="more than 3 values"):
        measure(b"\x93", max_values=3)
    with pytest.raises(RemoteProtocolError, match="more than 100 values"):
        measure(b"\xdf\x00\x00\x00\x64", max_values=100)
