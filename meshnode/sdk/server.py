"""``asyncio.start_server`` for those whom intentions allow."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from meshnode.base.errors import ConfigError
from meshnode.runtime.proxy.decider import Decider
from meshnode.runtime.proxy.host import peer_name
from meshnode.sdk.errors import PeerUnknownError

if TYPE_CHECKING:
    from types import TracebackType

    from meshnode.sdk.service import Service

__all__ = ["HANDSHAKE_TIMEOUT", "LISTENER", "MAX_CONNECTIONS", "MeshServer", "Serve"]

#: What is called for each connection, as :func:`asyncio.start_server` does.
Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object] | None]

#: Seconds for a handshake, unless the caller gives ``ssl_handshake_timeout``.
HANDSHAKE_TIMEOUT: Final = 10.0
#: Connections at once past the handshake, unless the caller gives ``max_connections``.
MAX_CONNECTIONS: Final = 16_384

#: What the ledger calls it.
LISTENER: Final = "native"

_log: Final = logging.getLogger("meshnode.sdk")


class MeshServer:
    """A running server; an async context manager, as :class:`asyncio.Server` is."""

    def __init__(self, service: Service, decider: Decider, callback: Serve, max_connections: int) -> None:
        self._service = service
        self._decider = decider
        self._callback = callback
        self._max_connections = max_connections
        self._connections = 0
        self._server: asyncio.Server | None = None

    @classmethod
    async def start(
        cls,
        service: Service,
        decider: Decider,
        callback: Serve,
        host: str | Sequence[str] | None,
        port: int,
        options: Mapping[str, Any],
    ) -> MeshServer:
        """See :meth:`Service.start_server`. Raises ``OSError`` when it can't listen."""
        if "ssl" in options:
            raise ConfigError("ssl: the TLS context is the service's own: leave it out")
        settings = {"ssl_handshake_timeout": HANDSHAKE_TIMEOUT, **options}
        self = cls(service, decider, callback, settings.pop("max_connections", MAX_CONNECTIONS))
        self._server = await asyncio.start_server(
            self._connected, host, port, ssl=service.server_context(), **settings
        )
        return self

    # As asyncio.Server

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """What it listens on; empty once it is closed."""
        return self._running.sockets

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._running.is_serving()

    def close(self) -> None:
        """Accept nobody any more; established connections go on."""
        self._running.close()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await self._running.wait_closed()

    async def serve_forever(self) -> None:
        """Serve until cancelled."""
        await self._running.serve_forever()

    async def __aenter__(self) -> MeshServer:
        """It serves already."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Accept nobody any more."""
        self.close()

    @property
    def _running(self) -> asyncio.Server:
        if self._server is None:
            raise ConfigError("the server was not started: use service.start_server()")
        return self._server

    # Connections

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_name(writer.get_extra_info("peername"))
        if self._connections >= self._max_connections:
            because = f"{self._max_connections} connections are the most (max_connections)"
            self._refuse(writer, peer, because, kind="too_many")
            return
        self._connections += 1
        try:
            await self._admit(reader, writer, peer)
        finally:
            self._connections -= 1

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        transport = writer.transport
        try:
            meter = writer.get_extra_info("ssl_object")
            identity = self._service.identify(meter)
        except PeerUnknownError as error:
            self._refuse(writer, peer, str(error), kind="identity")
            return
        live = self._service.live
        with live.entered(identity, lambda because: transport.abort()) as connection:
            decision = await self._decider.decide(identity)
            if not decision.allowed:
                because = f"{identity.uri}: {decision.because}"
                self._refuse(writer, peer, because, kind="denied", source=identity.uri, rule=decision.rule)
            elif not transport.is_closing():
                own = self._service.identity.uri
                live.allow(connection, decision, own=own, listener=LISTENER, peer=peer, meter=meter)
                await self._serve(reader, writer, identity.uri)
            # The callback may have handed the connection on: it is watched until it ends.
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str) -> None:
        try:
            result = self._callback(reader, writer)
            if inspect.isawaitable(result):
                await result
        except OSError as error:
            _log.info("%s: the connection of %s ended: %s", self._service.name, source, error)
            writer.transport.abort()
        except Exception:  # noqa: BLE001  the callback is the user's code: its error ends one connection, not the server
            _log.exception(
                "%s: the callback failed, the connection of %s is closed", self._service.name, source
            )
            writer.transport.abort()

    def _refuse(
        self,
        writer: asyncio.StreamWriter,
        peer: str,
        because: str,
        *,
        kind: str,
        source: str = "",
        rule: str = "",
    ) -> None:
        self._service.refusals.tell(peer, because, kind=kind, listener=LISTENER, source=source, rule=rule)
        writer.transport.abort()
