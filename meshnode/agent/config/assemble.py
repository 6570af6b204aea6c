"""From settled values to the frozen model, field by field, and from two models back to the keys that differ."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from meshnode.agent.config.keys import KEYS
from meshnode.agent.config.model import AgentConfig
from meshnode.agent.config.setting import SETTING

__all__ = ["Changes", "assemble", "compare", "settings_of"]

T = TypeVar("T")


class Changes(typing.NamedTuple):
    """Keys that differ between two configurations: those that a reload puts in force, and those that it can't."""

    reloadable: tuple[str, ...]
    needs_restart: tuple[str, ...]


def assemble(values: Mapping[str, Any], *, dev: bool) -> AgentConfig:
    """The configuration that ``values`` (path -> checked value) describe."""
    return _build(AgentConfig, values, {"dev": dev})


def settings_of(config: AgentConfig) -> dict[str, Any]:
    """Path -> value, of every key that reaches the model."""
    return dict(_values(config))


def compare(old: AgentConfig, new: AgentConfig) -> Changes:
    """What changed from ``old`` to ``new``, by key, in the order of the table."""
    before, after = dict(_values(old)), dict(_values(new))
    changed = {path for path in before if before[path] != after[path]}
    if all(side["server_name"] == side["node_name"] for side in (before, after)):
        changed.discard("server_name")  # it follows the other: nobody has set it
    ordered = [path for path in KEYS if path in changed] + (["-dev"] if old.dev != new.dev else [])
    reloadable = tuple(path for path in ordered if path in KEYS and KEYS[path].reload)
    return Changes(reloadable, tuple(path for path in ordered if path not in reloadable))


def _build(cls: type[T], values: Mapping[str, Any], given: Mapping[str, Any]) -> T:
    arguments = dict(given)
    for name, path, inner in _own(cls):
        if path:
            value = values[path]
            arguments[name] = MappingProxyType(dict(value)) if isinstance(value, dict) else value
        elif inner is not None:
            arguments[name] = _build(inner, values, {})
    return cls(**arguments)


def _own(cls: type[Any]) -> tuple[tuple[str, str, type[Any] | None], ...]:
    """Fields of ``cls``: name, path of the key or empty, class of a nested part or ``None``."""
    hints = typing.get_type_hints(cls)
    return tuple(
        (
            part.name,
            part.metadata.get(SETTING, ""),
            hints[part.name] if is_dataclass(hints[part.name]) else None,
        )
        for part in fields(cls)
    )


def _settings(cls: type[Any]) -> Iterator[tuple[str, type[Any], str]]:
    for name, path, inner in _own(cls):
        if path:
            yield path, cls, name
        elif inner is not None:
            yield from _settings(inner)


def _values(part: Any) -> Iterator[tuple[str, Any]]:
    for name, path, inner in _own(type(part)):
        if path:
            yield path, getattr(part, name)
        elif inner is not None:
            yield from _values(getattr(part, name))
