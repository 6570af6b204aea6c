"""One yamux stream: its state as a table, its windows, and what waits for the peer's window to open."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from meshnode.rpc.yamux_effects import StreamId
from meshnode.rpc.yamux_frames import INITIAL_WINDOW_BYTES

__all__ = ["TRANSITIONS", "Cause", "State", "Stream"]


class State(Enum):
    """Where a stream is between SYN and the second FIN."""

    SYN_SENT = auto()
    SYN_RECEIVED = auto()
    ESTABLISHED = auto()
    LOCAL_CLOSED = auto()
    REMOTE_CLOSED = auto()
    CLOSED = auto()


class Cause(Enum):
    """What moves a stream on. A reset has no row: it removes the stream from any state."""

    ACK_RECEIVED = auto()
    ACCEPTED = auto()
    FIN_RECEIVED = auto()
    FIN_SENT = auto()


#: (state, cause) -> next state. What is not here is forbidden. A second ACK is tolerated, as every peer does.
TRANSITIONS: dict[tuple[State, Cause], State] = {
    (State.SYN_SENT, Cause.ACK_RECEIVED): State.ESTABLISHED,
    (State.SYN_SENT, Cause.FIN_RECEIVED): State.REMOTE_CLOSED,
    (State.SYN_SENT, Cause.FIN_SENT): State.LOCAL_CLOSED,
    (State.SYN_RECEIVED, Cause.ACCEPTED): State.ESTABLISHED,
    (State.SYN_RECEIVED, Cause.FIN_RECEIVED): State.REMOTE_CLOSED,
    (State.ESTABLISHED, Cause.ACK_RECEIVED): State.ESTABLISHED,
    (State.ESTABLISHED, Cause.FIN_RECEIVED): State.REMOTE_CLOSED,
    (State.ESTABLISHED, Cause.FIN_SENT): State.LOCAL_CLOSED,
    (State.LOCAL_CLOSED, Cause.ACK_RECEIVED): State.LOCAL_CLOSED,
    (State.LOCAL_CLOSED, Cause.FIN_RECEIVED): State.CLOSED,
    (State.REMOTE_CLOSED, Cause.ACK_RECEIVED): State.REMOTE_CLOSED,
    (State.REMOTE_CLOSED, Cause.ACCEPTED): State.REMOTE_CLOSED,
    (State.REMOTE_CLOSED, Cause.FIN_SENT): State.CLOSED,
}


class Stream:
    """The books of one stream. The session does the sums."""

    __slots__ = ("awaits_ack", "closing", "fin_at", "id", "opened_at", "owed", "queue", "queued_bytes",
                 "receive_window", "send_window", "state", "unaccepted")  # fmt: skip

    def __init__(self, stream_id: StreamId, *, ours: bool, now: float) -> None:
        self.id = stream_id
        self.state = State.SYN_SENT if ours else State.SYN_RECEIVED
        #: Ours, and the peer has not acknowledged it yet; the peer's, and we have not accepted it yet.
        self.awaits_ack = ours
        self.unaccepted = not ours
        self.opened_at = now
        #: When a keep-alive first saw that our FIN went out, for a peer that never sends its own.
        self.fin_at: float | None = None
        #: Bytes we may still send; bytes the peer may still send; bytes consumed but not credited yet.
        self.send_window = INITIAL_WINDOW_BYTES
        self.receive_window = INITIAL_WINDOW_BYTES
        self.owed = 0
        self.queue: deque[memoryview] = deque()
        self.queued_bytes = 0
        #: FIN waits behind the queue.
        self.closing = False

    def allows(self, cause: Cause) -> bool:
        """Whether ``cause`` has a row for the present state."""
        return (self.state, cause) in TRANSITIONS

    def move(self, cause: Cause) -> None:
        """Take the table's step; ``KeyError`` when it has none, so ask ``allows`` first."""
        self.state = TRANSITIONS[self.state, cause]

    def enqueue(self, data: bytes) -> None:
        """Put ``data`` behind what waits already."""
        self.queue.append(memoryview(data))
        self.queued_bytes += len(data)

    def next_chunk(self, max_bytes: int) -> memoryview | None:
        """Up to ``max_bytes`` from the head of the queue that the window allows; ``None`` when it allows none."""
        allowed = min(self.send_window, max_bytes)
        if not self.queue or allowed == 0:
            return None
        head = self.queue.popleft()
        chunk = head[:allowed]
        if len(chunk) < len(head):
            self.queue.appendleft(head[allowed:])
        self.queued_bytes -= len(chunk)
        self.send_window -= len(chunk)
        return chunk
