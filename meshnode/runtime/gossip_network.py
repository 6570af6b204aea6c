"""UDP and TCP of one gossip node on asyncio: datagrams, streams in both directions, and their limits."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any, Protocol

from meshnode.base.address import Address
from meshnode.gossip.effects import StreamId
from meshnode.runtime.gossip_sockets import BACKLOG, bind_gossip
from meshnode.runtime.gossip_stream import GossipStream
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["MAX_INBOUND_STREAMS", "GossipNetwork", "NetworkListener"]

#: Concurrent inbound streams; memberlist refuses more than 128 concurrent push/pulls.
MAX_INBOUND_STREAMS = 128


class NetworkListener(Protocol):
    """What the network reports. Nothing is reported after ``close``."""

    def packet_received(self, data: bytes, source: Address) -> None:
        """A datagram arrived."""

    def stream_accepted(self, stream: StreamId, peer: Address) -> None:
        """A peer connected."""

    def stream_opened(self, stream: StreamId) -> None:
        """A dial succeeded."""

    def stream_received(self, stream: StreamId, data: bytes) -> None:
        """Bytes arrived on a stream."""

    def stream_closed(self, stream: StreamId, error: str | None) -> None:
        """A stream was ended by its peer (``None``) or failed; not reported for one that we closed."""


class GossipNetwork:
    """Open sockets and streams; also the owner that each stream reports to."""

    def __init__(self, listener: NetworkListener, logger: logging.Logger) -> None:
        self._listener = listener
        self._logger = logger
        self._inbound_timeout = 10.0
        self._udp: asyncio.DatagramTransport | None = None
        self._datagrams: _Datagrams | None = None
        self._server: asyncio.Server | None = None
        self._streams: dict[StreamId, GossipStream] = {}
        self._inbound = 0
        self._dials: dict[StreamId, asyncio.Task[None]] = {}
        self._next_stream = 1
        self._is_ipv6 = False
        self._open = False

    async def open(self, bind: Address) -> int:
        """Bind UDP and TCP, listen to neither yet; return the port. Raises :class:`MeshError`."""
        loop = asyncio.get_running_loop()
        tcp, udp = bind_gossip(bind)
        port: int = tcp.getsockname()[1]
        self._is_ipv6 = ":" in bind.host
        try:
            self._server = await loop.create_server(
                self._accept, sock=tcp, backlog=BACKLOG, start_serving=False
            )
            self._udp, self._datagrams = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self._listener), sock=udp
            )
        except BaseException:
            tcp.close()
            udp.close()
            raise
        return port

    async def serve(self, inbound_timeout: float) -> None:
        """Begin to report; inbound streams may be silent for ``inbound_timeout`` seconds."""
        self._inbound_timeout = inbound_timeout
        self._open = True
        if self._datagrams is not None:
            self._datagrams.enabled = True
        if self._server is not None:
            await self._server.start_serving()

    async def close(self) -> None:
        """Close everything and wait until it is closed."""
        self._open = False
        if self._datagrams is not None:
            self._datagrams.enabled = False
        if self._server is not None:
            self._server.close()
        await cancel_and_wait(*self._dials.values())
        streams = list(self._streams.values())
        for stream in streams:
            stream.abort()
        await asyncio.gather(*(stream.closed for stream in streams))
        if self._udp is not None and self._datagrams is not None:
            self._udp.abort()
            await self._datagrams.closed
        if self._server is not None:
            await self._server.wait_closed()

    def send_packet(self, to: Address, data: bytes) -> None:
        """Send one datagram; what the kernel refuses is lost, as datagrams may be.

        So is one to an address of the other IP version: no socket of ours could ever reach it.
        """
        if self._udp is not None and self._open and (":" in to.host) == self._is_ipv6:
            self._udp.sendto(data, (to.host, to.port))

    def dial(self, stream: StreamId, to: Address, timeout: float) -> None:
        """Connect; ends in ``stream_opened`` or ``stream_closed(error)``."""
        self._dials[stream] = spawn(self._dial(stream, to, timeout), name=f"gossip dial {to}")

    async def _dial(self, stream: StreamId, to: Address, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        failure = ""
        try:
            async with asyncio.timeout(timeout):
                await loop.create_connection(lambda: GossipStream(self, stream, timeout), to.host, to.port)
        except TimeoutError:
            failure = f"no connection within {timeout:g} s"
        except OSError as error:
            failure = os.strerror(error.errno) if error.errno else str(error)
        finally:
            self._dials.pop(stream, None)
        if failure and self._open:
            self._listener.stream_closed(stream, failure)

    def write(self, stream: StreamId, data: bytes) -> None:
        """Write to a stream; nothing happens when it is gone."""
        if stream in self._streams:
            self._streams[stream].write(data)

    def close_stream(self, stream: StreamId) -> None:
        """Flush and close a stream, or give a dial up."""
        if stream in self._streams:
            self._streams[stream].close()
        elif stream in self._dials:
            self._dials.pop(stream).cancel()

    # What streams report

    def _accept(self) -> GossipStream:
        stream = StreamId(self._next_stream)
        self._next_stream += 2
        return GossipStream(self, stream, self._inbound_timeout)

    def stream_connected(self, stream: GossipStream) -> bool:
        """A stream is up, inbound (odd) or outbound (even); false when it is one too many."""
        inbound = stream.id % 2
        if not self._open:
            return False
        if inbound and self._inbound >= MAX_INBOUND_STREAMS:
            self._logger.warning("gossip refused a stream of %s: %d are open", stream.peer, self._inbound)
            return False
        self._inbound += inbound
        self._streams[stream.id] = stream
        if inbound:
            self._listener.stream_accepted(stream.id, stream.peer)
        else:
            self._listener.stream_opened(stream.id)
        return True

    def stream_received(self, stream: StreamId, data: bytes) -> None:
        """Bytes arrived."""
        if self._open:
            self._listener.stream_received(stream, data)

    def stream_lost(self, stream: GossipStream, error: str | None) -> None:
        """A stream is over."""
        if self._streams.pop(stream.id, None) is None:
            return
        self._inbound -= stream.id % 2
        if self._open and not stream.ended_by_us:
            self._listener.stream_closed(stream.id, error)


class _Datagrams(asyncio.DatagramProtocol):
    """Hands datagrams on."""

    def __init__(self, listener: NetworkListener) -> None:
        self.enabled = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listener = listener

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if self.enabled:
            self._listener.packet_received(data, Address(addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """An ICMP error about some earlier packet: gossip finds out by itself who is gone."""

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
