"""msgpack in Go's dialect."""

from __future__ import annotations

import contextlib
import random

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.serf.wire import Fields, pack, unpack_map, unpack_value


def test_strings_and_bytes_are_both_of_the_raw_family() -> None:
    assert pack("x" * 40) == b"\xda\x00\x28" + b"x" * 40  # raw 16: str 8 came later
    assert pack(b"x" * 40) == pack("x" * 40)


def test_absent_and_nil_fields_are_zero_values() -> None:
    for fields in (unpack_map(pack({}), "t"), unpack_map(pack(dict.fromkeys("abcdefgh")), "t")):
        assert (fields.uint("a"), fields.integer("b"), fields.flag("c")) == (0, 0, False)
        assert (fields.data("d"), fields.text("e"), fields.items("f")) == (b"", "", [])
        assert (fields.text_map("g"), fields.nested("h").uint("x")) == ({}, 0)


def test_whole_floats_may_come_as_integers() -> None:
    fields = unpack_map(pack({"n": 3, "v": [1, 2.5]}), "t")
    assert (fields.number("n"), fields.numbers("v")) == (3.0, (1.0, 2.5))


def test_bytes_after_the_value_are_left_to_the_caller() -> None:
    assert unpack_value(pack([1]) + b"tail") == ([1], 2)


@pytest.mark.parametrize(
    "read",
    [
        lambda f: f.uint("text"),
        lambda f: f.uint("negative"),
        lambda f: f.uint("big", 4),
        lambda f: f.uint("yes"),
        lambda f: f.integer("text"),
        lambda f: f.flag("big"),
        lambda f: f.data("big"),
        lambda f: f.text("latin"),
        lambda f: f.items("text"),
        lambda f: f.texts("numbers"),
        lambda f: f.text_map("text"),
        lambda f: f.nested("text"),
        lambda f: f.number("text"),
        lambda f: f.number("yes"),
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_refused_by_name(read: object) -> None:
    body = {"text": "t", "negative": -1, "big": 5, "yes": True, "latin": b"\xe9", "numbers": [1]}
    with pytest.raises(RemoteProtocolError, match="thing"):
        read(unpack_map(pack(body), "thing"))  # type: ignore[operator]


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\xda\xff", b"\x82\xa1a", b"\x91" * 5000 + b"\x01", b"\x81\x90\x01"]
)
def test_what_is_no_map_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        unpack_map(data, "thing")


def test_any_bytes_end_in_a_value_or_in_a_remote_protocol_error() -> None:
    rng = random.Random(3)
    print("seed 3")
    for _ in range(20000):
        data = rng.randbytes(rng.randint(0, 24))
        with contextlib.suppress(RemoteProtocolError):
            assert isinstance(unpack_map(data, "thing"), Fields)
