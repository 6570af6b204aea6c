"""The table of intentions: by id, by source and destination together, by either, and by destination as one entry.

Watch keys: ``("intentions",)`` for all of them; ``("intentions-to", name)`` and ``("intentions-from", name)`` for those
of one service, where an intention about ``*`` touches the name ``*``. Names are compared without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from meshnode.intentions.decide import names
from meshnode.intentions.model import WILDCARD, Destination, Intention, Pair, ServiceName

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
        self._destinations: Final[dict[tuple[str, str], Destination]] = {}

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

    def destination(self, service: ServiceName) -> Destination | None:
        """What the intentions about just this destination share, ``*`` taken as a name; ``None`` without any."""
        return self._destinations.get((service.namespace.lower(), service.name.lower()))

    def destinations(self) -> list[Destination]:
        """Every destination that there are intentions about, by name."""
        return [self._destinations[key] for key in sorted(self._destinations)]

    def about(self, destination: Destination) -> list[Intention]:
        """The intentions about just this destination, in the order they are looked at."""
        return _in_order(self._about(destination.key))

    def _about(self, key: tuple[str, str]) -> Iterator[Intention]:
        rows = (self._rows[row] for row in self._to.get(key[1], ()))
        return (row for row in rows if row.destination_ns.lower() == key[0])

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
        self._settle(index, row)
        return True

    def replace_about(
        self, index: int, service: ServiceName, intentions: Iterable[Intention], meta: Mapping[str, str]
    ) -> None:
        """Make ``intentions`` the only ones about ``service``: each keeps the id that its source has already."""
        wanted = {intention.pair: intention for intention in intentions}
        for intention in wanted.values():
            old = self._rows.get(self._pairs.get(intention.pair, ""))
            if old is None or not _alike(old, intention):
                self.upsert(index, intention)
        for row in list(self._about((service.namespace.lower(), service.name.lower()))):
            if row.pair not in wanted:
                self.delete(index, row.id)
        self.describe(index, service, meta)

    def describe(self, index: int, service: ServiceName, meta: Mapping[str, str]) -> None:
        """Give what is shared by the intentions about ``service`` this metadata; nothing without any."""
        known = self.destination(service)
        if known is not None and dict(known.meta) != dict(meta):
            self._destinations[known.key] = replace(known, meta=dict(meta), modify_index=index)
            self.index = index
            self._touched.add(INTENTIONS)

    def adopt(self, index: int, intention: Intention) -> None:
        """Put in one of another table as it is: whoever has its id, or its source and destination, gives way."""
        same = self._rows.get(intention.id.lower())
        pair = self._rows.get(self._pairs.get(intention.pair, ""))
        if same is pair:
            self._put(index, same, intention)
            return
        for row in (same, pair):
            if row is not None:
                self.delete(index, row.id)
        self._put(index, None, intention)

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
        whole = Destination(
            intention.destination_name,
            intention.destination_ns,
            create_index=intention.create_index,
            modify_index=intention.modify_index,
        )
        known = self._destinations.setdefault(whole.key, whole)
        self._destinations[whole.key] = replace(
            known,
            create_index=min(known.create_index, whole.create_index),
            modify_index=max(known.modify_index, whole.modify_index),
        )

    def load_destination(self, destination: Destination) -> None:
        """What a snapshot says about a destination, once its intentions are loaded; ``ValueError`` without any."""
        if destination.key not in self._destinations:
            raise ValueError(f"there are no intentions about {destination.name!r}")
        self._destinations[destination.key] = destination

    def _replace(self, index: int, old: Intention | None, new: Intention) -> None:
        self._put(index, old, new if old is None else replace(new, created_at=old.created_at))

    def _put(self, index: int, old: Intention | None, new: Intention) -> None:
        if old is not None:
            self._unlist(old)
            self._moved(index, old)
        created = old.create_index if old is not None else index
        self.load(replace(new, create_index=created, modify_index=index))
        self._moved(index, new)
        if old is not None:
            self._settle(index, old)

    def _unlist(self, row: Intention) -> None:
        key = row.id.lower()
        del self._rows[key]
        del self._pairs[row.pair]
        for table, name in ((self._to, row.destination_name), (self._from, row.source_name)):
            keys = table[name.lower()]
            keys.discard(key)
            if not keys:
                del table[name.lower()]

    def _settle(self, index: int, gone: Intention) -> None:
        """A destination changes with each of its intentions, and goes with the last one."""
        key = gone.destination_ns.lower(), gone.destination_name.lower()
        if next(self._about(key), None) is None:
            self._destinations.pop(key, None)
        else:
            self._destinations[key] = replace(self._destinations[key], modify_index=index)

    def _moved(self, index: int, row: Intention) -> None:
        self.index = index
        to, from_ = (
            ("intentions-to", row.destination_name.lower()),
            ("intentions-from", row.source_name.lower()),
        )
        self._touched.update((INTENTIONS, to, from_))


def _in_order(rows: Iterable[Intention]) -> list[Intention]:
    return sorted(rows, key=lambda row: row.order)


def _alike(old: Intention, new: Intention) -> bool:
    """Whether they say the same, whenever they were written."""
    told = replace(
        new,
        id=old.id,
        created_at=old.created_at,
        updated_at=old.updated_at,
        create_index=old.create_index,
        modify_index=old.modify_index,
    )
    return told == old
