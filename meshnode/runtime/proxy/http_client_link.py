"""A connection to an application, over which requests go one after another or side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from meshnode.l7.http1_client import Http1Client
from meshnode.l7.http2 import Http2Client
from meshnode.l7.model import (
    HTTP_2,
    Bounds,
    ConnectionFailed,
    Event,
    Fields,
    InterimReceived,
    PeerLeaving,
    RefusalError,
    RequestHead,
    ResponseReceived,
)
from meshnode.runtime.proxy.http_link import HttpLink
from meshnode.runtime.proxy.http_stream import ClientStream, HttpStream

__all__ = ["ClientLink"]


class ClientLink(HttpLink):
    """A connection to an application. ``on_idle(link)``: another exchange may begin; ``on_lost(link)``: never again."""

    def __init__(
        self,
        codec: Http1Client | Http2Client,
        bounds: Bounds,
        clock: Callable[[], float],
        *,
        on_idle: Callable[[ClientLink], None],
        on_lost: Callable[[ClientLink], None],
    ) -> None:
        super().__init__(bounds, clock)
        self._codec = codec
        self._on_idle = on_idle
        self._on_lost = on_lost
        self.idle_since = clock()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As :class:`asyncio.Protocol`."""
        super().connection_made(transport)
        self._codec.start()
        self._flush()

    @property
    def free(self) -> int:
        """How many exchanges may begin now."""
        return (
            0
            if self.closed or (self.transport is not None and self.transport.is_closing())
            else self._codec.room
        )

    def begin(self, head: RequestHead, *, ended: bool) -> ClientStream:
        """Send a request's head. Raises :class:`RefusalError` (502)."""
        number = self._codec.begin(head, ended=ended)
        stream = ClientStream(self, number, self._done, ended=ended)
        self.streams[number] = stream
        self._flush()
        return stream

    def data_received(self, data: bytes) -> None:
        """As :class:`asyncio.Protocol`."""
        self.received_bytes += len(data)
        self._handle(self._codec.receive(data, self.clock()))

    def eof_received(self) -> bool:
        """As :class:`asyncio.Protocol`."""
        self._handle(self._codec.receive(b"", self.clock()))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """As :class:`asyncio.Protocol`."""
        self.closed = True
        reason = f": {exc}" if exc is not None else ""
        for stream in list(self.streams.values()):
            if not stream.over:
                stream.fail(RefusalError(502, f"the application ended the connection{reason}"))
        self._on_lost(self)

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case InterimReceived() | ResponseReceived():
                    stream = self.streams.get(event.stream)
                    if stream is not None:
                        cast(ClientStream, stream).respond(event)
                case PeerLeaving():
                    for number in [number for number in self.streams if number > event.last]:
                        self.streams[number].fail(RefusalError(502, "the application takes no more requests"))
                case ConnectionFailed():
                    for stream in list(self.streams.values()):
                        stream.fail(
                            RefusalError(502, event.because or "the application ended the connection")
                        )
                case _:
                    self._common(event)
        self._flush()

    def room(self, stream: int) -> int:
        """Bytes of body that may be sent now."""
        return 0 if self._full else self._codec.window(stream)

    def consumed(self, stream: HttpStream, weight: int) -> None:
        """A piece was passed on."""
        self._codec_consumed(stream.number, weight)
        self._flush()

    def _codec_consumed(self, stream: int, weight: int) -> None:
        self._codec.consumed(stream, weight)

    def send_body(self, stream: int, data: bytes) -> None:
        """A piece of a request."""
        self._codec.send_body(stream, data)
        self._flush()

    def end(self, stream: int, trailers: Fields = ()) -> None:
        """A request is whole."""
        self._codec.end(stream, trailers)
        self._flush()

    def _done(self, stream: ClientStream) -> None:
        if self.streams.pop(stream.number, None) is None:
            return
        whole = stream.exhausted and stream.failure is None and stream.sent_all
        if not whole or (self._codec.version != HTTP_2 and not self._codec.room):
            self._codec.reset(stream.number)
        self.idle_since = self.clock()
        self._flush()
        if self.free:
            self._on_idle(self)

    def _flush(self) -> None:
        self._write(self._codec.take_output())
        if self._codec.version != HTTP_2:
            self._throttle(sum(stream.waiting for stream in self.streams.values()))
        if self._codec.finished and not self.streams and self.transport is not None:
            self.transport.close()

    def close(self) -> None:
        """Close it, whatever is under way."""
        if self.transport is not None:
            self.transport.close()
