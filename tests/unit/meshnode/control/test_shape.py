"""Dataclasses as msgpack arrays: every annotation round trips, and everything else is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.control.shape import MAX_JSON_DEPTH, Shape


@dataclass(frozen=True, slots=True)
class Inner:
    text: str
    number: float = 0.5


@dataclass(frozen=True, slots=True)
class Outer:
    text: str
    count: int
    flag: bool
    data: bytes
    inner: Inner
    some: tuple[Inner, ...] = ()
    names: Mapping[str, tuple[str, ...]] | None = None
    json: Mapping[str, Any] | None = None
    maybe: Inner | None = None


FULL = Outer(
    "é",
    2**64 - 1,
    True,
    b"\xff",
    Inner("i", 1.0),
    (Inner("a"), Inner("b", -2.5)),
    {"x": ("1", "2")},
    {"list": [1, "two", [None, False, 2.5]], "map": {"k": {}}},
    Inner("m"),
)
LEAST = Outer("", 0, False, b"", Inner(""))


def wire(value: object) -> Any:
    return msgpack.unpackb(msgpack.packb(value), use_list=False)


@pytest.mark.parametrize("value", [FULL, LEAST], ids=["full", "least"])
def test_a_value_survives_the_round_trip(value: Outer) -> None:
    shape = Shape(Outer)
    assert shape.unpack(wire(shape.pack(value))) == value


def test_what_was_written_before_a_field_was_added_is_read_with_its_default() -> None:
    packed = wire(Shape(Outer).pack(LEAST))
    assert Shape(Outer).unpack(packed[:5]) == LEAST
    assert Shape(Inner).unpack(("x",)) == Inner("x", 0.5)


def test_a_whole_number_in_a_float_field_is_written_as_a_float() -> None:
    assert [type(v) for v in Shape(Inner).pack(Inner("x", 3))] == [str, float]
    assert Shape(Inner).unpack(("x", 3)) == Inner("x", 3.0)


PACKED = wire(Shape(Outer).pack(FULL))


@pytest.mark.parametrize(
    ("position", "value", "field"),
    [
        (0, b"text", "Outer.text"),
        (0, None, "Outer.text"),
        (1, True, "Outer.count"),
        (1, 1.0, "Outer.count"),
        (2, 1, "Outer.flag"),
        (3, "data", "Outer.data"),
        (4, None, "Inner"),
        (4, (), "Inner"),
        (4, ("a", 1.0, 2), "Inner"),
        (4, ("a", float("nan")), "Inner.number"),
        (4, ("a", float("inf")), "Inner.number"),
        (4, ("a", "1"), "Inner.number"),
        (5, {}, "Outer.some"),
        (5, (1,), "Inner"),
        (6, (), "Outer.names"),
        (6, {"x": "1"}, "Outer.names"),
        (6, {1: ()}, "Outer.names"),
        (7, (1,), "Outer.json"),
        (7, {"k": b"bytes"}, "Outer.json"),
        (7, {"k": {1: 2}}, "Outer.json"),
        (7, {"k": float("nan")}, "Outer.json"),
        (7, {"k": msgpack.ExtType(1, b"")}, "Outer.json"),
        (8, 5, "Inner"),
    ],
)
def test_a_wrong_type_is_refused_and_named(position: int, value: object, field: str) -> None:
    packed = (*PACKED[:position], value, *PACKED[position + 1 :])
    with pytest.raises(RemoteProtocolError, match=field):
        Shape(Outer).unpack(packed)


@pytest.mark.parametrize("packed", [None, 5, {}, (), PACKED[:4], (*PACKED, 1)])
def test_too_few_or_too_many_fields_are_refused(packed: object) -> None:
    with pytest.raises(RemoteProtocolError, match="Outer is written as"):
        Shape(Outer).unpack(packed)


@pytest.mark.parametrize(("depth", "taken"), [(MAX_JSON_DEPTH, True), (MAX_JSON_DEPTH + 1, False)])
def test_json_is_nested_only_so_deep(depth: int, taken: bool) -> None:
    value: Any = "leaf"
    for _ in range(depth):
        value = (value,)
    packed = (*PACKED[:7], {"k": value}, None)
    if taken:
        assert Shape(Outer).unpack(packed).json is not None
    else:
        with pytest.raises(RemoteProtocolError, match="at most 32 levels"):
            Shape(Outer).unpack(packed)


def test_an_annotation_that_can_not_be_written_is_found_when_the_shape_is_made() -> None:
    @dataclass
    class Odd:
        value: set[int]

    with pytest.raises(TypeError, match="no way to write"):
        Shape(Odd)
