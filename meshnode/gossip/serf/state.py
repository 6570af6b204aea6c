"""What the parts of one Serf node share: clocks, members, buffers, queues, and the way events leave."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from meshnode.base.address import Address
from meshnode.gossip.effects import Effect, Level, Log, Notify
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.serf.broadcast_queue import OutgoingQueues
from meshnode.gossip.serf.config import SerfConfig
from meshnode.gossip.serf.coordinate import CoordinateClient
from meshnode.gossip.serf.events import MemberReaped, SerfEvent, SnapshotLine
from meshnode.gossip.serf.lamport import LamportClock
from meshnode.gossip.serf.members import MemberTable
from meshnode.gossip.serf.messages import Join, Message, serialize
from meshnode.gossip.serf.queries import QueryBuffer
from meshnode.gossip.serf.snapshot import Snapshot, SnapshotWriter
from meshnode.gossip.serf.user_events import EventBuffer

__all__ = ["Lifecycle", "NodeState", "Outgoing"]


class Lifecycle(Enum):
    """Where this node is in its own life."""

    ALIVE = "alive"
    LEAVING = "leaving"
    LEFT = "left"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for one node, sent once memberlist is done with the input at hand."""

    to: Address
    node: str
    message: bytes


class NodeState:
    """Data of one node; the few methods are those that every part needs."""

    def __init__(
        self,
        name: str,
        address: Address,
        tags: Mapping[str, str],
        config: SerfConfig,
        keyring: Keyring | None,
        rng: random.Random,
    ) -> None:
        self.name = name
        self.address = address
        self.tags = dict(tags)
        self.config = config
        self.keyring = keyring
        self.rng = rng
        self.lifecycle = Lifecycle.ALIVE
        self.clock = LamportClock()
        self.event_clock = LamportClock()
        self.query_clock = LamportClock()
        self.members = MemberTable(name)
        self.events = EventBuffer(config.event_buffer_size)
        self.queries = QueryBuffer(config.query_buffer_size)
        self.queues = OutgoingQueues(config.memberlist.retransmit_mult, config.max_queue_depth)
        self.coordinates = CoordinateClient(name, rng) if config.coordinates else None
        self.snapshot: SnapshotWriter | None = None
        self.outgoing: list[Outgoing] = []
        #: Joins under way that want no events from before them.
        self.joins_ignoring_past: set[int] = set()

    def restore(self, previous: Snapshot) -> None:
        """Continue from a snapshot: clocks go on, and what they already saw is not delivered again."""
        self.clock.witness(previous.clock)
        self.event_clock.witness(previous.event_clock)
        self.query_clock.witness(previous.query_clock)
        self.events.min_time = previous.event_clock + 1
        self.queries.min_time = previous.query_clock + 1

    def notify(self, *events: SerfEvent) -> list[Effect]:
        """Report events upwards, each followed by the snapshot lines that it causes."""
        effects: list[Effect] = []
        for event in events:
            if isinstance(event, MemberReaped) and self.coordinates:
                for member in event.members:
                    self.coordinates.forget(member.name)
            effects.append(Notify(event))
            effects += self.record(event)
        return effects

    def record(self, event: object) -> list[Effect]:
        """Snapshot lines that ``event`` causes, without reporting the event itself."""
        if self.snapshot is None:
            return []
        return self.snapshot_lines(self.snapshot.record(event))

    def snapshot_clock(self) -> list[Effect]:
        """The snapshot line of the member clock, when it moved."""
        return (
            [] if self.snapshot is None else self.snapshot_lines(self.snapshot.clock_ticked(self.clock.time))
        )

    def snapshot_lines(self, lines: Iterable[str]) -> list[Effect]:
        """Ask for lines to be appended to the snapshot."""
        return [Notify(SnapshotLine(line)) for line in lines]

    def broadcast_intent(self, message: Message) -> str:
        """Queue a join or leave for everybody; return its token."""
        return self.queues.intents.queue(serialize(message))

    def announce_join(self, now: float) -> None:
        """Say that we are here as of now: after a join, and to refute a leave that isn't ours."""
        message = Join(self.clock.time, self.name)
        self.clock.witness(message.ltime)
        self.members.join_intent(self.name, message.ltime, now)
        self.broadcast_intent(message)

    def send(self, to: Address, node: str, message: bytes) -> None:
        """Send ``message`` to one node when the input at hand has been dealt with."""
        self.outgoing.append(Outgoing(to, node, message))

    def warn(self, message: str) -> Effect:
        """A log line at warning level."""
        return Log(Level.WARN, f"serf: {message}")
