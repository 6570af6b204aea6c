"""HTTP messages of either version as values, and what a connection says of them.

Names of fields are in lower case; values are bytes as they came, without space around them. RFC 9110 3, 5, 6.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from meshnode.base.errors import RemoteProtocolError

__all__ = [
    "HTTP_1_0",
    "HTTP_1_1",
    "HTTP_2",
    "NO_WINDOW",
    "BodyReceived",
    "Bounds",
    "Codec",
    "ConnectionFailed",
    "Event",
    "Fields",
    "InterimReceived",
    "MessageEnded",
    "Output",
    "PeerLeaving",
    "RefusalError",
    "RequestHead",
    "RequestReceived",
    "RequestRefused",
    "ResponseHead",
    "ResponseReceived",
    "StreamFailed",
    "WindowOpened",
]

HTTP_1_0: Final = "HTTP/1.0"
HTTP_1_1: Final = "HTTP/1.1"
HTTP_2: Final = "HTTP/2"

#: In the order sent, a name as often as it came.
Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]


class RefusalError(RemoteProtocolError):
    """What was received is not passed on. ``status`` and ``str()``, a sentence, are what its sender is told.

    ``detail`` is for the log: what the sender has no business to know.
    """

    def __init__(self, status: int, because: str, detail: str = "") -> None:
        super().__init__(because)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one message, and of HTTP/2 connections. Precedents: nginx takes 32 KiB of head, Envoy 60 KiB."""

    #: Start line and fields of a head, or all trailers.
    max_head_bytes: int = 64 * 1024
    max_fields: int = 256
    #: Body of a request; 0: no bound, since nothing of it is kept.
    max_body_bytes: int = 0
    #: Body bytes that wait for the other side, a stream; more is not read from the socket.
    max_waiting_bytes: int = 64 * 1024
    #: Requests at once on one HTTP/2 connection.
    max_streams: int = 100


@dataclass(frozen=True, slots=True)
class RequestHead:
    """``fields`` end to end only, ``host`` not among them. ``path`` is in origin form with its query, or ``*``.

    ``upgrade`` is the one protocol that the client offers to change to (``websocket``), if it does.
    """

    method: str
    scheme: str
    authority: str
    path: str
    fields: Fields
    version: str = HTTP_1_1
    upgrade: str = ""

    def value(self, name: bytes) -> bytes:
        """Of the field ``name``, the first if there are several; empty when there is none."""
        return next((value for known, value in self.fields if known == name), b"")


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """``fields`` end to end only. 1xx is interim; 101 begins a tunnel."""

    status: int
    fields: Fields = ()


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """``ended``: it has no body."""

    stream: int
    head: RequestHead
    ended: bool


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """It can't be passed on: answer with the status and close, since what comes next may be read in two ways."""

    stream: int
    refusal: RefusalError


@dataclass(frozen=True, slots=True)
class InterimReceived:
    """100, 102, 103: a further response follows."""

    stream: int
    head: ResponseHead


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """The final one, or 101."""

    stream: int
    head: ResponseHead
    ended: bool


@dataclass(frozen=True, slots=True)
class BodyReceived:
    """``weight`` is what it counts for in flow control, to be given back when it was passed on."""

    stream: int
    data: bytes
    weight: int = 0


@dataclass(frozen=True, slots=True)
class MessageEnded:
    """All of it was received."""

    stream: int
    trailers: Fields = ()


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """The message ends unfinished."""

    stream: int
    refusal: RefusalError


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """More may be sent on ``stream``, or on all (0)."""

    stream: int


@dataclass(frozen=True, slots=True)
class PeerLeaving:
    """No new stream is taken; those up to ``last`` are finished."""

    last: int


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """Nothing can be said any more on this connection, once the bytes to send were sent. Empty: it was just ended."""

    because: str


Event: TypeAlias = (
    RequestReceived
    | RequestRefused
    | InterimReceived
    | ResponseReceived
    | BodyReceived
    | MessageEnded
    | StreamFailed
    | WindowOpened
    | PeerLeaving
    | ConnectionFailed
)


#: What HTTP/1.1 has instead of flow control: the connection's own.
NO_WINDOW: Final = 2**31


class Codec(Protocol):
    """One side of one connection. Bytes to send gather until they are taken; ``now`` is monotonic seconds."""

    #: What the peer speaks.
    version: str

    def start(self) -> None:
        """Say what is said before any message."""
        ...

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What ``data`` means; empty ``data`` is the end of the peer's bytes. Never raises for what a peer sends."""
        ...

    def resume(self) -> list[Event]:
        """What had to wait for the end of the message before, or for the change of protocol."""
        ...

    def take_output(self) -> bytes:
        """Bytes to send now."""
        ...

    def window(self, stream: int) -> int:
        """How many bytes of body may be sent."""
        ...

    def consumed(self, stream: int, weight: int) -> None:
        """Body of that weight was passed on: the peer may send as much again."""
        ...

    def send_body(self, stream: int, data: bytes) -> None:
        """At most ``window(stream)`` bytes."""
        ...

    def end(self, stream: int, trailers: Fields = ()) -> None:
        """Nothing more is sent on the stream."""
        ...

    def reset(self, stream: int, *, calm: bool = False) -> None:
        """Give the stream up in the middle. ``calm``: everything was said, the rest is just not wanted."""
        ...

    def leave(self) -> None:
        """Take no further request; what is under way is finished."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the connection is to be closed once the output was sent."""
        ...


@dataclass(slots=True)
class Output:
    """Bytes that gather."""

    parts: list[bytes] = field(default_factory=list)

    def add(self, data: bytes | None) -> None:
        """Behind what is there."""
        if data:
            self.parts.append(data)

    def take(self) -> bytes:
        """All of it; nothing is left."""
        if not self.parts:
            return b""
        data = b"".join(self.parts)
        self.parts.clear()
        return data
