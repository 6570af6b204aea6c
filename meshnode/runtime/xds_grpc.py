"""grpclib for the xDS port; loaded when the first Envoy connects."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpclib.const import Cardinality
from grpclib.const import Handler as Method
from grpclib.protocol import H2Protocol
from grpclib.server import Server

from meshnode.base.errors import RemoteProtocolError
from meshnode.xds.schema import message

__all__ = ["MAX_REQUEST_BYTES", "AdsStream", "GrpcHost"]

_SERVICE: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
#: Longest request: the names of all that a proxy may ask for are shorter.
MAX_REQUEST_BYTES: Final = 4 << 20
#: Seconds that streams get to end.
END_TIMEOUT: Final = 2.0
#: What grpclib raises while it reads a message: unreadable protobuf; a frame cut short; a compressed frame, for which
#: it has a RuntimeError of a kind of its own.
_READING: Final = (DecodeError, AssertionError, RuntimeError)

# What a client does wrong is told to it; grpclib would print tracebacks about it.
logging.getLogger("grpclib").addHandler(logging.NullHandler())


class GrpcHost(Server):
    """Protocols for sockets that somebody else accepts; ``serve(stream, delta)`` is called for each ADS stream."""

    def __init__(self, serve: Callable[[Any, bool], Awaitable[None]]) -> None:
        super().__init__([_Discovery(serve)])

    def protocol(self) -> H2Protocol:
        """The protocol of a new connection."""
        return self._protocol_factory()

    async def end(self) -> None:
        """End all streams."""
        for handler in self._handlers:
            handler.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_TIMEOUT):
                for handler in self._handlers:
                    await handler.wait_closed()


class AdsStream:
    """A stream of grpclib's with bounded requests, and one error for those that can't be read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.metadata: Mapping[str, Any] = stream.metadata or {}
        # grpclib gathers whatever length a client announces.
        inner = stream._stream  # noqa: SLF001 - there is no other place to look at the length
        read = inner.recv_data

        async def bounded(size: int) -> bytes:
            if size > MAX_REQUEST_BYTES:
                raise RemoteProtocolError(f"a request of {size} bytes is longer than {MAX_REQUEST_BYTES}")
            found: bytes = await read(size)
            return found

        inner.recv_data = bounded

    async def recv_message(self) -> Any:
        """The next request, ``None`` at the end; raises :class:`RemoteProtocolError` for what is none."""
        try:
            return await self._stream.recv_message()
        except _READING as error:
            raise RemoteProtocolError(f"the request can't be read: {error}") from None

    async def send_message(self, response: Any) -> None:
        """Send ``response``."""
        await self._stream.send_message(response)


class _Discovery:
    """``envoy.service.discovery.v3.AggregatedDiscoveryService``."""

    def __init__(self, serve: Callable[[Any, bool], Awaitable[None]]) -> None:
        self._serve = serve

    async def state_of_the_world(self, stream: Any) -> None:
        """Each response has all resources of its type."""
        await self._serve(AdsStream(stream), False)

    async def delta(self, stream: Any) -> None:
        """Each response has what differs."""
        await self._serve(AdsStream(stream), True)

    def __mapping__(self) -> Mapping[str, Method]:
        """The methods, as grpclib asks for them."""

        def of(name: str) -> Any:
            return message(f"service.discovery.v3.{name}")

        both = Cardinality.STREAM_STREAM
        return {
            f"{_SERVICE}StreamAggregatedResources": Method(
                self.state_of_the_world, both, of("DiscoveryRequest"), of("DiscoveryResponse")
            ),
            f"{_SERVICE}DeltaAggregatedResources": Method(
                self.delta, both, of("DeltaDiscoveryRequest"), of("DeltaDiscoveryResponse")
            ),
        }
