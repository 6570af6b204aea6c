"""The client's end of one connection: dialled when made, it carries calls side by side until it is idle or lost."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from meshnode.base.address import Address
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.rpc.codec import Request, Response, ResponseParser, serialize_request
from meshnode.rpc.selector import Selector
from meshnode.rpc.yamux import Limits, Role, Session
from meshnode.rpc.yamux_effects import (
    DataReceived,
    Effect,
    GoAwayReceived,
    SessionClosed,
    StreamEnded,
    StreamId,
    StreamReset,
)
from meshnode.runtime.rpc_errors import (
    CallLostError,
    CallTimeoutError,
    ServerRefusedError,
    ServerUnreachableError,
    TlsRefusedError,
)
from meshnode.runtime.rpc_wire import TlsFailedError, Wire, WireLostError, WireTimes
from meshnode.runtime.tasks import spawn
from meshnode.runtime.tls_channel import TlsProfile

__all__ = ["Call", "ClientConnection", "ClientOptions", "ServerKey", "SessionPool"]

#: Streams kept open for the next calls to a server (Consul's pool keeps as many).
MAX_IDLE_STREAMS: Final = 32
#: Calls under way to one server; more wait. Below the 4096 streams that a server grants.
MAX_CALLS: Final = 2048


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Bounds and timeouts (seconds) of a client."""

    dial_timeout: float = 3.0
    #: Sessions without a call for so long are closed (Consul's pool: 2 minutes).
    idle_timeout: float = 120.0
    max_calls: int = MAX_CALLS
    max_idle_streams: int = MAX_IDLE_STREAMS
    times: WireTimes = field(default_factory=WireTimes)
    yamux: Limits = field(default_factory=Limits)


class ServerKey(NamedTuple):
    """What sessions are pooled by: the same address may be dialled for different names."""

    address: Address
    datacenter: str


class SessionPool(Protocol):
    """Who owns the connection."""

    def forget(self, connection: ClientConnection, *, gone: bool) -> None:
        """It takes no new calls, or (``gone``) has ended."""


