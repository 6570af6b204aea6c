"""The table of intentions: by id, by source and destination together, and by either.

Watch keys: ``("intentions",)`` for all of them; ``("intentions-to", name)`` and ``("intentions-from", name)`` for those
of one service, where an intention about ``*`` touches the name ``*``. Names are compared without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from meshnode.intentions.decide import names
from meshnode.intentions.model import WILDCARD, Intention, Pair, ServiceName

__all__ = ["INTENTIONS", "NOT_FOUND", "IntentionStore", "WatchKey", "watched_from", "watched_to"]

WatchKey = tuple[str, ...]

#: Any intention.
INTENTIONS: Final[WatchKey] = ("intentions",)
#: Consul's sentence, which clients and the API look for.
NOT_FOUND: Final = "Intention not found"


def watched_to(service: ServiceName) -> tuple[WatchKey, ...]:
    """For the intentions about connections to a service."""
    return ("intentions-to", service.name.lower()), ("intentions-to", WILDCARD)


def watched_from(service: ServiceName) -> tuple[WatchKey, ...]:
    """For the intentions about connections from a service."""
    return ("intentions-from", service.name.lower()), ("intentions-from", WILDCARD)


class IntentionStore:
    """``touched`` is shared: whoever made it reads from it what changed. ``index`` is that of the last change."""

    def __init__(self, touched: set[WatchKey]) -> None:
        self.index = 0
        self._touched = touched
        self._rows: Final[dict[str, Intention]] = {}
        self._pairs: Final[dict[Pair, str]] = {}
        self._to: Final[dict[str, set[str]]] = {}
        self._from: Final[dict[str, set[str]]] = {}

    # Reading

    def get(self, intention_id: str) -> tuple[int, Intention | None]:
        """``/connect/intentions/:uuid``."""
        return self.index or 1, self._rows.get(intention_id.lower())

    def exact(self, source: ServiceName, destination: ServiceName) -> tuple[int, Intention | None]:
        """The intention that names just these two, ``*`` taken as a name."""
        names_of = (source.namespace, source.name, destination.namespace, destination.name)
        first, second, third, fourth = (name.lower() for name in names_of)
        return self.index or 1, self._rows.get(self._pairs.get((first, second, third, fourth), ""))

    def every(self) -> tuple[int, list[Intention]]:
        """``/connect/intentions``, in the order they are looked at."""
        return self.index or 1, _in_order(self._rows.values())

    def to(self, destination: ServiceName) -> tuple[int, list[Intention]]:
        """Those about connections to ``destination``, in the order they are looked at."""
        found = self._listed(self._to, destination)
        return self.index or 1, _in_order(row for row in found if names(row, row.source, destination))

    def from_(self, source: ServiceName) -> tuple[int, list[Intention]]:
        """Those about connections from ``source``, in the order they are looked at."""
        found = self._listed(self._from, source)
        return self.index or 1, _in_order(row for row in found if names(row, source, row.destination))

    def _listed(self, table: dict[str, set[str]], service: ServiceName) -> list[Intention]:
        keys = {service.name.lower(), WILDCARD}
        return [self._rows[key] for name in keys for key in table.get(name, ())]

    # Writing

    def put(self, index: int, intention: Intention, *, create: bool) -> str:
        """Add one (``create``) or replace the one with its id; returns why not, or ``""``. It was validated."""
        old = self._rows.get(intention.id.lower())
        if not intention.id:
            return "Missing Intention ID"
        if create and old is not None:
            return f"Intention ID '{intention.id}' is in use"
        if not create and old is None:
            return f"Cannot modify non-existent intention: '{intention.id}'"
        other = self._pairs.get(intention.pair, intention.id.lower())
        if other != intention.id.lower():
            return f"duplicate intention found: {self._rows[other]}"
        self._replace(index, old, intention)
        return ""

    def upsert(self, index: int, intention: Intention) -> str:
        """Add it, or replace the one with its source and destination, which keeps its id; returns the id."""
        old = self._rows.get(self._pairs.get(intention.pair, intention.id.lower()))
        self._replace(index, old, intention if old is None else replace(intention, id=old.id))
        return intention.id if old is None else old.id

    def delete(self, index: int, intention_id: str) -> bool:
        """Remove one; false when there is none."""
        row = self._rows.get(intention_id.lower())
        if row is None:
            return False
        self._unlist(row)
        self._moved(index, row)
        return True

    def load(self, intention: Intention) -> None:
        """Put in a row, as from a snapshot: no index moves and nothing is touched.

        Raises :class:`ValueError` when its id, or its source and destination, are there already.
        """
        key = intention.id.lower()
        if key in self._rows or intention.pair in self._pairs:
            raise ValueError(f"the intention {intention.id!r} or its pair of names is there twice")
        self._rows[key] = intention
        self._pairs[intention.pair] = key
        self._to.setdefault(intention.destination_name.lower(), set()).add(key)
        self._from.setdefault(intention.source_name.lower(), set()).add(key)

    def _replace(self, index: int, old: Intention | None, new: Intention) -> None:
        if old is not None:
            self._unlist(old)
            self._moved(index, old)
            new = replace(new, created_at=old.created_at, create_index=old.create_index)
        else:
            new = replace(new, create_index=index)
        self.load(replace(new, modify_index=index))
        self._moved(index, new)

    def _unlist(self, row: Intention) -> None:
        key = row.id.lower()
        del self._rows[key]
        del self._pairs[row.pair]
        for table, name in ((self._to, row.destination_name), (self._from, row.source_name)):
            keys = table[name.lower()]
            keys.discard(key)
            if not keys:
                del table[name.lower()]

    def _moved(self, index: int, row: Intention) -> None:
        self.index = index
        to, from_ = (
            ("intentions-to", row.destination_name.lower()),
            ("intentions-from", row.source_name.lower()),
        )
        self._touched.update((INTENTIONS, to, from_))


def _in_order(rows: Iterable[Intention]) -> list[Intention]:
    return sorted(rows, key=lambda row: row.order)
