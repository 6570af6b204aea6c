"""Entries by key, and in order, so that a list costs what it returns. Keys are text, compared with regard to case.

Semantics of Consul 1.2.3 (agent/consul/state/kvs.go), with one difference: a plain put of a locked key keeps its
lock index (Consul sets it to 0, which breaks the fencing that it is for). A put with the same value moves the index,
as there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sortedcontainers import SortedList  # type: ignore[import-untyped]

from meshnode.kv.graveyard import Graveyard, Undo, prefix_end

__all__ = ["Entry", "KvStore", "RollbackError", "WatchKey"]

#: As in the catalog: the kind of query, and which one.
WatchKey = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One key. ``session`` holds its lock (empty: nobody); ``lock_index`` counts how often it was acquired."""

    key: str
    value: bytes
    flags: int = 0
    lock_index: int = 0
    session: str = ""
    create_index: int = 0
    modify_index: int = 0


class RollbackError(Exception):
    """Raised inside ``KvStore.transaction`` to take back what was written in it; it goes no further."""


class KvStore:
    """The table. ``index`` is that of its last change, 0 when there was none; ``touched`` collects watch keys."""

    def __init__(self, touched: set[WatchKey]) -> None:
        self.index = 0
        self.graveyard: Final = Graveyard()
        self.entries: Final[dict[str, Entry]] = {}
        self._touched = touched
        self._keys: Final[Any] = SortedList()
        self._held: Final[dict[str, set[str]]] = {}
        self._journal: list[Undo] | None = None

    # Reading

    def get(self, key: str) -> tuple[int, Entry | None]:
        """(the entry's modify index, the entry), or (the table's index, ``None``)."""
        entry = self.entries.get(key)
        return (entry.modify_index, entry) if entry is not None else (self.index or 1, None)

    def under(self, prefix: str) -> tuple[int, list[Entry]]:
        """The entries under ``prefix`` in order; the index is the last of their changes and deletions."""
        found = [self.entries[key] for key in self._under(prefix)]
        return self._list_index(prefix, (entry.modify_index for entry in found)), found

    def keys_under(self, prefix: str, separator: str = "") -> tuple[int, list[str]]:
        """The keys under ``prefix``, each cut after the first ``separator`` past the prefix, once.

        The index is that of ``under``, so the keys that aren't shown count.
        """
        found = [*self._under(prefix)]
        index = self._list_index(prefix, (self.entries[key].modify_index for key in found))
        if not separator:
            return index, found
        shown: list[str] = []
        for key in found:
            at = key.find(separator, len(prefix))
            name = key if at < 0 else key[: at + len(separator)]
            if not shown or shown[-1] != name:
                shown.append(name)
        return index, shown

    def in_order(self) -> Iterator[Entry]:
        """Every entry, by key."""
        return map(self.entries.__getitem__, self._keys)

    def held_by(self, session: str) -> list[str]:
        """The keys that ``session`` has locked, in order."""
        return sorted(self._held.get(session, ()))

    def _under(self, prefix: str) -> Iterator[str]:
        if not prefix:
            return iter(self._keys)
        found: Iterator[str] = self._keys.irange(prefix, prefix_end(prefix), (True, False))
        return found

    def _list_index(self, prefix: str, indexes: Iterable[int]) -> int:
        if not prefix:
            return self.index or 1
        last = max(max(indexes, default=0), self.graveyard.last_index(prefix))
        return max(last, self.graveyard.floor) if last else self.index or 1

    # Writing

    def put(self, index: int, key: str, value: bytes, flags: int = 0) -> Entry:
        """Insert or replace; who holds the lock keeps it."""
        old = self.entries.get(key)
        if old is None:
            return self._store(None, Entry(key, value, flags, 0, "", index, index))
        return self._store(
            old, Entry(key, value, flags, old.lock_index, old.session, old.create_index, index)
        )

    def cas(self, index: int, key: str, value: bytes, flags: int, expected: int) -> Entry | None:
        """Put if the entry's modify index is ``expected``; 0: if there is no entry. ``None``: it isn't so."""
        old = self.entries.get(key)
        if (old.modify_index if old is not None else 0) != expected:
            return None
        return self.put(index, key, value, flags)

    def delete(self, index: int, key: str) -> bool:
        """Remove the entry; false when there is none, and then nothing changes."""
        old = self.entries.get(key)
        if old is None:
            return False
        self._remove(old)
        self._note(self.graveyard.bury(key, index))
        self._moved(index, ("key", key))
        return True

    def delete_cas(self, index: int, key: str, expected: int) -> bool:
        """Remove the entry if its modify index is ``expected``. True as well when there is no entry, as in Consul."""
        old = self.entries.get(key)
        if old is not None and old.modify_index != expected:
            return False
        self.delete(index, key)
        return True

    def delete_tree(self, index: int, prefix: str) -> int:
        """Remove every entry under ``prefix``, leaving one tombstone; returns how many there were."""
        doomed = [*self._under(prefix)]
        for key in doomed:
            self._remove(self.entries[key])
        if doomed:
            self._note(self.graveyard.fell(prefix, index))
            self._moved(index, ("tree", prefix))
        return len(doomed)

    def acquire(self, index: int, key: str, value: bytes, flags: int, session: str) -> Entry | None:
        """Put and lock for ``session``, which has to exist. ``None``: another session holds the lock."""
        old = self.entries.get(key)
        if old is None:
            return self._store(None, Entry(key, value, flags, 1, session, index, index))
        if old.session not in {"", session}:
            return None
        count = old.lock_index + (old.session != session)
        return self._store(old, Entry(key, value, flags, count, session, old.create_index, index))

    def release(self, index: int, key: str, value: bytes, flags: int, session: str) -> Entry | None:
        """Put and unlock. ``None``: there is no entry, or ``session`` doesn't hold its lock."""
        old = self.entries.get(key)
        if old is None or old.session != session:
            return None
        return self._store(old, Entry(key, value, flags, old.lock_index, "", old.create_index, index))

    # Transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside is taken back when ``RollbackError`` is raised inside."""
        index, touched = self.index, self._touched
        self._journal, self._touched = [], set()
        try:
            yield
            touched |= self._touched
        except RollbackError:
            for undo in reversed(self._journal):
                undo()
            self.index = index
        finally:
            self._journal, self._touched = None, touched

    def load(self, entries: Iterable[Entry]) -> None:
        """Put back the entries of a snapshot, into an empty store."""
        for entry in entries:
            self.entries[entry.key] = entry
            self._hold(entry)
        self._keys.update(self.entries)

    def _store(self, old: Entry | None, entry: Entry) -> Entry:
        key = entry.key
        self.entries[key] = entry
        if old is None:
            self._keys.add(key)
        elif old.session:
            self._unhold(old)
        self._hold(entry)
        if self._journal is not None:
            self._journal.append(partial(self._restore, key, old))
        self._moved(entry.modify_index, ("key", key))
        return entry

    def _remove(self, old: Entry) -> None:
        del self.entries[old.key]
        self._keys.remove(old.key)
        self._unhold(old)
        self._note(partial(self._restore, old.key, old))

    def _restore(self, key: str, entry: Entry | None) -> None:
        present = self.entries.pop(key, None)
        if present is not None:
            self._unhold(present)
            self._keys.remove(key)
        if entry is not None:
            self.entries[key] = entry
            self._keys.add(key)
            self._hold(entry)

    def _hold(self, entry: Entry) -> None:
        if entry.session:
            self._held.setdefault(entry.session, set()).add(entry.key)

    def _unhold(self, entry: Entry) -> None:
        if entry.session and (keys := self._held.get(entry.session)) is not None:
            keys.discard(entry.key)
            if not keys:
                del self._held[entry.session]

    def _note(self, undo: Undo) -> None:
        if self._journal is not None:
            self._journal.append(undo)

    def _moved(self, index: int, touched: WatchKey) -> None:
        self.index = index
        self._touched.add(touched)
