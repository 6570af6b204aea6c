"""Everyone known, by name and in a shuffled order for round-robin probes (SWIM 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from random import Random

from meshnode.gossip.memberlist.member import Member

__all__ = ["Roster"]

EXHAUSTIVE_FACTOR = 3
"""Below this many members per wanted one, a random choice walks a shuffled copy instead of drawing."""


class Roster:
    """Members by name. A new one takes a random place in the order, so the time to its first probe is bounded."""

    def __init__(self, rng: Random, members: MutableMapping[str, Member] | None = None) -> None:
        self._rng = rng
        self._members: MutableMapping[str, Member] = {} if members is None else members
        self._order: list[str] = list(self._members)
        self._next = 0
        self.get: Callable[[str], Member | None] = self._members.get
        """The member of that name, or ``None``."""

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def put(self, member: Member) -> None:
        """Add ``member`` or replace what was known under its name."""
        name = member.peer.name
        if name not in self._members:
            order = self._order
            order.append(name)
            place = int(self._rng.random() * len(order))
            order[place], order[-1] = order[-1], order[place]
        self._members[name] = member

    def next_probe(self, suits: Callable[[Member], bool], before_lap: Callable[[], None]) -> Member | None:
        """The next member in order that ``suits``, or ``None`` when a whole lap has none.

        ``before_lap`` is called at each end of the list (to reap), and the order is shuffled anew.
        """
        looked_at = 0
        # The rest of this lap and all of the next: shuffling in between may move a member behind us.
        while looked_at < 2 * len(self._order):
            if self._next >= len(self._order):
                before_lap()
                self._rng.shuffle(self._order)
                self._next = 0
                continue
            member = self._members[self._order[self._next]]
            self._next += 1
            if suits(member):
                return member
            looked_at += 1
        return None

    def remove_where(self, unwanted: Callable[[Member], bool]) -> list[Member]:
        """Forget every member that is ``unwanted``; returns them."""
        removed = [member for member in self._members.values() if unwanted(member)]
        for member in removed:
            del self._members[member.peer.name]
        if removed:
            self._order = [name for name in self._order if name in self._members]
        return removed

    def sample(self, count: int, suits: Callable[[Member], bool]) -> list[Member]:
        """Up to ``count`` different members that suit, drawn at random.

        Like memberlist, a large roster is drawn from at most ``3 * len`` times, so an unlikely draw may return fewer.
        """
        order, members = self._order, self._members
        size = len(order)
        if size < count * EXHAUSTIVE_FACTOR:
            names = order.copy()
            self._rng.shuffle(names)
            return [member for name in names if suits(member := members[name])][:count]
        chosen: dict[str, Member] = {}
        random = self._rng.random
        for _ in range(EXHAUSTIVE_FACTOR * size):
            if len(chosen) == count:
                break
            name = order[int(random() * size)]
            member = members[name]
            if suits(member):
                chosen[name] = member
        return list(chosen.values())
