"""The xDS port: aggregated discovery over gRPC, state of the world and delta, plain and with TLS.

The sockets listen from the start; grpclib and protobuf are loaded when the first Envoy connects, so that an agent whom
no Envoy asks pays nothing for them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError, MeshError, RemoteProtocolError
from meshnode.runtime.listening import bound_socket
from meshnode.runtime.tasks import cancel_and_wait, spawn

if TYPE_CHECKING:
    from meshnode.runtime.xds_grpc import AdsStream, GrpcHost
    from meshnode.xds.compile import Snapshot
    from meshnode.xds.session import Session

__all__ = ["MAX_STREAMS", "MISSING_GRPC", "Feed", "Feeds", "XdsListener", "XdsServer", "grpc_available"]

#: What is said where the packages aren't installed.
MISSING_GRPC: Final = "xDS needs the packages grpclib and protobuf: pip install 'meshnode[envoy]'"
#: Envoys that are served at once; a further one is told to come back.
MAX_STREAMS: Final = 1024
BACKLOG: Final = 128
#: Seconds in which a client has to say who it is.
FIRST_REQUEST_TIMEOUT: Final = 10.0
_TOKEN: Final = "x-consul-token"

_log: Final = logging.getLogger("meshnode.xds")


def grpc_available() -> bool:
    """Whether what this needs can be imported."""
    return all(importlib.util.find_spec(name) is not None for name in ("grpclib", "google.protobuf"))


class Feed(Protocol):
    """The snapshots of one proxy, for one stream."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The latest one; ``None`` while something is still unknown."""

    @property
    def refusal(self) -> MeshError | None:
        """Why there is none and won't be for this token, if so."""

    def applied(self) -> None:
        """Envoy has applied its listeners and secrets. Told more than once."""

    def close(self) -> None:
        """The stream has ended."""


class Feeds(Protocol):
    """Who knows the proxies."""

    def open(self, proxy_id: str, token: str, session: Session, changed: Callable[[], None]) -> Feed:
        """Follow a proxy; ``changed`` is called after each change. Raises :class:`MeshError` for one that can't be."""


@dataclass(frozen=True, slots=True)
class XdsListener:
    """Where to listen; ``tls`` gives the context of the moment, ``None``: plain."""

    address: Address
    config_key: str = "ports.grpc"
    tls: Callable[[], ssl.SSLContext] | None = None


class XdsServer:
    """``listen`` first, ``stop`` last; ``clock`` is monotonic seconds."""

    def __init__(self, feeds: Feeds, clock: Callable[[], float]) -> None:
        self._feeds = feeds
        self._clock = clock
        self._sockets: dict[socket.socket, XdsListener] = {}
        self._grpc: GrpcHost | None = None
        self._transports: set[asyncio.BaseTransport] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._streams = 0

    def listen(self, *listeners: XdsListener) -> list[Address]:
        """Open the listeners; gives where each one is. Raises :class:`ConfigError` with none of them open."""
        if listeners and not grpc_available():
            raise ConfigError(f"{listeners[0].config_key}: {MISSING_GRPC}", key=listeners[0].config_key)
        opened: dict[socket.socket, XdsListener] = {}
        try:
            for each in listeners:
                found = bound_socket(
                    each.address,
                    socket.SOCK_STREAM,
                    port_key=each.config_key,
                    address_key="addresses.grpc",
                )
                opened[found] = each
        except ConfigError:
            for each_socket in opened:
                each_socket.close()
            raise
        self._sockets |= opened
        for each_socket in opened:
            each_socket.listen(BACKLOG)
            asyncio.get_running_loop().add_reader(each_socket, self._accept, each_socket)
        return [Address(*each.getsockname()[:2]) for each in opened]

    async def stop(self) -> None:
        """Close everything; streams end. Safe to call again."""
        for each in self._sockets:
            asyncio.get_running_loop().remove_reader(each)
            each.close()
        self._sockets.clear()
        await cancel_and_wait(*self._tasks)
        if self._grpc is not None:
            await self._grpc.end()
        for transport in self._transports:
            transport.close()
        self._transports.clear()

    def _accept(self, listening: socket.socket) -> None:
        try:
            client, _ = listening.accept()
        except OSError as error:
            # Gone already, or no descriptor is left.
            _log.debug("an Envoy was not accepted: %s", error)
            return
        self._transports = {each for each in self._transports if not each.is_closing()}
        if len(self._transports) + len(self._tasks) >= MAX_STREAMS:
            client.close()
            return
        client.setblocking(False)
        task = spawn(self._welcome(client, self._sockets[listening]), name="xDS connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _welcome(self, client: socket.socket, listener: XdsListener) -> None:
        if self._grpc is None:
            from meshnode.runtime.xds_grpc import GrpcHost

            self._grpc = GrpcHost(self._stream)
        try:
            context = None if listener.tls is None else listener.tls()
            timeout = None if context is None else FIRST_REQUEST_TIMEOUT
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                self._grpc.protocol, client, ssl=context, ssl_handshake_timeout=timeout
            )
        except (OSError, MeshError) as error:
            client.close()
            _log.warning("an Envoy was not let in on %s: %s", listener.address, error)
            return
        self._transports.add(transport)

    async def _stream(self, stream: AdsStream, delta: bool) -> None:
        from grpclib.const import Status
        from grpclib.exceptions import GRPCError, StreamTerminatedError

        if self._streams >= MAX_STREAMS:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"this agent serves {MAX_STREAMS} Envoys at most")
        self._streams += 1
        try:
            await _Conversation(self._feeds, self._clock, stream, delta=delta).run()
        except RemoteProtocolError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from None
        except MeshError as error:
            raise GRPCError(Status.PERMISSION_DENIED, str(error)) from None
        except (StreamTerminatedError, ConnectionError) as error:
            _log.debug("an xDS stream ended: %s", error)
        finally:
            self._streams -= 1


