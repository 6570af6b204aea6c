"""Tombstones: what was deleted under a prefix, and when, so that the index of a list never goes backwards.

Consul 1.2.3 goes back in two cases that are closed here: after reaping (here a floor remembers what was reaped), and
for a list below a deleted tree that has older tombstones (here a deleted tree counts for every list below it as well).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from sortedcontainers import SortedList  # type: ignore[import-untyped]

__all__ = ["Graveyard", "Undo", "prefix_end"]

#: Takes one change back.
Undo = Callable[[], None]
_LAST_CHARACTER: Final = "\U0010ffff"


def prefix_end(prefix: str) -> str | None:
    """The first text after all that start with ``prefix``; ``None`` when there is none, as for the empty prefix."""
    rest = prefix.rstrip(_LAST_CHARACTER)
    return rest[:-1] + chr(ord(rest[-1]) + 1) if rest else None


class Graveyard:
    """``stones``: deleted key -> index. ``trees``: deleted prefix -> index. ``floor``: the last index reaped."""

    def __init__(self) -> None:
        self.floor = 0
        self.stones: Final[dict[str, int]] = {}
        self.trees: Final[dict[str, int]] = {}
        self._keys: Final[Any] = SortedList()

    def bury(self, key: str, index: int) -> Undo:
        """Note that ``key`` was deleted; returns how to take it back."""
        before = self.stones.get(key)
        if before is None:
            self._keys.add(key)
        self.stones[key] = index
        return partial(self._unbury, key, before)

    def fell(self, prefix: str, index: int) -> Undo:
        """Note that everything under ``prefix`` was deleted; returns how to take it back."""
        before = self.trees.get(prefix)
        self.trees[prefix] = index
        return partial(self._unfell, prefix, before)

    def last_index(self, prefix: str) -> int:
        """The last index at which anything under ``prefix`` was deleted, as far as it isn't reaped; else 0."""
        last = 0
        if self.stones:
            below = self._keys.irange(prefix, prefix_end(prefix), (True, False))
            last = max(map(self.stones.__getitem__, below), default=0)
        for tree, index in self.trees.items():
            if index > last and (tree.startswith(prefix) or prefix.startswith(tree)):
                last = index
        return last

    def reap(self, through: int) -> int:
        """Forget what was deleted at or before index ``through``; returns how many tombstones that were."""
        stones = [key for key, index in self.stones.items() if index <= through]
        trees = [prefix for prefix, index in self.trees.items() if index <= through]
        reaped = [*map(self.stones.pop, stones), *map(self.trees.pop, trees)]
        for key in stones:
            self._keys.remove(key)
        self.floor = max(self.floor, *reaped) if reaped else self.floor
        return len(reaped)

    def load(self, stones: Iterable[tuple[str, int]]) -> None:
        """Put back the stones of a snapshot."""
        self.stones.update(stones)
        self._keys.update(self.stones)

    def _unbury(self, key: str, before: int | None) -> None:
        if before is None:
            del self.stones[key]
            self._keys.remove(key)
        else:
            self.stones[key] = before

    def _unfell(self, prefix: str, before: int | None) -> None:
        if before is None:
            del self.trees[prefix]
        else:
            self.trees[prefix] = before
