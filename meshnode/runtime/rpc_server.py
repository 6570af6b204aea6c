"""The server of port 8300: accepts, applies the first byte and TLS, and hands requests to one handler.

    server = RpcServer(handler, tls=contexts)      # handler: async (Request, PeerInfo) -> body of the response
    address = await server.start("127.0.0.1", 8300)
    ...
    await server.stop(grace=5.0)                   # running calls may end; no task is left

The handler raises :class:`RpcError` for what the caller should read; anything else is logged and answered with
"internal error". Requests of one stream are answered in order, streams side by side.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.base.metrics import Metrics
from meshnode.rpc.codec import Request
from meshnode.rpc.selector import Refusal, Selector, admit
from meshnode.rpc.yamux import Limits, Role, Session
from meshnode.rpc.yamux_effects import (
    DataReceived,
    Effect,
    GoAwayReceived,
    PongReceived,
    SessionClosed,
    StreamEnded,
    StreamId,
    StreamOpened,
    StreamReset,
)
from meshnode.runtime.listening import bound_socket
from meshnode.runtime.rpc_served import MAX_CONNECTION_BUFFERED_BYTES, PeerInfo, ServedStream
from meshnode.runtime.rpc_wire import TlsFailedError, Wire, WireLostError, WireTimes
from meshnode.runtime.tls import TlsContexts

__all__ = ["Handler", "PeerInfo", "RpcServer", "ServerOptions"]

_log = logging.getLogger("meshnode.rpc")

Handler = Callable[[Request, PeerInfo], Awaitable[Any]]

#: Precedent: Consul's later ``rpc_max_conns_per_client`` is 100.
MAX_CONNECTIONS: Final = 2048
MAX_CONNECTIONS_PER_HOST: Final = 100
#: Bodies that are on their way, over all connections.
MAX_SERVER_BUFFERED_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Bounds and timeouts (seconds) of a server."""

    max_connections: int = MAX_CONNECTIONS
    max_connections_per_host: int = MAX_CONNECTIONS_PER_HOST
    max_buffered_bytes: int = MAX_SERVER_BUFFERED_BYTES
    max_connection_buffered_bytes: int = MAX_CONNECTION_BUFFERED_BYTES
    #: For the first byte, and again for the one inside TLS.
    first_byte_timeout: float = 5.0
    times: WireTimes = field(default_factory=WireTimes)
    yamux: Limits = field(default_factory=Limits)


class RpcServer:
    """Listens, and owns every connection and call until ``stop``."""

    def __init__(
        self,
        handler: Handler,
        *,
        tls: TlsContexts | None = None,
        options: ServerOptions | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.handler = handler
        self.tls = tls
        self.options = options or ServerOptions()
        #: Totals since the start: ``accept_conn``, ``request``, ``request_error``, ``refused.<why>``.
        self.counters: Counter[str] = Counter()
        self.buffered_bytes = 0
        self.stopping = False
        self._metrics = metrics
        self._servers: list[asyncio.Server] = []
        self._connections: set[_ServerConnection] = set()
        self._per_host: Counter[str] = Counter()

    async def start(self, host: str, port: int) -> Address:
        """Listen on one address, more on further calls; returns it with the port that port 0 became.

        Raises :class:`ConfigError` when it can't be bound.
        """
        loop = asyncio.get_running_loop()
        opened = bound_socket(
            Address(host, port), socket.SOCK_STREAM, port_key="ports.server", address_key="bind_addr"
        )
        server = await loop.create_server(lambda: _ServerConnection(self), sock=opened, backlog=512)
        self._servers.append(server)
        bound = server.sockets[0].getsockname()
        return Address(bound[0], bound[1])

    async def stop(self, grace: float = 5.0) -> None:
        """Take no new calls, let those under way end within ``grace`` seconds, then close all connections."""
        self.stopping = True
        for server in self._servers:
            server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.stop()
        if connections:
            await asyncio.wait([connection.ended for connection in connections], timeout=grace)
        for connection in list(self._connections):
            connection.abort(WireLostError("the server stopped"))
        if connections:
            await asyncio.wait([connection.ended for connection in connections])
        tasks = [task for connection in connections for task in connection.tasks]
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()

    @property
    def connection_count(self) -> int:
        """Connections that exist now."""
        return len(self._connections)

    # -- for the connections

    def count(self, name: str, by: int = 1) -> None:
        """Count, here and as ``consul.rpc.<name>``."""
        self.counters[name] += by
        if self._metrics is not None:
            self._metrics.increment(f"consul.rpc.{name}", asyncio.get_running_loop().time(), by)

    def enter(self, connection: _ServerConnection, host: str) -> str:
        """Take a new connection in; returns why not, or empty text."""
        self._connections.add(connection)
        self._per_host[host] += 1
        if self.stopping:
            return "the server is stopping"
        if len(self._connections) > self.options.max_connections:
            return f"{self.options.max_connections} connections exist already"
        if self._per_host[host] > self.options.max_connections_per_host:
            return f"{host} has {self.options.max_connections_per_host} connections already"
        return ""

    def leave(self, connection: _ServerConnection, host: str) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]


