"""One stream of a server: its requests, one at a time, and the bounds on what they hold."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshnode.base.address import Address
from meshnode.base.errors import LocalProtocolError, MeshError, RemoteProtocolError
from meshnode.rpc.codec import Request, RequestParser, Response, serialize_response
from meshnode.rpc.method import RpcError
from meshnode.rpc.yamux_effects import StreamId
from meshnode.runtime.tasks import spawn

if TYPE_CHECKING:
    from meshnode.runtime.rpc_server import _ServerConnection

__all__ = ["PeerInfo", "ServedStream"]

_log = logging.getLogger("meshnode.rpc")

#: Parts of requests that one connection may have on their way: two bodies of the largest size.
MAX_CONNECTION_BUFFERED_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """Who calls. ``certificate`` is DER, and verified; ``None`` when the server asks for none or there is no TLS."""

    address: Address
    tls_version: str
    cipher: str
    certificate: bytes | None

    @property
    def encrypted(self) -> bool:
        """Whether the call came over TLS."""
        return bool(self.tls_version)


class ServedStream:
    """A yamux stream, or (``stream`` is ``None``) the whole of a plain connection."""

    __slots__ = ("_connection", "_ended", "_owed", "_parser", "_stream", "_task", "_waiting")

    def __init__(self, connection: _ServerConnection, stream: StreamId | None) -> None:
        self._connection = connection
        self._stream = stream
        self._parser = RequestParser()
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._owed = 0
        self._ended = False

    @property
    def busy(self) -> bool:
        """A call is under way."""
        return self._task is not None

    def data(self, data: bytes) -> None:
        """Bytes arrived. While a call runs the peer gets no new credit, so what waits here is at most a window."""
        before = self._parser.buffered_bytes
        try:
            self._waiting.extend(self._parser.feed(data))
        except RemoteProtocolError as error:
            self._refuse(str(error))
            return
        finally:
            self._book(self._parser.buffered_bytes - before)
        options, server = self._connection.server.options, self._connection.server
        if self._connection.buffered_bytes > options.max_connection_buffered_bytes:
            self._refuse("its unfinished requests are over the bound of one connection")
            return
        if server.buffered_bytes > options.max_buffered_bytes:
            self._refuse("unfinished requests are over the bound of this server")
            return
        self._owed += len(data)
        if self._waiting and self._task is None:
            self._task = spawn(self._serve(), name=f"rpc call from {self._connection.peer}")
            self._connection.tasks.add(self._task)
            self._task.add_done_callback(self._connection.tasks.discard)
            if self._stream is None:
                self._connection.hold_reading(True)
        elif self._task is None:
            self._give_credit()

    def end(self) -> None:
        """The peer sends no more: close once what it asked for is answered."""
        self._ended = True
        if self._task is None:
            self._finish()

    def cancel(self) -> None:
        """Nobody waits for an answer any more."""
        self._book(-self._parser.buffered_bytes)
        self._parser = RequestParser()
        if self._task is not None:
            self._task.cancel()

    async def _serve(self) -> None:
        connection = self._connection
        try:
            while self._waiting and not connection.closing:
                request = self._waiting.popleft()
                response = await self._answer(request)
                if not connection.writable.is_set():
                    await connection.writable.wait()
                self._respond(response)
        finally:
            self._task = None
        self._give_credit()
        if self._stream is None:
            connection.hold_reading(False)
        if self._ended:
            self._finish()
        connection.call_ended()

    async def _answer(self, request: Request) -> bytes:
        server = self._connection.server
        server.count("request")
        try:
            body = await server.handler(request, self._connection.info)
            return serialize_response(Response(request.method, request.seq, "", body))
        except RpcError as error:
            text = str(error)
        except LocalProtocolError as error:
            _log.error("rpc: the answer to %s can't be sent: %s", request.method, error)
            text = f"internal error: {error}"
        except Exception:  # noqa: BLE001 - a bug in a handler is one failed call, and its text may hold secrets
            _log.exception("rpc: the handler of %s failed", request.method)
            text = "internal error: the server's log says more"
        server.count("request_error")
        return serialize_response(Response(request.method, request.seq, text or "error", None))

    def _respond(self, response: bytes) -> None:
        connection = self._connection
        if self._stream is None:
            connection.write(response)
        elif connection.session is not None and not connection.closing:
            try:
                connection.perform(connection.session.send(self._stream, response))
            except LocalProtocolError as error:
                # The stream went while the handler ran, or the peer leaves too much unread.
                _log.debug("rpc: answer to %s dropped: %s", connection.peer, error)
                connection.perform(connection.session.reset(self._stream))
                connection.drop(self._stream)

    def _give_credit(self) -> None:
        session = self._connection.session
        if self._stream is not None and session is not None:
            self._connection.perform(session.consumed(self._stream, self._owed))
        self._owed = 0

    def _finish(self) -> None:
        connection = self._connection
        if self._stream is None:
            connection.close()
        elif connection.session is not None:
            connection.perform(connection.session.close(self._stream))
            connection.drop(self._stream)

    def _refuse(self, because: str) -> None:
        connection = self._connection
        connection.server.count("refused.request")
        _log.warning("rpc: closing the connection of %s: %s", connection.peer, because)
        if connection.session is not None:
            connection.perform(connection.session.go_away())
        connection.fail(MeshError(because))

    def _book(self, delta: int) -> None:
        self._connection.buffered_bytes += delta
        self._connection.server.buffered_bytes += delta
