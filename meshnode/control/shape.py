"""Frozen dataclasses as msgpack arrays of their fields, in the order of declaration, read from their annotations.

Understood: ``str int float bool bytes``, ``tuple[X, ...]``, ``Mapping[str, X]``, ``Mapping[str, Any]`` (a JSON object),
``X | None``, and dataclasses of these. A field may be added at the end of a dataclass if it has a default: what was
written before it is read with the default. Reading checks every type: it ends in a value or in ``RemoteProtocolError``.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from meshnode.base.errors import RemoteProtocolError

__all__ = ["MAX_JSON_DEPTH", "Shape"]

#: How deep a JSON value inside a record may be nested.
MAX_JSON_DEPTH: Final = 32

T = TypeVar("T")
#: ``None``: the value is packed as it is.
_Pack = Callable[[Any], Any] | None
#: Checks and converts; ``what`` names the field in the error.
_Unpack = Callable[[Any, str], Any]


class Shape(Generic[T]):
    """How values of one dataclass are written and read."""

    def __init__(self, of: type[T]) -> None:
        hints = get_type_hints(of)
        listed = fields(of)  # type: ignore[arg-type]
        self.of: Final = of
        self._get: Final = attrgetter(*(field.name for field in listed), "__class__")
        plans = [_plan(hints[field.name]) for field in listed]
        self._packs: Final = [(i, pack) for i, (pack, _) in enumerate(plans) if pack is not None]
        self._unpacks: Final = [
            (unpack, f"{of.__name__}.{field.name}") for field, (_, unpack) in zip(listed, plans)
        ]
        self._required: Final = sum(
            field.default is MISSING and field.default_factory is MISSING for field in listed
        )

    def pack(self, value: T) -> list[Any]:
        """Plain values for msgpack."""
        packed = [*self._get(value)]
        del packed[-1]
        for i, pack in self._packs:
            packed[i] = pack(packed[i])
        return packed

    def unpack(self, packed: Any) -> T:
        """The inverse; raises :class:`RemoteProtocolError`, which names the field."""
        if type(packed) is not tuple or not self._required <= len(packed) <= len(self._unpacks):
            raise RemoteProtocolError(
                f"{self.of.__name__} is written as {_describe(packed)}, not as an array of "
                f"{self._required} to {len(self._unpacks)}"
            )
        return self.of(
            *[unpack(value, what) for value, (unpack, what) in zip(packed, self._unpacks, strict=False)]
        )


def _plan(hint: Any) -> tuple[_Pack, _Unpack]:
    if hint in _SCALARS:
        return float if hint is float else None, _SCALARS[hint]
    if is_dataclass(hint):
        shape: Shape[Any] = Shape(hint)  # type: ignore[arg-type]
        return shape.pack, lambda value, what: shape.unpack(value)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple and arguments[1:] == (...,):
        return _plan_tuple(*_plan(arguments[0]))
    if origin is Mapping and arguments[0] is str:
        return _plan_mapping(*((None, _json) if arguments[1] is Any else _plan(arguments[1])))
    if origin in {Union, types.UnionType} and arguments[1:] == (type(None),):
        pack, unpack = _plan(arguments[0])
        keep: _Pack = None if pack is None else lambda value: None if value is None else pack(value)
        return keep, lambda value, what: None if value is None else unpack(value, what)
    raise TypeError(f"no way to write {hint}")


def _plan_tuple(pack: _Pack, unpack: _Unpack) -> tuple[_Pack, _Unpack]:
    def read(value: Any, what: str) -> Any:
        if type(value) is not tuple:
            raise _wrong(value, what, "an array")
        return tuple([unpack(item, what) for item in value])

    return (None if pack is None else lambda value: [pack(item) for item in value]), read


def _plan_mapping(pack: _Pack, unpack: _Unpack) -> tuple[_Pack, _Unpack]:
    def read(value: Any, what: str) -> Any:
        if type(value) is not dict:
            raise _wrong(value, what, "a map")
        return {_text(key, what): unpack(item, what) for key, item in value.items()}

    return (None if pack is None else lambda value: {key: pack(item) for key, item in value.items()}), read


def _text(value: Any, what: str) -> str:
    if type(value) is str:
        return value
    raise _wrong(value, what, "text")


def _bytes(value: Any, what: str) -> bytes:
    if type(value) is bytes:
        return value
    raise _wrong(value, what, "bytes")


def _flag(value: Any, what: str) -> bool:
    if type(value) is bool:
        return value
    raise _wrong(value, what, "true or false")


def _integer(value: Any, what: str) -> int:
    if type(value) is int:
        return value
    raise _wrong(value, what, "a whole number")


def _number(value: Any, what: str) -> float:
    if type(value) in {float, int} and math.isfinite(value):
        return float(value)
    raise _wrong(value, what, "a finite number")


def _json(value: Any, what: str, depth: int = MAX_JSON_DEPTH) -> Any:
    if value is None or type(value) in {str, int, bool} or (type(value) is float and math.isfinite(value)):
        return value
    if depth and type(value) is tuple:
        return [_json(item, what, depth - 1) for item in value]
    if depth and type(value) is dict:
        return {_text(key, what): _json(item, what, depth - 1) for key, item in value.items()}
    raise _wrong(value, what, f"JSON of at most {MAX_JSON_DEPTH} levels")


_SCALARS: Final[dict[Any, _Unpack]] = {
    str: _text,
    bytes: _bytes,
    bool: _flag,
    int: _integer,
    float: _number,
}


def _wrong(value: Any, what: str, wanted: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"{what} is {_describe(value)}, not {wanted}")


def _describe(value: Any) -> str:
    sized = f" of {len(value)}" if isinstance(value, tuple) else ""
    return f"a {type(value).__name__}{sized}"
