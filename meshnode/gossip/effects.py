"""What the gossip cores ask of their shell. Effects are imperative; the events in ``Notify`` are past tense.

A shell performs effects in the order given. It reports back through the core's ``handle_*`` methods and
never calls a core from two places at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

from meshnode.base.address import Address

__all__ = [
    "CloseStream",
    "Effect",
    "Level",
    "Log",
    "Notify",
    "OpenStream",
    "SendPacket",
    "SendStream",
    "SetTimer",
    "StreamId",
]

#: Names one TCP stream between a core and its shell; the core numbers those it opens (even), the shell those
#: it accepts (odd), so both can allocate without asking the other.
StreamId = NewType("StreamId", int)


class Level(IntEnum):
    """Severity of a log line."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4


@dataclass(frozen=True, slots=True)
class SendPacket:
    """Send one UDP datagram."""

    to: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call ``handle_timer(timer, now)`` after ``delay`` seconds. Timers are values and are never cancelled."""

    delay: float
    timer: object


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Open a TCP connection, then call ``handle_stream_opened`` or ``handle_stream_closed(stream, error)``.

    ``timeout`` (seconds) bounds the dial and every later wait for bytes from the peer.
    """

    stream: StreamId
    to: Address
    timeout: float


@dataclass(frozen=True, slots=True)
class SendStream:
    """Write bytes to an open stream."""

    stream: StreamId
    data: bytes


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Flush what was written, then close. No ``handle_stream_closed`` follows for a stream closed this way."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the layer above that something happened."""

    event: object


@dataclass(frozen=True, slots=True)
class Log:
    """Write a line to the agent's log; ``message`` never holds a secret."""

    level: Level
    message: str


Effect = SendPacket | SetTimer | OpenStream | SendStream | CloseStream | Notify | Log
