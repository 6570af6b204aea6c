"""One TCP connection of the DNS interface: queries and answers with their length before them (RFC 1035 4.2.2, 7766)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from meshnode.dns.message import HEADER_BYTES

__all__ = ["DnsConnection", "DnsLimits", "StreamHost"]

_LENGTH_BYTES: Final = 2


class DnsLimits(Protocol):
    """The bounds that a connection keeps to; times in seconds."""

    @property
    def idle_timeout(self) -> float:
        """How long a connection may be without a whole query."""

    @property
    def max_pipelined(self) -> int:
        """Queries of one connection in progress; further ones wait unread."""


class StreamHost(Protocol):
    """What a connection needs of the server."""

    @property
    def limits(self) -> DnsLimits:
        """The bounds."""

    def admit(self, connection: DnsConnection) -> bool:
        """Take a connection on the roll, unless there are too many."""

    def dismiss(self, connection: DnsConnection) -> None:
        """Strike an ended one off."""

    def stream_query(self, data: bytes, source: str, respond: Callable[[bytes], None]) -> None:
        """Answer a query through ``respond``, called once, now or later; with nothing when it gets no answer."""


class DnsConnection(asyncio.Protocol):
    """Reads queries, at most ``max_pipelined`` at a time; answers go out as they are ready, in any order."""

    def __init__(self, host: StreamHost) -> None:
        self._host = host
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._source = ""
        self._pending = 0
        self._active = 0.0
        self._stuffed = False
        self._ending = False
        self._advancing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of ``asyncio.Protocol``, as those below."""
        # uvloop's transports have the methods of asyncio.Transport, and another ancestry.
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._source = peer[0] if peer else ""
        if not self._host.admit(self):
            self._transport.abort()
            return
        self._alive()
        self._watch(self._host.limits.idle_timeout)

    def data_received(self, data: bytes) -> None:
        """Queries, or parts of some."""
        self._buffer += data
        self._advance()

    def eof_received(self) -> bool:
        """The client sends no more: what is in progress is still answered."""
        self.shut()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """What is in progress is answered into nothing."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._host.dismiss(self)

    def pause_writing(self) -> None:
        """The client doesn't read its answers: no more queries are read."""
        self._stuffed = True
        self._throttle()

    def resume_writing(self) -> None:
        """It reads again."""
        self._stuffed = False
        self._advance()

    def shut(self) -> None:
        """Close, once what is in progress is answered."""
        self._ending = True
        self._advance()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _advance(self) -> None:
        if self._advancing:
            return
        self._advancing = True
        while not self._stuffed and self._pending < self._host.limits.max_pipelined:
            end = _LENGTH_BYTES + int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
            if len(self._buffer) >= _LENGTH_BYTES and end < _LENGTH_BYTES + HEADER_BYTES:
                # No DNS: millions of such messages fit into what a client sends in a second.
                self.abort()
                break
            if len(self._buffer) < end:
                break
            query = bytes(self._buffer[_LENGTH_BYTES:end])
            del self._buffer[:end]
            self._alive()
            self._pending += 1
            self._host.stream_query(query, self._source, self._respond)
        self._advancing = False
        if self._ending and not self._pending and self._transport is not None:
            self._transport.close()
        self._throttle()

    def _respond(self, answer: bytes) -> None:
        self._pending -= 1
        if self._transport is None:
            return
        if answer:
            self._transport.write(len(answer).to_bytes(_LENGTH_BYTES, "big") + answer)
        self._advance()

    def _throttle(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._stuffed or self._pending >= self._host.limits.max_pipelined:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _alive(self) -> None:
        self._active = asyncio.get_running_loop().time()

    def _watch(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        """Close what sent no whole query for too long; a client that reads no answers is cut off."""
        limits = self._host.limits
        left = self._active + limits.idle_timeout - asyncio.get_running_loop().time()
        if left > 0 or self._pending:
            self._watch(max(left, limits.idle_timeout / 4))
        elif self._transport is not None:
            if self._transport.get_write_buffer_size():
                self._transport.abort()
            else:
                self._transport.close()
