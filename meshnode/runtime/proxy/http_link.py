"""What both ends of an HTTP connection have in common: streams, back-pressure, a bound on what waits."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, cast

from meshnode.l7.model import BodyReceived, Bounds, Event, MessageEnded, StreamFailed, WindowOpened
from meshnode.runtime.proxy.http_stream import HttpStream

__all__ = ["MAX_UNSENT_BYTES", "HttpLink"]

#: Bytes for a peer that does not take them, before it is given up: one whole window of every stream is less.
MAX_UNSENT_BYTES: Final = 8 * 1024 * 1024


class HttpLink(asyncio.Protocol, ABC):
    """What both sides have in common."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float]) -> None:
        self.bounds = bounds
        self.clock = clock
        self.transport: asyncio.Transport | None = None
        self.streams: dict[int, HttpStream] = {}
        self._full = False
        self._reading = True
        self.closed = False
        self.received_bytes = self.sent_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As :class:`asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        """As :class:`asyncio.Protocol`."""
        self._full = True

    def resume_writing(self) -> None:
        """As :class:`asyncio.Protocol`."""
        self._full = False
        self._wake_all()

    def _wake_all(self) -> None:
        for stream in list(self.streams.values()):
            stream.wake()

    def _common(self, event: Event) -> None:
        match event:
            case BodyReceived():
                stream = self.streams.get(event.stream)
                if stream is None or stream.failure is not None:
                    self._codec_consumed(event.stream, event.weight)
                else:
                    stream.push(event.data, event.weight)
            case MessageEnded():
                if (stream := self.streams.get(event.stream)) is not None:
                    stream.finish(event.trailers)
            case StreamFailed():
                if (stream := self.streams.get(event.stream)) is not None:
                    stream.fail(event.refusal)
            case WindowOpened():
                if event.stream == 0:
                    self._wake_all()
                elif (stream := self.streams.get(event.stream)) is not None:
                    stream.wake()
            case _:
                pass

    @abstractmethod
    def _codec_consumed(self, stream: int, weight: int) -> None:
        """So many bytes of a stream need no place any more."""

    def _write(self, data: bytes) -> None:
        transport = self.transport
        if not data or transport is None or transport.is_closing():
            return
        self.sent_bytes += len(data)
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            transport.abort()

    def _throttle(self, waiting: int) -> None:
        """Read no more of a connection without flow control of its own while too much waits."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if self._reading and waiting > self.bounds.max_waiting_bytes:
            self._reading = False
            transport.pause_reading()
        elif not self._reading and waiting <= self.bounds.max_waiting_bytes // 2:
            self._reading = True
            transport.resume_reading()
