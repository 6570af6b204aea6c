"""One gossip TCP connection as asyncio sees it: bytes in, bytes out, and a limit to every wait."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from meshnode.base.address import Address
from meshnode.gossip.effects import StreamId

__all__ = ["GossipStream", "StreamOwner"]


class StreamOwner(Protocol):
    """What a stream tells the shell."""

    def stream_connected(self, stream: GossipStream) -> bool:
        """The connection is up; false refuses it."""

    def stream_received(self, stream: StreamId, data: bytes) -> None:
        """Bytes arrived."""

    def stream_lost(self, stream: GossipStream, error: str | None) -> None:
        """It is over: by the peer (``None``) or because of ``error``. Not called after ``close``."""


class GossipStream(asyncio.Protocol):
    """A connection that is aborted when nothing arrives, or nothing can be written, for ``timeout`` seconds."""

    def __init__(self, owner: StreamOwner, stream: StreamId, timeout: float) -> None:
        self.id = stream
        self.peer = Address("", 0)
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._timeout = timeout
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._last_progress = 0.0
        self._ended_by_us = False
        self._error: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock and report, or refuse."""
        # uvloop's transports have the methods without the base class.
        self._transport = stream = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        self.peer = Address(str(peer[0]).removeprefix("::ffff:"), int(peer[1]))
        self._touch()
        self._watch()
        if not self._owner.stream_connected(self):
            self._ended_by_us = True
            stream.abort()

    def data_received(self, data: bytes) -> None:
        """Hand the bytes on; the core bounds what it keeps of them."""
        self._touch()
        if not self._ended_by_us:
            self._owner.stream_received(self.id, data)

    def pause_writing(self) -> None:
        """The peer does not read: don't read from it either until it does."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._touch()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end unless it was our wish."""
        if self._deadline is not None:
            self._deadline.cancel()
        if not self.closed.done():
            self.closed.set_result(None)
        error = self._error or (str(exc) or type(exc).__name__ if exc is not None else None)
        self._owner.stream_lost(self, None if self._ended_by_us else error)

    @property
    def ended_by_us(self) -> bool:
        """Whether the core asked for the end, or the shell refused the stream: the core hears no more of it."""
        return self._ended_by_us

    def write(self, data: bytes) -> None:
        """Write; what the peer doesn't take at once is buffered, at most until the deadline."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Flush, then close; the deadline still holds for a peer that doesn't take the rest."""
        self._ended_by_us = True
        self._touch()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now, and quietly."""
        self._ended_by_us = True
        if self._transport is not None:
            self._transport.abort()

    def _touch(self) -> None:
        self._last_progress = asyncio.get_running_loop().time()

    def _watch(self) -> None:
        """Check the deadline; one timer per stream, moved on only when it fires."""
        loop = asyncio.get_running_loop()
        left = self._last_progress + self._timeout - loop.time()
        if left > 0:
            self._deadline = loop.call_later(left, self._watch)
            return
        self._error = f"nothing arrived for {self._timeout:g} s"
        if self._transport is not None:
            self._transport.abort()