class _Conversation:
    """One stream: what Envoy asks on one side, what changes on the other, one at a time."""

    def __init__(self, feeds: Feeds, clock: Callable[[], float], stream: AdsStream, *, delta: bool) -> None:
        from meshnode.xds.session import Session

        self._feeds = feeds
        self._clock = clock
        self._stream = stream
        self._session = Session(delta=delta)
        self._events: asyncio.Queue[Any] = asyncio.Queue(maxsize=64)
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until Envoy goes, or must not go on; raises :class:`MeshError` for that."""
        request = await self._first()
        if not request.node.id:
            raise RemoteProtocolError("the first request names no node.id: it is the ID of the proxy")
        token = _text(self._stream.metadata.get(_TOKEN, ""))
        feed = self._feeds.open(request.node.id, token, self._session, self._changed.set)
        reading = spawn(self._read(), name=f"xDS requests of {request.node.id}")
        try:
            _log.info("Envoy of %s is connected", request.node.id)
            await self._send(self._session.handle_request(request, self._clock()), feed)
            self._changed.set()
            await self._serve(feed, reading)
        finally:
            reading.cancel()
            feed.close()
            _log.info("Envoy of %s has gone", request.node.id)

    async def _first(self) -> Any:
        try:
            async with asyncio.timeout(FIRST_REQUEST_TIMEOUT):
                request = await self._stream.recv_message()
        except TimeoutError:
            raise RemoteProtocolError(f"no request within {FIRST_REQUEST_TIMEOUT:g} seconds") from None
        if request is None:
            raise RemoteProtocolError("the stream ended before it asked for anything")
        return request

    async def _read(self) -> None:
        while (request := await self._stream.recv_message()) is not None:
            await self._events.put(request)
            self._changed.set()

    async def _serve(self, feed: Feed, reading: asyncio.Task[None]) -> None:
        waiting: asyncio.Task[Any] = spawn(self._changed.wait(), name="xDS change")
        last = None
        try:
            while True:
                await asyncio.wait({waiting, reading}, return_when=asyncio.FIRST_COMPLETED)
                self._changed.clear()
                if feed.refusal is not None:
                    raise feed.refusal
                while not self._events.empty():
                    await self._send(
                        self._session.handle_request(self._events.get_nowait(), self._clock()), feed
                    )
                if feed.snapshot is not None and feed.snapshot is not last:
                    last = feed.snapshot
                    await self._send(self._session.update(last, self._clock()), feed)
                if reading.done():
                    if not reading.cancelled() and (error := reading.exception()) is not None:
                        raise error
                    return
                if waiting.done():
                    waiting = spawn(self._changed.wait(), name="xDS change")
        finally:
            waiting.cancel()

    async def _send(self, responses: list[Any], feed: Feed) -> None:
        for each in responses:
            await self._stream.send_message(each)
        self._tell(feed)

    def _tell(self, feed: Feed) -> None:
        done = {
            each.type
            for each in self._session.status(self._clock())
            if each.resources and each.applied == each.version
        }
        # A listener opens when it has its secrets.
        if {"LDS", "SDS"} <= done:
            feed.applied()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
