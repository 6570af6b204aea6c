"""msgpack as Go's codec writes it: maps keyed by field name, strings and bytes both in the old "raw" family.

Reading follows Go too: an absent or nil field is its zero value, unknown fields are skipped, bytes after the
value are left to the caller. What differs from Go is that a wrong type is always an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from meshnode.base.errors import RemoteProtocolError

__all__ = ["Fields", "pack", "unpack_map", "unpack_value"]

_MAX_UINT64 = 2**64 - 1


def pack(value: object) -> bytes:
    """Serialize with the raw family only (no str8, no bin), which every go-msgpack release reads."""
    packed: bytes = msgpack.packb(value, use_bin_type=False)
    return packed


def unpack_value(data: bytes) -> tuple[Any, int]:
    """Read the first value of ``data``; return it and how many bytes it took.

    Raises :class:`RemoteProtocolError` when there is no complete value.
    """
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=True, max_buffer_size=max(len(data), 1))
    try:
        unpacker.feed(data)
        value = unpacker.unpack()
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
        raise RemoteProtocolError(f"not msgpack: {type(error).__name__}") from None
    return value, unpacker.tell()


def unpack_map(data: bytes, what: str) -> Fields:
    """Read one msgpack map of named fields, ``what`` naming it in errors."""
    value, _ = unpack_value(data)
    return Fields.of(value, what)


class Fields:
    """Typed access to a decoded struct; every refusal names the struct and the field."""

    __slots__ = ("_values", "_what")

    def __init__(self, values: Mapping[bytes, Any], what: str) -> None:
        self._values = values
        self._what = what

    @classmethod
    def of(cls, value: object, what: str) -> Fields:
        """Wrap an already decoded value, which has to be a map with raw keys."""
        if not isinstance(value, dict) or not all(isinstance(key, bytes) for key in value):
            raise RemoteProtocolError(f"{what} is not a map of fields")
        return cls(value, what)

    def uint(self, name: str, maximum: int = _MAX_UINT64) -> int:
        """An unsigned integer, at most ``maximum``; zero when absent."""
        value = self._values.get(name.encode())
        if value is None:
            return 0
        if type(value) is not int or not 0 <= value <= maximum:
            raise self._refuse(name, f"a number from 0 to {maximum}")
        return value

    def integer(self, name: str) -> int:
        """A signed 64-bit integer; zero when absent."""
        value = self._values.get(name.encode())
        if value is None:
            return 0
        if type(value) is not int or not -(2**63) <= value < 2**63:
            raise self._refuse(name, "a 64-bit number")
        return value

    def number(self, name: str) -> float:
        """A float (Go also writes whole ones as integers); zero when absent."""
        return self._float(name, self._values.get(name.encode(), 0.0))

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of floats."""
        return tuple(self._float(name, item) for item in self.items(name))

    def flag(self, name: str) -> bool:
        """A boolean; false when absent."""
        value = self._values.get(name.encode())
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self._refuse(name, "true or false")
        return value

    def data(self, name: str) -> bytes:
        """Raw bytes; empty when absent or nil."""
        value = self._values.get(name.encode())
        if value is None:
            return b""
        if not isinstance(value, bytes):
            raise self._refuse(name, "raw bytes")
        return value

    def text(self, name: str) -> str:
        """A UTF-8 string; empty when absent."""
        return self._text(name, self.data(name))

    def items(self, name: str) -> list[Any]:
        """A list of decoded values; empty when absent or nil."""
        value = self._values.get(name.encode())
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._refuse(name, "a list")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of UTF-8 strings."""
        return tuple(self._text(name, item) for item in self.items(name))

    def text_map(self, name: str) -> dict[str, Any]:
        """A map with UTF-8 keys; empty when absent or nil."""
        value = self._values.get(name.encode())
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._refuse(name, "a map")
        return {self._text(name, key): item for key, item in value.items()}

    def nested(self, name: str) -> Fields:
        """A struct inside this one; all zero values when absent."""
        value = self._values.get(name.encode())
        return Fields.of({} if value is None else value, f"{self._what}.{name}")

    def _float(self, name: str, value: object) -> float:
        if isinstance(value, float):
            return value
        if type(value) is int:
            return float(value)
        raise self._refuse(name, "a number")

    def _text(self, name: str, value: object) -> str:
        if not isinstance(value, bytes):
            raise self._refuse(name, "text")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise self._refuse(name, "UTF-8 text") from None

    def _refuse(self, name: str, expected: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"{self._what}: field {name} is not {expected}")