class Call:
    """One call: its bytes, its stream, and the future that its caller awaits."""

    __slots__ = ("_connection", "answer", "data", "method", "seq", "stream")

    def __init__(self, connection: ClientConnection, method: str, seq: int, data: bytes) -> None:
        self._connection = connection
        self.method = method
        self.seq = seq
        self.data = data
        self.stream: StreamId | None = None
        self.answer: asyncio.Future[Response] = connection.loop.create_future()

    def give_up(self, timeout: float) -> None:
        """Time is over."""
        self.refuse(
            CallTimeoutError(f"{self.method}: no answer from {self._connection.peer} within {timeout:g} s")
        )

    def refuse(self, error: MeshError) -> None:
        """End with ``error``, unless it has ended."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def end(self) -> None:
        """The caller has its answer, or is gone."""
        self._connection.call_ended(self)


class ClientConnection(Wire):
    """One connection to a server and the calls on it, from before it is dialled to its end."""

    def __init__(
        self, pool: SessionPool, key: ServerKey, profile: TlsProfile | None, options: ClientOptions
    ) -> None:
        super().__init__(options.times, str(key.address))
        self.key = key
        self._pool = pool
        self._profile = profile
        self._options = options
        self._ready = False
        self._draining = False
        self._heard = False
        self._seq = 0
        #: Calls not sent yet, calls by stream, streams without a call, and what each stream has read.
        self._pending: dict[Call, None] = {}
        self._calls: dict[StreamId, Call] = {}
        self._idle: list[StreamId] = []
        self._parsers: dict[StreamId, ResponseParser] = {}
        self._last_used = self.loop.time()
        self._dialling = spawn(self._dial(), name=f"rpc dial {self.peer}")

    # -- calls

    @property
    def usable(self) -> bool:
        """Whether new calls may be put on it."""
        return not (self._closing or self._draining)

    def begin(self, method: str, body: object) -> Call:
        """Send a call, or keep it until the session is up and has room."""
        self._seq += 1
        call = Call(self, method, self._seq, serialize_request(Request(method, self._seq, body)))
        self._pending[call] = None
        if self._ready:
            self._pump()
        return call

    def call_ended(self, call: Call) -> None:
        """Return the stream of a call that was answered; take down the stream of one that wasn't."""
        self._pending.pop(call, None)
        self._last_used = self.loop.time()
        stream = call.stream
        if stream is None or self._calls.pop(stream, None) is None:
            return
        if self.session is None or self._closing:
            return
        answered = call.answer.done() and not call.answer.cancelled() and call.answer.exception() is None
        if not answered:
            self._parsers.pop(stream, None)
            self.perform(self.session.reset(stream))
        elif len(self._idle) < self._options.max_idle_streams and not self._draining:
            self._idle.append(stream)
        else:
            self._parsers.pop(stream, None)
            self.perform(self.session.close(stream))
        self._pump()
        self._close_when_drained()

    def shut(self, error: MeshError) -> None:
        """Close now; calls end with ``error``."""
        self._dialling.cancel()
        if self._transport is None:
            self._closing = True
            self.lost(error)
            self.ended.set_result(None)
        elif self._closing:
            self._transport.abort()
        else:
            self._end_calls(error)
            self.close()

    def _pump(self) -> None:
        """Send what waits, as far as the session has room."""
        session = self.session
        while (
            session is not None
            and self._pending
            and not self._closing
            and len(self._calls) < self._options.max_calls
        ):
            if not self._idle and not session.can_open:
                return
            call = next(iter(self._pending))
            del self._pending[call]
            try:
                self._send(session, call)
            except MeshError as error:
                call.refuse(error)

    def _send(self, session: Session, call: Call) -> None:
        if self._idle:
            stream = self._idle.pop()
        else:
            stream, effects = session.open_stream(self.loop.time())
            self._parsers[stream] = ResponseParser()
            self.perform(effects)
        call.stream = stream
        self._calls[stream] = call
        self.perform(session.send(stream, call.data))
        call.data = b""

    # -- the connection

    async def _dial(self) -> None:
        try:
            async with asyncio.timeout(self._options.dial_timeout):
                await self.loop.create_connection(lambda: self, self.key.address.host, self.key.address.port)
        except TimeoutError:
            self._unreachable(f"no answer within {self._options.dial_timeout:g} s")
        except ConnectionRefusedError:
            if self._transport is None:
                refused = "connection refused: no server runs there"
                self.shut(ServerRefusedError(f"server {self.peer} can't be reached: {refused}"))
        except OSError as error:
            self._unreachable(os.strerror(error.errno) if error.errno else str(error))

    def _unreachable(self, because: str) -> None:
        if self._transport is None:
            self.shut(ServerUnreachableError(f"server {self.peer} can't be reached: {because}"))

    def connected(self) -> None:
        """TCP is up."""
        if self._closing:
            self.abort(WireLostError("not needed any more"))
        elif self._profile is None:
            self._begin_session()
        else:
            self.write(bytes([Selector.TLS]))
            self.start_tls(self._profile)

    def tls_established(self) -> None:
        """The server is verified; in TLS 1.3 it may yet refuse us."""
        self._begin_session()

    def _begin_session(self) -> None:
        self.write(bytes([Selector.YAMUX]))
        self.start_session(Session(Role.CLIENT, self._options.yamux))
        self._ready = True
        self.arm("idle", self._options.idle_timeout, self._check_idle)
        self._pump()

    def _check_idle(self) -> None:
        idle = self.loop.time() - self._last_used
        if self._calls or self._pending:
            idle = 0.0
        if idle >= self._options.idle_timeout:
            self.close()
        else:
            self.arm("idle", self._options.idle_timeout - idle, self._check_idle)

    def _close_when_drained(self) -> None:
        if self._draining and not self._calls and not self._pending:
            self.close()

    def _plain_received(self, data: bytes) -> None:
        self._heard = True
        super()._plain_received(data)
        if self._pending:
            self._pump()

    def event(self, effect: Effect) -> None:
        """Sort what the yamux session says."""
        match effect:
            case DataReceived(stream, data):
                self._data(stream, data)
            case StreamReset(stream) | StreamEnded(stream):
                self._stream_over(stream)
            case GoAwayReceived():
                self._draining = True
                self._pool.forget(self, gone=False)
                for call in list(self._pending):
                    call.refuse(
                        ServerUnreachableError(f"server {self.peer} takes no new calls: it is stopping")
                    )
                self._close_when_drained()
            case SessionClosed(error):
                self.fail(error)
            case _:
                pass

    def _data(self, stream: StreamId, data: bytes) -> None:
        parser, session = self._parsers.get(stream), self.session
        if parser is None or session is None:
            return
        try:
            responses = parser.feed(data)
            for response in responses:
                call = self._calls.get(stream)
                if call is None or call.seq != response.seq:
                    raise RemoteProtocolError(f"an answer with number {response.seq} that nobody asked for")
                if not call.answer.done():
                    call.answer.set_result(response)
        except RemoteProtocolError as error:
            self.fail(RemoteProtocolError(f"server {self.peer} broke the protocol: {error}"))
            return
        self.perform(session.consumed(stream, len(data)))

    def _stream_over(self, stream: StreamId) -> None:
        self._parsers.pop(stream, None)
        if stream in self._idle:
            self._idle.remove(stream)
        if (call := self._calls.get(stream)) is not None:
            call.refuse(CallLostError(f"{call.method}: server {self.peer} closed the stream of the call"))
        if self.session is not None and not self._closing:
            self.perform(self.session.close(stream))

    def failed(self, error: MeshError) -> None:
        """The calls end now: nobody waits for the socket to close."""
        self._pool.forget(self, gone=False)
        self._end_calls(error)

    def lost(self, error: MeshError) -> None:
        """Nothing is left."""
        self._pool.forget(self, gone=True)
        self._end_calls(error)

    def _end_calls(self, error: MeshError) -> None:
        for call in [*self._calls.values(), *self._pending]:
            call.refuse(self._as_call_error(error, sent=call.stream is not None))

    def _as_call_error(self, error: MeshError, *, sent: bool) -> MeshError:
        if isinstance(error, TlsFailedError):
            return TlsRefusedError(str(error))
        if isinstance(error, ServerUnreachableError | CallLostError):
            return type(error)(str(error))
        hint = ""
        if self.tls is not None and not self._heard:
            hint = (
                "; it said nothing after the TLS handshake: its log says whether it refused our certificate"
            )
        elif not self._heard:
            hint = (
                "; it said nothing: its log says whether it wants TLS (set verify_outgoing and ca_file here)"
            )
        return (CallLostError if sent else ServerUnreachableError)(f"server {self.peer}: {error}{hint}")
