"""A client's HTTP connection, of the version that its first bytes say: requests begin, are answered, or come too late.

What ends does so where the client can tell: a whole response, a refusal that says why, or a reset in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias, cast

from meshnode.l7.forward import answer
from meshnode.l7.http1_server import Http1Server
from meshnode.l7.http2 import PREFACE, Http2Server
from meshnode.l7.model import (
    HTTP_2,
    Bounds,
    ConnectionFailed,
    Event,
    Fields,
    RefusalError,
    RequestReceived,
    RequestRefused,
    ResponseHead,
    StreamFailed,
)
from meshnode.l7.timeouts import ConnectionClock, ExchangeClock, Timeouts
from meshnode.proxy.client_hello import TLS_ALERT_BYTES, TLS_HANDSHAKE
from meshnode.runtime.proxy.http_link import HttpLink
from meshnode.runtime.proxy.http_stream import HttpStream, ServerStream
from meshnode.runtime.tasks import spawn

__all__ = ["Handler", "ServerLink"]

#: Seconds that a client may go on sending what nobody reads, so that it gets to read our last answer.
LINGER: Final = 2.0
_LEFT: Final = "the client closed the connection"
_Codec: TypeAlias = Http1Server | Http2Server


class Handler(Protocol):
    """What a client's connection is served by."""

    def spawn_name(self, stream: ServerStream) -> str:
        """Of the task."""
        ...

    async def handle(self, link: ServerLink, stream: ServerStream) -> None:
        """Answer the request; never raises but when it is cancelled."""
        ...

    def refused(self, link: ServerLink, refusal: RefusalError) -> None:
        """A request that was none was answered."""
        ...

    def lost(self, link: ServerLink, kind: str, because: str) -> None:
        """The connection ended; ``kind`` is empty where nobody did anything wrong."""
        ...


