"""Config entries as those see them who only read: by kind and name, with a change that isn't made yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from meshnode.config_entries.model import KIND_OF, PROXY_DEFAULTS, PROXY_DEFAULTS_NAME, ConfigEntry, Key

__all__ = ["EntryTable"]

S = TypeVar("S")


class EntryTable:
    """Entries by kind and name, to read from; names are compared without regard to case."""

    def __init__(self, rows: Mapping[Key, ConfigEntry]) -> None:
        self._rows: Final = rows

    def get(self, kind: str, name: str) -> ConfigEntry | None:
        """One entry."""
        return self._rows.get((kind, name.lower()))

    def spec(self, of: type[S], name: str) -> S | None:
        """The fields of one entry; for ``ProxyDefaults`` the name doesn't count."""
        kind = KIND_OF[of]
        found = self.get(kind, PROXY_DEFAULTS_NAME if kind == PROXY_DEFAULTS else name)
        return found.spec if found is not None and isinstance(found.spec, of) else None

    def __iter__(self) -> Iterator[ConfigEntry]:
        """Every entry, in no order."""
        return iter(self._rows.values())

    def with_change(self, key: Key, entry: ConfigEntry | None) -> EntryTable:
        """A table where ``entry`` is at ``key``, or nothing."""
        rows = {known: row for known, row in self._rows.items() if known != key}
        return EntryTable(rows if entry is None else {**rows, key: entry})
