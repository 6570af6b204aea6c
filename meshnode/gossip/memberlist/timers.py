"""Timers that memberlist arms. They are values that say what they were armed for; a stale one does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from meshnode.gossip.effects import StreamId

__all__ = [
    "GossipTick",
    "LeaveTimeout",
    "ProbeDeadline",
    "ProbeTick",
    "ProbeTimeout",
    "PushPullTick",
    "RelayTimeout",
    "StreamTimeout",
    "SuspicionTimeout",
    "Timer",
]


@dataclass(frozen=True, slots=True)
class ProbeTick:
    """Time to probe the next member."""


@dataclass(frozen=True, slots=True)
class ProbeTimeout:
    """The direct ping of this number had its time."""

    seq_no: int


@dataclass(frozen=True, slots=True)
class ProbeDeadline:
    """The whole probe of this number had its time."""

    seq_no: int


@dataclass(frozen=True, slots=True)
class RelayTimeout:
    """The ping that we sent for somebody else had its time."""

    seq_no: int


@dataclass(frozen=True, slots=True)
class GossipTick:
    """Time to gossip."""


@dataclass(frozen=True, slots=True)
class PushPullTick:
    """Time to exchange complete state with somebody."""


@dataclass(frozen=True, slots=True)
class SuspicionTimeout:
    """The suspicion about ``node`` that began at ``started_at`` may have run out."""

    node: str
    started_at: float


@dataclass(frozen=True, slots=True)
class StreamTimeout:
    """The stream had its time."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class LeaveTimeout:
    """The departure had its time."""


Timer = (
    ProbeTick
    | ProbeTimeout
    | ProbeDeadline
    | RelayTimeout
    | GossipTick
    | PushPullTick
    | SuspicionTimeout
    | StreamTimeout
    | LeaveTimeout
)
