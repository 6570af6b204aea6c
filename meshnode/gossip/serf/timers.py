"""Serf's own timers; all others that reach ``Serf.handle_timer`` are memberlist's."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "LeaveProgress",
    "LeavePropagated",
    "PruneDue",
    "QueryDeadline",
    "ReapTick",
    "ReconnectTick",
    "SnapshotTick",
]


@dataclass(frozen=True, slots=True)
class ReapTick:
    """Forget members and intents that are too old."""


@dataclass(frozen=True, slots=True)
class ReconnectTick:
    """Maybe dial a failed member."""


@dataclass(frozen=True, slots=True)
class SnapshotTick:
    """Write the clock to the snapshot when it moved."""


@dataclass(frozen=True, slots=True)
class QueryDeadline:
    """Our query (Lamport time, id) has had its time."""

    ltime: int
    id: int


@dataclass(frozen=True, slots=True)
class PruneDue:
    """Forget a member that was asked to leave at ``ltime`` with a prune, unless it spoke up since."""

    name: str
    ltime: int


@dataclass(frozen=True, slots=True)
class LeaveProgress:
    """Look whether the leave intent (a queue token) went out; give up waiting at ``deadline``."""

    token: str
    deadline: float


@dataclass(frozen=True, slots=True)
class LeavePropagated:
    """The others had time to hear that we left."""
