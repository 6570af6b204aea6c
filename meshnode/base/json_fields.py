"""The fields of a JSON object, read as Go programs read them: names without regard to case, null as if absent.

Each reader gives a value of its type or raises; nothing is guessed from a value of another type. What is missing is
the zero value of the type (empty text, 0, false). Source: https://pkg.go.dev/encoding/json, Unmarshal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, Self

from meshnode.base.duration import MAX_NANOSECONDS, parse_duration
from meshnode.base.errors import ConfigError

__all__ = ["MAX_INTEGER", "JsonFields", "json_type"]

#: Go's int64.
MAX_INTEGER: Final = 2**63 - 1
_SECOND: Final = 1_000_000_000
_NAMES: Final = {
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    dict: "object",
    list: "list",
    tuple: "list",
    type(None): "null",
}


def json_type(value: object) -> str:
    """What JSON calls a value of ``json.loads``: string, number, boolean, object, list or null."""
    return _NAMES.get(type(value), type(value).__name__)


class JsonFields:
    """``obj`` is a value of ``json.loads``; a tuple in it is a list. ``where`` is its path in errors (``Check``).

    Errors are made by :meth:`error`, here :class:`ConfigError`: ``Check.Interval: expected string, got number``.
    """

    __slots__ = ("_folded", "obj", "where")

    def __init__(self, obj: Mapping[str, Any], where: str = "") -> None:
        self.obj: Final = obj
        self.where: Final = where
        self._folded: dict[str, Any] | None = None

    def error(self, message: str) -> Exception:
        """The exception that says ``message``, which names the field."""
        return ConfigError(message)

    def path(self, name: str) -> str:
        """``name`` with the path of this object before it."""
        return f"{self.where}.{name}" if self.where else name

    def refuse(self, name: str, reason: str) -> NoReturn:
        """Raise the error ``<path of name>: <reason>``."""
        raise self.error(f"{self.path(name)}: {reason}")

    def value(self, name: str) -> Any:
        """The field as it is; ``None`` when it is missing or null."""
        found = self.obj.get(name)
        if found is not None or not self.obj:
            return found
        if self._folded is None:
            # Of two spellings the later one counts, as in Go.
            self._folded = {name.lower(): value for name, value in self.obj.items()}
        return self._folded.get(name.lower())

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.value(name) is not None

    def text(self, name: str) -> str:
        """A string; empty when missing."""
        value = self.value(name)
        if value is None:
            return ""
        return value if isinstance(value, str) else self._expected("string", value, name)

    def integer(self, name: str) -> int:
        """A whole number of at most 64 bits; 0 when missing."""
        value = self.value(name)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._expected("number", value, name)
        if value != value or abs(value) > MAX_INTEGER or value != int(value):
            self.refuse(name, "expected a whole number of at most 64 bits")
        return int(value)

    def boolean(self, name: str) -> bool:
        """True or false; false when missing."""
        value = self.value(name)
        if value is None:
            return False
        return value if isinstance(value, bool) else self._expected("boolean", value, name)

    def duration(self, name: str) -> float:
        """Seconds, from a text (``"10s"``) or a number of nanoseconds; 0.0 when missing or empty."""
        value = self.value(name)
        if value is None or value == "":
            return 0.0
        if isinstance(value, str):
            try:
                return parse_duration(value)
            except ConfigError as problem:
                self.refuse(name, str(problem))
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._expected('duration ("10s", or nanoseconds)', value, name)
        if not abs(value) <= MAX_NANOSECONDS:
            self.refuse(name, "is too long a duration: the longest is about 292 years")
        return value / _SECOND

    def strings(self, name: str) -> tuple[str, ...]:
        """A list of strings; empty when missing. A null in it is an empty string."""
        return tuple(self._texts(self._list(name), name))

    def text_map(self, name: str) -> dict[str, str]:
        """An object whose values are strings; empty when missing."""
        members = self._object(name) or {}
        return dict(zip(members, self._texts(members, name), strict=True))

    def lists_map(self, name: str) -> dict[str, tuple[str, ...]]:
        """An object whose values are lists of strings, such as the headers of a request; empty when missing."""
        lists = {}
        for key, value in (self._object(name) or {}).items():
            if value is not None and not isinstance(value, list | tuple):
                self._expected("list", value, f"{name}.{key}")
            lists[key] = tuple(self._texts(value or [], f"{name}.{key}"))
        return lists

    def object(self, name: str) -> Self | None:
        """The object at ``name``, with its path; ``None`` when missing."""
        members = self._object(name)
        return None if members is None else type(self)(members, self.path(name))

    def objects(self, name: str) -> tuple[Self, ...]:
        """A list of objects; empty when missing. A null in it is skipped."""
        found = []
        for index, item in enumerate(self._list(name)):
            if item is not None and not isinstance(item, Mapping):
                self._expected("object", item, f"{name}[{index}]")
            if item is not None:
                found.append(type(self)(item, self.path(f"{name}[{index}]")))
        return tuple(found)

    def _list(self, name: str) -> Sequence[Any]:
        value = self.value(name)
        if value is None:
            return []
        return value if isinstance(value, list | tuple) else self._expected("list", value, name)

    def _object(self, name: str) -> Mapping[str, Any] | None:
        value = self.value(name)
        if value is None:
            return None
        return value if isinstance(value, Mapping) else self._expected("object", value, name)

    def _texts(self, items: Sequence[Any] | Mapping[str, Any], name: str) -> list[str]:
        pairs = items.items() if isinstance(items, Mapping) else enumerate(items)
        texts = []
        for key, item in pairs:
            if item is not None and not isinstance(item, str):
                self._expected("string", item, f"{name}[{key}]")
            texts.append(item or "")
        return texts

    def _expected(self, what: str, value: Any, name: str) -> NoReturn:
        self.refuse(name, f"expected {what}, got {json_type(value)}")
