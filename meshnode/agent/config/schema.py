"""From a tree of values to typed settings: each key is looked up in the table, each value checked against its kind.

Every mistake of a source is reported, not only the first. What a key *means* is not judged here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshnode.agent.config.key import Key, Kind, Refused
from meshnode.agent.config.keys import CAMEL_CASE, KEYS, children
from meshnode.base.duration import parse_duration
from meshnode.base.errors import ConfigError
from meshnode.base.suggest import closest
from meshnode.hcl.located import Node, Origin, plain

__all__ = ["Entry", "Fragment", "read_settings"]

MAX_PORT: Final = 65535
#: Whole numbers are Go's int: beyond its 64 bits Consul, and what we hand numbers to, would read another one.
MIN_WHOLE: Final = -(2**63)
MAX_WHOLE: Final = 2**63 - 1
_MAX_SHOWN: Final = 60
#: A single definition joins the list of its kind.
_SINGULAR: Final = {"service": "services", "check": "checks"}
_LOG_LEVELS: Final = {"ERROR": "ERR", "WARNING": "WARN"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A typed value, the path and the place that it was written at; ``items`` are the places of a list's items."""

    value: Any
    path: str
    origin: Origin
    items: tuple[Origin, ...] = ()


#: Path -> what one source says about it. Objects are flat: ``ports.https`` is a path of its own.
Fragment = dict[str, Entry]


def read_settings(node: Node) -> tuple[Fragment, list[ConfigError]]:
    """The settings in ``node`` and every mistake in it; a mistaken key is left out of the settings."""
    reader = _Reader()
    if isinstance(node.value, dict):
        reader.settings(node.value, "")
    elif node.value is not None:
        message = f"expected an object of keys, got {_shown(node)}"
        reader.problems.append(ConfigError(message, where=str(node.origin)))
    return reader.fragment, reader.problems


class _Reader:
    def __init__(self) -> None:
        self.fragment: Fragment = {}
        self.problems: list[ConfigError] = []

    def settings(self, members: Mapping[str, Node], path: str) -> None:
        """Read the members of the object at ``path`` into the fragment."""
        for name, row, node in self._known(members, "", path, path):
            if node.value is None:
                continue
            if row.kind is Kind.OBJECT and not row.shape:
                for part in self._objects(node, row.path):
                    self.settings(part, row.path)
            elif row.shape:
                self._definitions(node, row, name)
            else:
                self._keep(node, row)

    def _keep(self, node: Node, row: Key) -> None:
        try:
            value = _convert(node, row, row.path)
        except ConfigError as problem:
            self.problems.append(problem)
            return
        items = tuple(item.origin for item in node.value) if isinstance(node.value, list) else ()
        known = self.fragment.get(row.path)
        if known is not None and isinstance(value, dict):
            value = {**known.value, **value}
        if known is not None and row.kind is Kind.OPENS:
            value = (*known.value, *value)
        self.fragment[row.path] = Entry(value, row.path, node.origin, items)

    def _definitions(self, node: Node, row: Key, name: str) -> None:
        """Read services, checks and the like; a single one is stored with the list of its kind."""
        if row.kind is Kind.OBJECTS and isinstance(node.value, list) and not node.value:
            self.fragment[row.path] = Entry((), row.path, node.origin)
            return
        origins = [item.origin for item in node.value] if isinstance(node.value, list) else [node.origin]
        several = isinstance(node.value, list)
        values = [
            self._definition(part, row.shape, "", f"{name}[{index}]" if several else name)
            for index, part in enumerate(self._objects(node, name))
        ]
        target = _SINGULAR.get(row.path, row.path)
        known = self.fragment.get(target)
        self.fragment[target] = Entry(
            (*(known.value if known else ()), *values),
            known.path if known else row.path,
            known.origin if known else node.origin,
            (*(known.items if known else ()), *origins),
        )

    def _definition(self, members: Mapping[str, Node], shape: str, path: str, shown: str) -> dict[str, Any]:
        """Read the inside of a definition as nested plain values; ``shown`` is its path for errors."""
        values: dict[str, Any] = {}
        for _, row, node in self._known(members, shape, path, shown):
            place = f"{shown}.{row.name}"
            if node.value is None:
                continue
            if row.kind in (Kind.OBJECT, Kind.OBJECTS):
                inner = row.shape or shape
                several = isinstance(node.value, list)
                parts = [
                    self._definition(
                        part, inner, "" if row.shape else row.path, f"{place}[{index}]" if several else place
                    )
                    for index, part in enumerate(self._objects(node, place))
                ]
                one = {key: value for part in parts for key, value in part.items()}
                values[row.name] = tuple(parts) if row.kind is Kind.OBJECTS else one
                continue
            try:
                values[row.name] = _convert(node, row, place)
            except ConfigError as problem:
                self.problems.append(problem)
            else:
                self._refuse(row, values[row.name], place, node)
        return values

    def _refuse(self, row: Key, value: Any, place: str, node: Node) -> None:
        """What is inside a definition isn't merged: a key that can't be used is told of at once."""
        if isinstance(row.status, Refused) and value not in (row.default, *row.status.harmless):
            message = f"{place}: {row.status.reason}"
            self.problems.append(ConfigError(message, key=place, where=str(node.origin)))

    def _known(
        self, members: Mapping[str, Node], shape: str, path: str, shown: str
    ) -> list[tuple[str, Key, Node]]:
        """The members that the table has; the others become problems."""
        rows = children(shape, path)
        found: list[tuple[str, Key, Node]] = []
        for name, node in members.items():
            translated = CAMEL_CASE.get(name.lower(), "")
            if name in rows:
                found.append((name, rows[name], node))
            elif translated in rows:
                if translated not in members:
                    found.append((translated, rows[translated], node))
            else:
                self.problems.append(_unknown(name, node, rows, shown))
        return found

    def _objects(self, node: Node, path: str) -> list[Mapping[str, Node]]:
        """The object at ``path``, or all the objects that a list or repeated blocks hold."""
        nodes = node.value if isinstance(node.value, list) else [node]
        objects: list[Mapping[str, Node]] = []
        for item in nodes:
            if isinstance(item.value, dict):
                objects.append(item.value)
            else:
                self.problems.append(_expected("an object", item, path))
        return objects


