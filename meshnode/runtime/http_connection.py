"""One HTTP/1.x connection: requests in, answers out, in order, within bounds.

A request whose handler answers at once is answered inside ``data_received``; only a handler that is a generator gets
a task. While one runs, or while the client does not read, nothing further is parsed: bytes wait in a bounded backlog.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from time import perf_counter
from typing import Final, cast

from meshnode.http.message import Request, Response, StreamResponse
from meshnode.http.redact import loggable_target
from meshnode.http.render import BODYLESS
from meshnode.runtime.http_exchange import INTERNAL_ERROR, Exchange, report_bug
from meshnode.runtime.http_host import Host, log
from meshnode.runtime.http_reader import Parsed, Phase, RequestReader

__all__ = ["HttpConnection"]

#: Bytes given to the parser at once: bounds how many requests can be parsed before the first is answered.
PARSE_SLICE_BYTES: Final = 8 * 1024
#: Unparsed bytes that may wait behind an answer before reading stops.
MAX_BACKLOG_BYTES: Final = 64 * 1024
#: Answers of one read that are joined into one write.
MAX_JOINED_BYTES: Final = 64 * 1024
#: Seconds that a client has to read a refusal before the connection is torn down.
LINGER_TIMEOUT: Final = 2.0
#: First byte of a TLS record that carries a handshake (RFC 8446 5.1).
TLS_HANDSHAKE_BYTE: Final = 0x16


class HttpConnection(asyncio.Protocol):
    """The asyncio protocol of one client."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.deadline = math.inf
        self.reader = RequestReader(host.limits.max_header_bytes, host.api.max_body_bytes)
        self._client = ""
        self._transport = cast(asyncio.Transport, None)  # there is one before anything else happens
        self._fresh = True
        self._seen: tuple[int, Phase] | None = (0, Phase.IDLE)
        self._queue: deque[Parsed] = deque()
        self._backlog = bytearray()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._exchange: Exchange | None = None
        self._paused: asyncio.Event | None = None
        self._reading = True
        self._eof = False
        self._ended = False

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected, or (below TLS) is about to shake hands."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.reader.remote = "a unix socket"
        if isinstance(peer, tuple):
            self._client = str(peer[0])
            self.reader.remote = f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
        refusal = self._host.admit(self, self._client)
        if refusal:
            log.warning("refused a connection from %s: %s", self.reader.remote, refusal)
            self._respond(Parsed(Request("", "")), Response.text(503, f"Service unavailable: {refusal}"))
            self._flush()
            self._close()
        else:
            self.deadline = self._host.now + self._host.limits.header_timeout

    def data_received(self, data: bytes) -> None:
        """Bytes came: parse them, unless something must be answered first."""
        if self._fresh:
            self._fresh = False
            if data[0] == TLS_HANDSHAKE_BYTE and not self.reader.secure:
                log.warning(
                    "%s spoke TLS to a plain HTTP port: use http:// there, or the port of ports.https",
                    self.reader.remote,
                )
                self._close()
                return
        if self._exchange is None and self._paused is None and not self._queue and not self._ended:
            self._feed(data)
            self._settle()
        elif not self._ended:
            self._backlog += data
            if len(self._backlog) > MAX_BACKLOG_BYTES and self._reading:
                self._reading = False
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more: give up a wait, finish everything else."""
        self._eof = True
        if self._exchange is not None:
            self._exchange.client_gone(for_good=False)
        return self._exchange is not None or bool(self._queue or self._backlog)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._host.dismiss(self, self._client)
        self._ended = True
        self.deadline = math.inf
        self._queue.clear()
        self._backlog.clear()
        if self._exchange is not None:
            self._exchange.client_gone(for_good=True)
        if self._paused is not None:
            self._paused.set()

    def pause_writing(self) -> None:
        """The client doesn't read as fast as we write."""
        self._paused = asyncio.Event()
        self.deadline = self._host.now + self._host.limits.write_timeout

    def resume_writing(self) -> None:
        """The client has read."""
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.set()
        if self._exchange is not None:
            self.deadline = math.inf
        else:
            self._advance()

    # the host's side

    def expire(self) -> None:
        """A deadline passed; see :class:`HttpLimits`."""
        phase = self.reader.phase
        if self._ended or self._paused is not None:
            self.abort()
        elif phase is Phase.IDLE:
            self._close()
        else:
            what = "head" if phase is Phase.HEAD else "body"
            log.info("%s did not finish the %s of a request in time", self.reader.remote, what)
            reason = f"Request timeout: the {what} of the request did not arrive in time"
            self._refuse(Response.text(408, reason))

    def shut(self) -> None:
        """The server stops: an answer in progress is finished, nothing further is read."""
        if self._exchange is not None:
            self._exchange.interrupt()
        elif self.reader.phase is Phase.IDLE and not self._queue and self._paused is None:
            self._close()

    def abort(self) -> None:
        """Close at once, whatever is unsent or in progress."""
        self._ended = True
        if self._exchange is not None:
            self._exchange.cancel()
        self._transport.abort()

    # requests

    def _feed(self, data: bytes) -> None:
        """Parse slice by slice; stop, and keep the rest, where an answer must come first."""
        if len(data) <= PARSE_SLICE_BYTES:
            for parsed in self.reader.feed(data):
                self._take(parsed)
            return
        for offset in range(0, len(data), PARSE_SLICE_BYTES):
            if self._exchange is not None or self._paused is not None or self._queue:
                self._backlog += data[offset:]
                return
            for parsed in self.reader.feed(data[offset : offset + PARSE_SLICE_BYTES]):
                self._take(parsed)
            if self._ended:
                return

    def _take(self, parsed: Parsed) -> None:
        if self._ended:
            return
        if self._exchange is not None or self._paused is not None or self._queue:
            self._queue.append(parsed)
        else:
            self._start(parsed)

    def _start(self, parsed: Parsed) -> None:
        if parsed.refusal is not None:
            log.info(
                "%s sent what is no acceptable request: %s", self.reader.remote, parsed.refusal.body.decode()
            )
            self._refuse(parsed.refusal)
            return
        started = perf_counter()
        try:
            outcome = self._host.api.handle(parsed.request)
            if type(outcome) is Response:
                self._respond(parsed, outcome, started)
                return
        except Exception as error:  # noqa: BLE001 - a bug in one handler must not end the connection
            report_bug(parsed.request, error)
            self._respond(parsed, INTERNAL_ERROR, started)
            return
        assert not isinstance(outcome, Response)
        self._flush()
        self.deadline = math.inf
        self._exchange = Exchange(self._host, self, parsed, outcome)

    def _refuse(self, response: Response) -> None:
        """Answer what was no request; then wait a little for the client to read that before closing."""
        self._respond(Parsed(Request("", "")), response)
        self._flush()
        self._end()
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self.deadline = self._host.now + LINGER_TIMEOUT
        else:
            self._transport.close()

    def _advance(self) -> None:
        """Go on with what waits: parsed requests first, then bytes."""
        self._seen = None
        while self._exchange is None and self._paused is None and not self._ended:
            if self._queue:
                self._start(self._queue.popleft())
            elif self._backlog:
                data = bytes(self._backlog)
                self._backlog.clear()
                self._feed(data)
            else:
                break
        self._settle()

    def _settle(self) -> None:
        """After every step: send what is ready, set the deadline, read on or close."""
        if self._out:
            self._flush()
        if self._ended or self._exchange is not None or self._paused is not None:
            return
        host, reader = self._host, self.reader
        if reader.continue_due:
            reader.continue_due = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._eof:
            self._close()
            return
        if host.stopping and reader.phase is Phase.IDLE:
            self._close()
            return
        if (reader.begun, reader.phase) != self._seen:
            # Only progress buys time: neither one more byte of a head nor empty lines between requests do.
            self._seen = (reader.begun, reader.phase)
            # No table: an enumeration's hash is worked out in Python, and this is done for each request.
            limits, phase = host.limits, reader.phase
            if phase is Phase.IDLE:
                self.deadline = host.now + limits.idle_timeout
            else:
                self.deadline = host.now + (
                    limits.header_timeout if phase is Phase.HEAD else limits.body_timeout
                )
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    # answers

    def _respond(self, parsed: Parsed, response: Response, started: float = 0.0) -> None:
        request, host, body = parsed.request, self._host, response.body
        keep_alive = parsed.keep_alive and not host.stopping
        head = host.api.heads.render(response.status, response.content_type, response.headers)
        if not keep_alive:
            head += b"Connection: close\r\n"
        elif parsed.http10:
            head += b"Connection: keep-alive\r\n"
        if response.status in BODYLESS:
            data = b"%b%b\r\n" % (head, host.date)
        elif request.method == "HEAD":
            data = b"%b%bContent-Length: %d\r\n\r\n" % (head, host.date, len(body))
        else:
            data = b"%b%bContent-Length: %d\r\n\r\n%b" % (head, host.date, len(body), body)
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes > MAX_JOINED_BYTES:
            self._flush()
        if started:
            self._record(request, response.status, perf_counter() - started)
        if not keep_alive and request.method:
            self._flush()
            self._close()

    def _record(self, request: Request, status: int, seconds: float) -> None:
        self._host.api.observe(request, seconds * 1000)
        if log.isEnabledFor(logging.DEBUG):
            target = loggable_target(request.path, request.raw_query)
            log.debug(
                "Request %s %s %d (%.3fms) from=%s",
                request.method,
                target,
                status,
                seconds * 1000,
                request.remote,
            )

    def _flush(self) -> None:
        if self._out:
            out, self._out, self._out_bytes = self._out, [], 0
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _end(self) -> None:
        self._ended = True
        self._queue.clear()
        self._backlog.clear()

    def _close(self) -> None:
        self._end()
        self._transport.close()

    # the side of an exchange

    def send_answer(self, parsed: Parsed, answer: Response, started: float) -> None:
        """Send a complete answer."""
        if not self._ended:
            self._respond(parsed, answer, started)

    def send_head(self, parsed: Parsed, answer: StreamResponse, started: float) -> bool:
        """Send the head of a stream; whether its pieces must be framed as chunks."""
        if self._ended:
            return False
        chunked = not parsed.http10
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        if not (chunked and parsed.keep_alive):
            framing += b"Connection: close\r\n"
        head = self._host.api.heads.render(answer.status, answer.content_type, answer.headers)
        self._transport.write(b"%b%b%b\r\n" % (head, self._host.date, framing))
        self._record(parsed.request, answer.status, perf_counter() - started)
        return chunked

    async def send_piece(self, piece: bytes) -> None:
        """Send bytes and wait until the client takes more; raises :class:`ConnectionError` when it is gone."""
        if self._ended:
            raise ConnectionResetError("the client is gone")
        self._transport.write(piece)
        if self._paused is not None:
            await self._paused.wait()

    def exchange_ended(self, *, complete: bool) -> None:
        """The exchange is over; unless it was ``complete``, so is the connection."""
        self._exchange = None
        if self._ended:
            return
        if complete:
            self._advance()
        else:
            self._flush()
            self._close()