class ServerLink(HttpLink):
    """``peer`` is the client's address with its port; ``handler`` gets its requests."""

    def __init__(
        self,
        handler: Handler,
        bounds: Bounds,
        timeouts: Timeouts,
        clock: Callable[[], float],
        *,
        peer: str,
        scheme: str,
    ) -> None:
        super().__init__(bounds, clock)
        self._handler = handler
        self._timeouts = timeouts
        self.peer = peer
        self.scheme = scheme
        #: SPIFFE ID of who is there, and its certificate in Envoy's words; its number in the ledger.
        self.source = ""
        self.certificate = ""
        self.number = 0
        self._codec: Http1Server | Http2Server | None = None
        self._first = b""
        self._times = ConnectionClock(timeouts, clock())
        self._lingering_since: float | None = None
        self._cause = ("", "")
        self._leaving = False
        self._flushing = False

    @property
    def exchanges(self) -> list[ServerStream]:
        """The requests under way."""
        return [cast(ServerStream, stream) for stream in self.streams.values()]

    # Receiving

    def data_received(self, data: bytes) -> None:
        """As :class:`asyncio.Protocol`."""
        if self._lingering_since is not None or self.closed:
            return
        self.received_bytes += len(data)
        if self._codec is None:
            self._first += data
            if len(self._first) < len(PREFACE) and PREFACE.startswith(self._first):
                self._times.head_began(self.clock())
                return
            data = self._choose()
            if self._codec is None:
                return
        self._handle(self._codec.receive(data, self.clock()))

    def _choose(self) -> bytes:
        """The codec that the first bytes are of; they are returned."""
        data, self._first = self._first, b""
        if data[0] == TLS_HANDSHAKE and self.scheme == "http":
            self._write(TLS_ALERT_BYTES)
            self._close("tls", "it speaks TLS, and this port is plain HTTP: use http")
            return b""
        of = Http2Server if data.startswith(PREFACE) else Http1Server
        self._codec = of(self.bounds, scheme=self.scheme)
        if of is Http2Server:
            # Who has said that much is no stranger that says nothing: it has the time of a connection between requests.
            self._times.idle(self.clock())
        self._codec.start()
        if self._leaving:
            self._codec.leave()
        return data

    def eof_received(self) -> bool:
        """As :class:`asyncio.Protocol`: who has said everything may still want to read."""
        if self._codec is None or self._lingering_since is not None:
            return False
        self._handle(self._codec.receive(b"", self.clock()))
        # The transport is closed when this returns, unless somebody is still to be answered.
        self._flush_now()
        return bool(self.streams)

    def connection_lost(self, exc: Exception | None) -> None:
        """As :class:`asyncio.Protocol`."""
        self.closed = True
        for stream in list(self.streams.values()):
            stream.fail(RefusalError(499, _LEFT))
        self.streams.clear()
        self._handler.lost(self, *self._cause)

    def _handle(self, events: list[Event]) -> None:
        codec = self._codec
        if codec is None:
            return
        for event in events:
            match event:
                case RequestReceived():
                    self._begin(event)
                case RequestRefused():
                    self._refuse(event)
                case StreamFailed():
                    self._fail(event)
                case ConnectionFailed():
                    self._cause = ("protocol" if event.because else "", event.because)
                    for stream in list(self.streams.values()):
                        stream.fail(RefusalError(499, event.because or _LEFT))
                    self.streams.clear()
                case _:
                    self._common(event)
        if codec.in_head:
            self._times.head_began(self.clock())
        self._flush()

    def _begin(self, event: RequestReceived) -> None:
        self._times.busy()
        times = ExchangeClock(self._timeouts, self.clock())
        stream = ServerStream(self, event.stream, event.head, times, ended=event.ended)
        self.streams[event.stream] = stream
        stream.task = spawn(self._handler.handle(self, stream), name=self._handler.spawn_name(stream))

    def _refuse(self, event: RequestRefused) -> None:
        head, body = answer(event.refusal)
        codec = cast(_Codec, self._codec)
        codec.send_head(event.stream, head, ended=False)
        if codec.version == HTTP_2:
            codec.send_body(event.stream, body)
            codec.end(event.stream)
            codec.reset(event.stream, calm=True)
        else:
            self._write(codec.take_output() + body)
        self._handler.refused(self, event.refusal)

    def _fail(self, event: StreamFailed) -> None:
        stream = self.streams.get(event.stream)
        if stream is None:
            return
        if cast(_Codec, self._codec).version != HTTP_2:
            self.answer(cast(ServerStream, stream), event.refusal)
        stream.fail(event.refusal)

    # Sending

    def room(self, stream: int) -> int:
        """Bytes of body that may be sent now."""
        return 0 if self._full or self._codec is None else self._codec.window(stream)

    def consumed(self, stream: HttpStream, weight: int) -> None:
        """A piece was passed on."""
        self._codec_consumed(stream.number, weight)
        self._flush()

    def _codec_consumed(self, stream: int, weight: int) -> None:
        if self._codec is not None:
            self._codec.consumed(stream, weight)

    def send_body(self, stream: int, data: bytes) -> None:
        """A piece of a response."""
        if self._codec is not None:
            self._codec.send_body(stream, data)
            self._flush()

    def send_interim(self, stream: int, head: ResponseHead) -> None:
        """A 1xx that is not 101."""
        if self._codec is not None:
            self._codec.send_interim(stream, head)
            self._flush()

    def send_head(self, stream: ServerStream, head: ResponseHead, *, ended: bool) -> None:
        """A response, or a 101."""
        codec = self._codec
        if codec is None:
            return
        codec.send_head(stream.number, head, ended=ended)
        if ended:
            self._ended(stream)
        elif head.status == 101:
            self._handle(codec.resume())
        else:
            self._flush()

    def end(self, stream: ServerStream, trailers: Fields = ()) -> None:
        """A response is whole."""
        if self._codec is not None:
            self._codec.end(stream.number, trailers)
            self._ended(stream)

    def _ended(self, stream: ServerStream) -> None:
        codec = cast(_Codec, self._codec)
        self.streams.pop(stream.number, None)
        if not stream.over and codec.version == HTTP_2:
            codec.reset(stream.number, calm=True)
        if not self.streams:
            self._times.idle(self.clock())
        self._handle(codec.resume())

    def forget(self, stream: ServerStream) -> None:
        """Nobody works for it any more; what is unfinished of it was told."""
        if self.streams.pop(stream.number, None) is None or self._codec is None:
            return
        if not self.streams:
            self._times.idle(self.clock())
        self._flush()

    def answer(self, stream: ServerStream, refusal: RefusalError) -> None:
        """A response of ours; where one has begun already, or nobody listens, the end of the stream."""
        codec = self._codec
        if codec is None or stream.number not in self.streams:
            return
        if stream.status:
            self.give_up(stream)
            return
        head, body = answer(refusal, stream.head.method)
        stream.status = head.status
        if stream.head.method == "HEAD" or not body:
            self.send_head(stream, head, ended=True)
            return
        codec.send_head(stream.number, head, ended=False)
        stream.sent = len(body)
        if codec.version == HTTP_2 or not codec.finished:
            codec.send_body(stream.number, body)
            codec.end(stream.number)
            self._ended(stream)
        else:
            # The request can't be read to its end: what is said now is the last, as bytes.
            self.streams.pop(stream.number, None)
            self._write(codec.take_output() + body)
            self._flush()

    def give_up(self, stream: ServerStream) -> None:
        """End a stream in the middle, so that nobody takes what was sent for everything."""
        codec = self._codec
        if codec is None or self.streams.pop(stream.number, None) is None:
            return
        codec.reset(stream.number)
        if codec.version == HTTP_2:
            self._flush()
        elif self.transport is not None:
            self._write(codec.take_output())
            self.transport.abort()

    def _flush(self) -> None:
        """In the loop's next turn: a head, a body that is there and its end are one write, and one record of TLS."""
        self._hold_back()
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        codec = self._codec
        if codec is None:
            return
        self._write(codec.take_output())
        if codec.finished and not self.streams:
            self._linger()

    def _hold_back(self) -> None:
        """Where there is no flow control of HTTP's own."""
        codec = self._codec
        if codec is not None and codec.version != HTTP_2:
            self._throttle(codec.waiting + sum(stream.waiting for stream in self.streams.values()))

    # Ending

    def _linger(self) -> None:
        """Say that nothing more comes, and read on for a moment: a reset would take our last answer from the client."""
        transport = self.transport
        if self._lingering_since is not None or transport is None or transport.is_closing():
            return
        self._lingering_since = self.clock()
        if not self._reading:
            self._reading = True
            transport.resume_reading()
        with contextlib.suppress(OSError, RuntimeError):
            transport.write_eof()

    def _close(self, kind: str, because: str) -> None:
        self._cause = (kind, because)
        if self.transport is not None:
            self.transport.close()

    def leave(self) -> None:
        """Take no further request; close when everything is answered."""
        self._leaving = True
        if self._codec is None:
            self._close("", "")
        else:
            self._codec.leave()
            self._flush()

    def end_now(self, kind: str, because: str) -> None:
        """Cut it: every exchange ends in the middle."""
        self._cause = (kind, because)
        if self.transport is not None:
            self.transport.abort()

    def check(self, now: float) -> None:
        """Give up what is late at ``now``."""
        if self._lingering_since is not None:
            if now - self._lingering_since >= LINGER and self.transport is not None:
                self.transport.abort()
            return
        if not self.streams and (because := self._times.overdue(now)):
            self._time_out(because)
            return
        for stream in self.exchanges:
            if because := stream.clock.overdue(now):
                late = RefusalError(504 if stream.over else 408, f"the request was given up: {because}")
                self.answer(stream, late)
                stream.fail(late)

    def _time_out(self, because: str) -> None:
        if self._times.between_requests:
            self.leave()
            return
        if isinstance(self._codec, Http1Server) and self._codec.in_head:
            head, body = answer(RefusalError(408, because))
            self._codec.send_head(0, head, ended=False)
            self._write(self._codec.take_output() + body)
        self._close("header_timeout", because)
