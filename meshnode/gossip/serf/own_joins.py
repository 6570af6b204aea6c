"""Joins that a node makes unasked: back into the cluster of its snapshot, and to members that failed."""

from __future__ import annotations

from collections.abc import Iterable

from meshnode.base.address import Address
from meshnode.gossip.effects import Effect, Level, Log
from meshnode.gossip.memberlist.memberlist import Memberlist
from meshnode.gossip.serf.member import Status
from meshnode.gossip.serf.state import Lifecycle, NodeState

__all__ = ["OwnJoins"]

#: Request numbers below zero are ours; the application's are zero and up.
_RECONNECT_REQUEST = -1
_REJOIN_REQUEST = -2


class OwnJoins:
    """At most one join of each kind is under way."""

    def __init__(self, state: NodeState, memberlist: Memberlist) -> None:
        self._state = state
        self._memberlist = memberlist
        self._reconnecting = False
        self._seeds: list[tuple[str, Address]] = []

    def rejoin(self, seeds: Iterable[tuple[str, Address]], now: float) -> list[Effect]:
        """Dial the members of a snapshot in random order until one answers."""
        self._seeds = [(name, address) for name, address in seeds if name != self._state.name]
        self._state.rng.shuffle(self._seeds)
        return self._rejoin_next(now)

    def reconnect(self, now: float) -> list[Effect]:
        """Dial a failed member now and then: each about once per interval over the whole cluster."""
        state = self._state
        failed = state.members.with_status(Status.FAILED)
        if not failed or self._reconnecting or state.lifecycle is not Lifecycle.ALIVE:
            return []
        if state.rng.random() > len(failed) / max(state.members.num_present(), 1):
            return []
        member = state.rng.choice(failed)
        self._reconnecting = True
        text = f"serf: trying to reconnect to {member.name} at {member.address}"
        return [Log(Level.INFO, text), *self._memberlist.join(_RECONNECT_REQUEST, [member.address], now)]

    def finished(self, request: int, joined: int, now: float) -> list[Effect]:
        """A join of ours (``request`` below zero) is over."""
        if request == _RECONNECT_REQUEST:
            self._reconnecting = False
            return []
        if joined:
            self._seeds.clear()
            return [Log(Level.INFO, "serf: rejoined through a member of the snapshot")]
        if not self._seeds:
            return [self._state.warn("could not rejoin through any member of the snapshot")]
        return self._rejoin_next(now)

    def _rejoin_next(self, now: float) -> list[Effect]:
        if not self._seeds:
            return []
        name, address = self._seeds.pop()
        text = f"serf: trying to rejoin through {name} at {address}"
        return [Log(Level.INFO, text), *self._memberlist.join(_REJOIN_REQUEST, [address], now)]
