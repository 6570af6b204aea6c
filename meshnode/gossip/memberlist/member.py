"""A node as one member knows it, and the rule by which news about it replaces what is known.

The order of claims is SWIM 4.2's with memberlist's additions: alive needs a newer incarnation, suspicion and death an
equal or newer one, and nothing but a newer alive brings a node back.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshnode.base.address import Address
from meshnode.gossip.memberlist.delegate import Peer
from meshnode.gossip.memberlist.messages import NodeState, State

__all__ = ["Member", "may_change_address", "supersedes"]

GONE = frozenset((State.DEAD, State.LEFT))


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of one node. Immutable, so a thousand simulated rosters can share it.

    ``addr`` is the IP address in the bytes its owner announced: peers compare those, so we pass them on unchanged.
    """

    peer: Peer
    addr: bytes
    incarnation: int
    state: State
    changed_at: float

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.peer.name

    @property
    def address(self) -> Address:
        """Where the node listens."""
        return self.peer.address

    @property
    def gone(self) -> bool:
        """Whether the node failed or left."""
        return self.state in GONE

    def to_node_state(self) -> NodeState:
        """The form that travels in push/pull."""
        peer = self.peer
        return NodeState(
            peer.name, self.addr, peer.address.port, peer.meta, self.incarnation, self.state, peer.versions
        )


def supersedes(known: tuple[State, int] | None, claim: tuple[State, int]) -> bool:
    """Whether ``claim`` (state, incarnation) changes what is ``known``; ``None`` is a node never heard of.

    A suspicion about a node that is already suspect changes nothing here: it is a confirmation
    (:class:`~meshnode.gossip.memberlist.suspicion.Suspicion`).
    """
    state, incarnation = claim
    if known is None:
        return state is State.ALIVE
    known_state, known_incarnation = known
    if state is State.ALIVE:
        return incarnation > known_incarnation
    if incarnation < known_incarnation:
        return False
    if state is State.SUSPECT:
        return known_state is State.ALIVE
    return known_state not in GONE


def may_change_address(known: Member, now: float, reclaim_time: float) -> bool:
    """Whether the name of ``known`` may come back under another address.

    A node that left gives its name up; one that failed does so after ``reclaim_time`` seconds, or never when that is 0.
    """
    if known.state is State.LEFT:
        return True
    return known.state is State.DEAD and 0 < reclaim_time < now - known.changed_at
