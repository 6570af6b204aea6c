"""The bounds and times of a yamux session."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = [
    "ACCEPT_BACKLOG",
    "MAX_SENT_FRAME_BYTES",
    "MAX_SESSION_QUEUE_BYTES",
    "MAX_STREAMS",
    "MAX_STREAM_QUEUE_BYTES",
    "Limits",
    "Role",
]

#: Streams opened and not yet accepted, each way; the other end resets the next one (yamux ``AcceptBacklog``).
ACCEPT_BACKLOG: Final = 256
#: Streams that a peer may have open at once. Consul sets none; each costs us about 1 KiB.
MAX_STREAMS: Final = 4096
#: Bytes that wait for the windows of the peer: for one stream (a body of 32 MiB fits), and for all of them.
MAX_STREAM_QUEUE_BYTES: Final = 33 * 1024 * 1024
MAX_SESSION_QUEUE_BYTES: Final = 128 * 1024 * 1024
#: Payload of the data frames that we send: small enough that streams take turns.
MAX_SENT_FRAME_BYTES: Final = 64 * 1024


class Role(Enum):
    """Who opened the connection: the client numbers its streams odd, the server even."""

    CLIENT = 1
    SERVER = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and times (seconds) of a session; the times are yamux's defaults."""

    accept_backlog: int = ACCEPT_BACKLOG
    max_streams: int = MAX_STREAMS
    max_stream_queue_bytes: int = MAX_STREAM_QUEUE_BYTES
    max_session_queue_bytes: int = MAX_SESSION_QUEUE_BYTES
    keep_alive_interval: float = 30.0
    pong_timeout: float = 10.0
    #: An open without an answer ends the session; a close without one resets the stream. Looked at every keep-alive.
    stream_open_timeout: float = 75.0
    stream_close_timeout: float = 300.0
