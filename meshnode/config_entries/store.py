"""The table of config entries, all kinds but ``service-intentions``, which are seen in the table of intentions.

Watch keys: ``("config-entries",)`` for all of them; ``("config-entry", kind, name)`` for one, name in lower case.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from meshnode.config_entries.model import ConfigEntry, Key
from meshnode.config_entries.table import EntryTable

__all__ = ["CONFIG_ENTRIES", "ConfigEntryStore", "WatchKey", "watched_entry"]

WatchKey = tuple[str, ...]

#: Any config entry.
CONFIG_ENTRIES: Final[WatchKey] = ("config-entries",)


def watched_entry(kind: str, name: str) -> WatchKey:
    """For one entry."""
    return ("config-entry", kind, name.lower())


class ConfigEntryStore:
    """``touched`` is shared: whoever made it reads from it what changed. ``index`` is that of the last change."""

    def __init__(self, touched: set[WatchKey]) -> None:
        self.index = 0
        self._touched = touched
        self._rows: Final[dict[Key, ConfigEntry]] = {}
        #: The same entries, to read from; it follows every change.
        self.entries: Final = EntryTable(self._rows)

    def of(self, kind: str) -> tuple[int, list[ConfigEntry]]:
        """The entries of one kind, by name."""
        found = [row for row in self._rows.values() if row.kind == kind]
        return self.index or 1, sorted(found, key=lambda row: row.key)

    def every(self) -> list[ConfigEntry]:
        """Every entry, by kind and name."""
        return [self._rows[key] for key in sorted(self._rows)]

    def set(self, index: int, entry: ConfigEntry) -> None:
        """Add an entry, or replace the one with its name; one that says the same stays as it is. It was validated."""
        old = self._rows.get(entry.key)
        created = old.create_index if old is not None else index
        if old is not None and replace(old, create_index=0, modify_index=0) == entry:
            return
        self._rows[entry.key] = replace(entry, create_index=created, modify_index=index)
        self._moved(index, entry.key)

    def delete(self, index: int, key: Key) -> None:
        """Remove an entry; one that isn't there is removed already."""
        if self._rows.pop(key, None) is not None:
            self._moved(index, key)

    def load(self, entry: ConfigEntry) -> None:
        """Put in a row, as from a snapshot: no index moves and nothing is touched.

        Raises :class:`ValueError` when it is there already.
        """
        if entry.key in self._rows:
            raise ValueError(f"the config entry {entry.kind}/{entry.name} is there twice")
        self._rows[entry.key] = entry

    def _moved(self, index: int, key: Key) -> None:
        self.index = index
        self._touched.update((CONFIG_ENTRIES, watched_entry(*key)))