def _unknown(name: str, node: Node, rows: Mapping[str, Key], shown: str) -> ConfigError:
    path = f"{shown}.{name}" if shown else name
    near = closest(name, rows)
    if near is not None:
        hint = f"{shown}.{near}" if shown else near
    else:
        elsewhere = [other for other, row in KEYS.items() if row.name == name]
        is_number = isinstance(node.value, int)
        hint = min(elsewhere, key=lambda other: other.startswith("ports.") != is_number, default="")
    suggestion = f": did you mean {hint}?" if hint else ""
    return ConfigError(
        f"invalid config key {path} (in {node.key_origin or node.origin}){suggestion}", key=path
    )


def _expected(what: str, node: Node, path: str, hint: str = "", *, secret: bool = False) -> ConfigError:
    got = "something else" if secret else _shown(node)
    return ConfigError(f"{path}: expected {what}, got {got}{hint}", key=path, where=str(node.origin))


def _shown(node: Node) -> str:
    if isinstance(node.value, dict):
        return "an object"
    if isinstance(node.value, list):
        return "a list"
    text = json.dumps(plain(node), ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _convert(node: Node, row: Key, path: str) -> Any:
    """The value of ``node`` as ``row.kind`` wants it; raises :class:`ConfigError`."""
    match row.kind:
        case Kind.STRING | Kind.ADDRESS | Kind.ADDRESSES:
            return _choice(_string(node, path, secret=row.secret), node, row, path)
        case Kind.BOOLEAN:
            if isinstance(node.value, bool):
                return node.value
            hint = f": write {node.value} without quotes" if node.value in ("true", "false") else ""
            raise _expected("true or false", node, path, hint)
        case Kind.INTEGER | Kind.PORT:
            return _integer(node, row, path)
        case Kind.NUMBER:
            if isinstance(node.value, int | float) and not isinstance(node.value, bool):
                return float(node.value)
            raise _expected("a number", node, path)
        case Kind.DURATION:
            return _duration(node, path)
        case Kind.STRINGS:
            return _strings(node, path, secret=row.secret)
        case Kind.STRING_MAP:
            return {name: _string(item, f"{path}.{name}") for name, item in _members(node, path)}
        case Kind.LISTS_MAP:
            return {name: _strings(item, f"{path}.{name}") for name, item in _members(node, path)}
        case Kind.OPEN:
            return _free(node, path, secret=row.secret)
        case Kind.OPENS:
            items = node.value if isinstance(node.value, list) else [node]
            return tuple(_free(item, f"{path}[{index}]") for index, item in enumerate(items))
        case _:
            raise AssertionError(f"{row.path} holds no value of its own")


def _string(node: Node, path: str, *, secret: bool = False) -> str:
    if isinstance(node.value, str):
        return node.value
    is_scalar = isinstance(node.value, bool | int | float)
    hint = f': write "{_shown(node)}"' if is_scalar and not secret else ""
    raise _expected("a string", node, path, hint, secret=secret)


def _choice(text: str, node: Node, row: Key, path: str) -> str:
    if not row.choices:
        return text
    folded = {choice.lower(): choice for choice in row.choices}
    wanted = _LOG_LEVELS.get(text.upper(), text) if row.path == "log_level" else text
    if wanted.lower() in folded:
        return folded[wanted.lower()]
    accepted = ", ".join(row.choices)
    message = f'{path}: "{text[:_MAX_SHOWN]}" can\'t be used: write one of {accepted}'
    raise ConfigError(message, key=path, where=str(node.origin))


def _integer(node: Node, row: Key, path: str) -> int:
    value = node.value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        hint = f": write {value} without quotes" if isinstance(value, str) and value.isdecimal() else ""
        raise _expected("a number" if row.kind is Kind.PORT else "a whole number", node, path, hint)
    if row.kind is not Kind.PORT:
        _bounded(value, node, path)
    if row.kind is Kind.PORT:
        if value > MAX_PORT:
            raise ConfigError(
                f"{path}: invalid port: {value}: the highest is {MAX_PORT}", key=path, where=str(node.origin)
            )
        return value if value > 0 else -1
    if row.choices and str(value) not in row.choices:
        message = f"{path}: {value} can't be used: write one of {', '.join(row.choices)}"
        raise ConfigError(message, key=path, where=str(node.origin))
    return value


def _bounded(value: int, node: Node, path: str) -> None:
    if not MIN_WHOLE <= value <= MAX_WHOLE:
        bound = f"the highest is {MAX_WHOLE}" if value > 0 else f"the lowest is {MIN_WHOLE}"
        message = f"{path}: {_shown(node)} has more than 64 bits: {bound}"
        raise ConfigError(message, key=path, where=str(node.origin))


def _free(node: Node, path: str, *, secret: bool = False) -> dict[str, Any]:
    members = _members(node, path, secret=secret)
    for name, item in members:
        _all_bounded(item, f"{path}.{name}")
    return {name: plain(item) for name, item in members}


def _all_bounded(node: Node, path: str) -> None:
    """The whole numbers anywhere in a free object, whose depth the parser bounds."""
    if isinstance(node.value, dict):
        for name, item in node.value.items():
            _all_bounded(item, f"{path}.{name}")
    elif isinstance(node.value, list):
        for index, item in enumerate(node.value):
            _all_bounded(item, f"{path}[{index}]")
    elif isinstance(node.value, int):
        _bounded(node.value, node, path)


def _duration(node: Node, path: str) -> float:
    if not isinstance(node.value, str):
        hint = (
            f': write "{_shown(node)}s"'
            if isinstance(node.value, int) and not isinstance(node.value, bool)
            else ""
        )
        raise _expected('a duration such as "10s"', node, path, hint)
    try:
        return parse_duration(node.value)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", key=path, where=str(node.origin)) from None


def _strings(node: Node, path: str, *, secret: bool = False) -> tuple[str, ...]:
    if isinstance(node.value, list):
        return tuple(
            _string(item, f"{path}[{index}]", secret=secret) for index, item in enumerate(node.value)
        )
    hint = f": write [{_shown(node)}]" if isinstance(node.value, str) and not secret else ""
    raise _expected("a list of strings", node, path, hint, secret=secret)


def _members(node: Node, path: str, *, secret: bool = False) -> list[tuple[str, Node]]:
    """Members of an object, or of all the objects that repeated blocks hold; later ones win."""
    members: dict[str, Node] = {}
    for item in node.value if isinstance(node.value, list) else [node]:
        if not isinstance(item.value, dict):
            raise _expected("an object", item, path, secret=secret)
        members.update(item.value)
    return [(name, item) for name, item in members.items() if item.value is not None]
