"""Bodies and replies as they come off the wire: text where Consul's structs have text, bytes where they have bytes.

The old msgpack spec has one type for both, so the name of the field decides.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

__all__ = ["from_wire"]

#: Fields of Consul's structs that are ``[]byte``.
_BINARY: Final = frozenset({"Value", "Payload", "Archive"})


class _Keys(Enum):
    """Whose the keys of a map are."""

    FIELDS = 1  # a struct's
    ANYBODYS = 2  # anybody's; the values are structs, lists or text
    TEXT = 3  # anybody's, here and in all that is inside


_MAPS: Final = {
    **dict.fromkeys(
        ("Meta", "NodeMeta", "ServiceMeta", "NodeMetaFilters", "TaggedAddresses"), _Keys.ANYBODYS
    ),
    **dict.fromkeys(("Header", "Services"), _Keys.ANYBODYS),
    "Config": _Keys.TEXT,
}


def from_wire(value: Any) -> Any:
    """A decoded raw value with its text as ``str``; what isn't UTF-8 is kept as surrogates."""
    return _convert(value, _Keys.FIELDS, binary=False)


def _convert(value: Any, keys: _Keys, *, binary: bool) -> Any:
    if type(value) is bytes:
        return value if binary else value.decode("utf-8", "surrogateescape")
    if isinstance(value, list | tuple):
        inside = keys if keys is _Keys.TEXT else _Keys.FIELDS
        return [_convert(item, inside, binary=binary) for item in value]
    if not isinstance(value, dict):
        return value
    converted = {}
    for raw, item in value.items():
        key = raw.decode("utf-8", "surrogateescape") if type(raw) is bytes else str(raw)
        if keys is _Keys.FIELDS:
            converted[key] = _convert(item, _MAPS.get(key, _Keys.FIELDS), binary=key in _BINARY)
        else:
            inside = _Keys.FIELDS if keys is _Keys.ANYBODYS else _Keys.TEXT
            converted[key] = _convert(item, inside, binary=False)
    return converted
