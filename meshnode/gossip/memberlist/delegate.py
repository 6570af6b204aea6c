"""The seam between memberlist and the application on top of it (Serf), in both directions as plain calls.

Memberlist calls these methods synchronously while it handles an input; the effects that they return are
appended to its own. None of them may call back into memberlist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from meshnode.base.address import Address
from meshnode.gossip.effects import Effect

__all__ = ["Delegate", "Peer"]


@dataclass(frozen=True, slots=True)
class Peer:
    """A node as memberlist knows it.

    ``meta`` is the application's opaque metadata (Serf: encoded tags), at most 512 bytes. ``versions`` are
    protocol min, max, current and delegate min, max, current, in memberlist's order.
    """

    name: str
    address: Address
    meta: bytes
    versions: tuple[int, int, int, int, int, int]


class Delegate(Protocol):
    """What memberlist needs from the application."""

    def node_meta(self) -> bytes:
        """Metadata to announce for the local node, at most 512 bytes."""

    def handle_message(self, message: bytes, now: float) -> list[Effect]:
        """A user message (memberlist type 8 without its type byte) arrived by packet or by stream."""

    def broadcasts(self, overhead: int, limit: int) -> list[bytes]:
        """Messages to gossip now: total of ``len(message) + overhead`` at most ``limit`` bytes."""

    def local_state(self, joining: bool) -> bytes:
        """Application state to send in a push/pull exchange."""

    def merge_remote_state(self, state: bytes, joining: bool, now: float) -> list[Effect]:
        """Application state that a peer sent in a push/pull exchange."""

    def peer_joined(self, peer: Peer, now: float) -> list[Effect]:
        """``peer`` is alive and was not before (the local node included, once, at start)."""

    def peer_left(self, peer: Peer, failed: bool, now: float) -> list[Effect]:
        """``peer`` is gone: ``failed`` when it was declared dead, false when it announced its own departure."""

    def peer_updated(self, peer: Peer, now: float) -> list[Effect]:
        """``peer`` changed its metadata or its address."""

    def peer_conflict(self, existing: Peer, other: Peer, now: float) -> list[Effect]:
        """Another node claims the name of ``existing`` with another address."""

    def refuse_merge(self, peers: Sequence[Peer]) -> str:
        """Say why a push/pull with these peers is refused; the empty string accepts it."""

    def refuse_alive(self, peer: Peer) -> str:
        """Say why ``peer`` may not become a member; the empty string accepts it."""

    def ack_payload(self) -> bytes:
        """Bytes to attach to the acknowledgement of a ping (Serf: the local coordinate)."""

    def ping_completed(self, peer: Peer, rtt: float, payload: bytes, now: float) -> list[Effect]:
        """A direct ping of ``peer`` was acknowledged after ``rtt`` seconds with ``payload``."""
