"""What a yamux session asks of its shell (imperative) and tells it (past tense). All are values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from meshnode.base.errors import MeshError

__all__ = [
    "DataReceived",
    "Effect",
    "GoAwayReceived",
    "KeepAliveDue",
    "PongOverdue",
    "PongReceived",
    "Send",
    "SessionClosed",
    "SetTimer",
    "StreamEnded",
    "StreamId",
    "StreamOpened",
    "StreamReset",
    "Timer",
]

StreamId = NewType("StreamId", int)


@dataclass(frozen=True, slots=True)
class KeepAliveDue:
    """Time to ping the peer and to look for streams that never finished opening or closing."""


@dataclass(frozen=True, slots=True)
class PongOverdue:
    """The answer to this ping should have come by now."""

    ping: int


Timer = KeepAliveDue | PongOverdue


@dataclass(frozen=True, slots=True)
class Send:
    """Write bytes to the connection, before acting on any event that follows in the same list."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call ``handle_timer(timer, now)`` after ``delay`` seconds."""

    delay: float
    timer: Timer


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream: ``accept`` or ``reset`` it."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of a stream, in order. Give the credit back with ``consumed`` when they are used up."""

    stream: StreamId
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The peer will send no more on this stream; ours stays open until we close it."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The stream is gone, and what was queued for it."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The peer answered a ping after ``rtt`` seconds."""

    rtt: float


@dataclass(frozen=True, slots=True)
class GoAwayReceived:
    """The peer takes no new streams; those that exist go on."""


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The session is over: close the connection once what was sent is flushed. No effects follow."""

    error: MeshError


Effect = (
    Send
    | SetTimer
    | StreamOpened
    | DataReceived
    | StreamEnded
    | StreamReset
    | PongReceived
    | GoAwayReceived
    | SessionClosed
)