class _ServerConnection(Wire):
    """One accepted connection: selector byte, TLS, selector byte, then net/rpc or yamux."""

    def __init__(self, server: RpcServer) -> None:
        super().__init__(server.options.times)
        self.server = server
        self.tasks: set[asyncio.Task[None]] = set()
        self.info = PeerInfo(Address("", 0), tls_version="", cipher="", certificate=None)
        #: Bytes of requests that are not complete, over all streams.
        self.buffered_bytes = 0
        self._streams: dict[StreamId | None, ServedStream] = {}
        self._plain: ServedStream | None = None

    # -- the first bytes

    def connected(self) -> None:
        assert self._transport is not None
        name = self._transport.get_extra_info("peername") or ("", 0)
        self.info = PeerInfo(Address(name[0], name[1]), tls_version="", cipher="", certificate=None)
        self.peer = str(self.info.address)
        self.server.count("accept_conn")
        if because := self.server.enter(self, self.info.address.host):
            self._refuse(Refusal(because, "limit"))
        else:
            self.arm("first byte", self.server.options.first_byte_timeout, self._silent)

    def received(self, data: bytes) -> None:
        if self._plain is not None:
            self._plain.data(data)
            return
        self.disarm("first byte")
        profile = self.server.tls.incoming_rpc() if self.server.tls else None
        required = self.server.tls is not None and self.server.tls.settings.verify_incoming_rpc
        choice = admit(
            data[0], encrypted=self.tls is not None, tls_offered=profile is not None, tls_required=required
        )
        if choice is Selector.TLS and profile is not None:
            self.start_tls(profile, data[1:])
        elif choice is Selector.YAMUX:
            self.start_session(Session(Role.SERVER, self.server.options.yamux))
            self._plain_received(data[1:])
        elif choice is Selector.RPC:
            self._plain = self._streams[None] = ServedStream(self, None)
            self._plain.data(data[1:])
        elif isinstance(choice, Refusal):
            self._refuse(choice)

    def tls_established(self) -> None:
        assert self.tls is not None
        version, cipher = self.tls.description()
        self.info = PeerInfo(self.info.address, version, cipher, self.tls.peer_certificate())
        self.arm("first byte", self.server.options.first_byte_timeout, self._silent)

    def _silent(self) -> None:
        timeout = self.server.options.first_byte_timeout
        self._refuse(
            Refusal(f"it said nothing for {timeout:g} s: the first byte names the protocol", "silent")
        )

    def _refuse(self, refusal: Refusal) -> None:
        self.server.count(f"refused.{refusal.counter}")
        _log.warning("rpc: refused %s: %s", self.peer, refusal.because)
        self.fail(MeshError(refusal.because))

    # -- yamux

    def event(self, effect: Effect) -> None:
        match effect:
            case StreamOpened(stream):
                self._streams[stream] = ServedStream(self, stream)
                self.perform(self._session.accept(stream))
            case DataReceived(stream, data):
                if (served := self._streams.get(stream)) is not None:
                    served.data(data)
            case StreamEnded(stream):
                if (served := self._streams.get(stream)) is not None:
                    served.end()
            case StreamReset(stream):
                self.drop(stream)
            case SessionClosed(error):
                self._log_end(error)
                self.fail(error)
            case GoAwayReceived() | PongReceived():
                pass

    @property
    def _session(self) -> Session:
        assert self.session is not None
        return self.session

    def drop(self, stream: StreamId | None) -> None:
        """A stream is over: nobody waits for its calls."""
        if (served := self._streams.pop(stream, None)) is not None:
            served.cancel()
        if self.server.stopping:
            self._close_when_idle()

    def peer_ended(self) -> bool:
        if self._plain is not None and self._plain.busy:
            self._plain.end()
            return True
        return False

    # -- the end

    def stop(self) -> None:
        """Take no new calls; close once those under way have ended."""
        if self.session is not None and not self.session.closed:
            self.perform(self.session.go_away())
            self.flush()
        self._close_when_idle()

    def call_ended(self) -> None:
        """A stream has no call under way."""
        if self.server.stopping:
            self._close_when_idle()

    def _close_when_idle(self) -> None:
        if not any(stream.busy for stream in self._streams.values()):
            self.close()

    def failed(self, error: MeshError) -> None:
        if isinstance(error, TlsFailedError):
            self.server.count(f"refused.tls_{error.failure.kind}")
            _log.warning("rpc: refused a connection: %s", error)
        elif isinstance(error, WireLostError):
            _log.warning("rpc: closing a connection: %s", error)

    def lost(self, error: MeshError) -> None:
        for stream in list(self._streams):
            served = self._streams.pop(stream)
            served.cancel()
        self.server.leave(self, self.info.address.host)

    def _log_end(self, error: MeshError) -> None:
        _log.warning("rpc: closing the connection of %s: %s", self.peer, error)
