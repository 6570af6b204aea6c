"""Many sources become one: scalars are replaced, lists appended, maps merged key by key (Consul's rule)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshnode.agent.config.key import Noted, Refused
from meshnode.agent.config.keys import KEYS, defaults
from meshnode.agent.config.schema import Entry, Fragment
from meshnode.base.errors import ConfigError
from meshnode.hcl.located import BUILT_IN, Origin

__all__ = ["Settings", "merge"]


class Settings:
    """The merged settings; what nobody set has its default from the table."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, path: str) -> Any:
        """The effective value of ``path``, in the type of its kind."""
        entry = self._entries.get(path)
        return defaults()[path] if entry is None else entry.value

    def is_set(self, path: str) -> bool:
        """Whether any source has it."""
        return path in self._entries

    def paths(self) -> frozenset[str]:
        """Every path that a source has."""
        return frozenset(self._entries)

    def origin(self, path: str, index: int | None = None) -> Origin:
        """Where ``path``, or one item of its list, was written."""
        entry = self._entries.get(path)
        if entry is None:
            return BUILT_IN
        return entry.origin if index is None or index >= len(entry.items) else entry.items[index]

    def problem(self, path: str, message: str, index: int | None = None) -> ConfigError:
        """An error about ``path`` that names where it was written."""
        where = str(self.origin(path, index)) if self.is_set(path) else ""
        return ConfigError(message, key=path, where=where)

    def refusals(self) -> list[ConfigError]:
        """An error for each key that this release does not take, unless its value changes nothing."""
        found = []
        for path, entry in self._entries.items():
            row = KEYS[path]
            if isinstance(row.status, Refused) and entry.value not in (row.default, *row.status.harmless):
                shown = _shown(entry.value) if not row.secret else ""
                found.append(self.problem(path, f"{entry.path}{shown}: {row.status.reason}"))
        return found

    def notes(self) -> list[str]:
        """A warning for each key that is accepted and does nothing."""
        return [
            f"{entry.origin}: {path}{_shown(entry.value)} has no effect: {row.status.reason}"
            for path, entry in self._entries.items()
            if isinstance((row := KEYS[path]).status, Noted) and entry.value != row.status.quiet
        ]


def merge(fragments: Iterable[Fragment]) -> Settings:
    """Join ``fragments``, weakest first."""
    merged: dict[str, Entry] = {}
    for fragment in fragments:
        for path, entry in fragment.items():
            known = merged.get(path)
            merged[path] = entry if known is None else _join(known, entry)
    return Settings(merged)


def _join(known: Entry, entry: Entry) -> Entry:
    if isinstance(entry.value, tuple):
        items = (*known.items, *entry.items)
        return Entry((*known.value, *entry.value), entry.path, entry.origin, items)
    if isinstance(entry.value, dict):
        return Entry(_merged(known.value, entry.value), entry.path, entry.origin)
    return entry


def _merged(known: Any, value: Any) -> Any:
    if not isinstance(known, dict) or not isinstance(value, dict):
        return value
    return {**known, **{name: _merged(known.get(name), item) for name, item in value.items()}}


def _shown(value: Any) -> str:
    """`` = value`` for values that are short enough to help."""
    match value:
        case bool():
            return f" = {str(value).lower()}"
        case int() | float():
            return f" = {value:g}"
        case str():
            return f' = "{value}"' if len(value) <= 60 else ""
        case _:
            return ""
