"""A tap: a relay in front of an agent that keeps what passes, where nobody may capture packets.

It listens at the address that others know the agent by (``advertise_addr``) and passes everything on to where the agent
listens (``bind_addr``). What it keeps is judged as captures are, and is weaker evidence: what an agent says past its
tap isn't in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import BinaryIO, Final, cast

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.prove.tap_file import TapStream, datagram, header
from meshnode.runtime.tasks import spawn

__all__ = ["MAX_CONNECTIONS", "MAX_PEERS", "Tap"]

#: Connections at one time, and peers that speak by datagrams; who comes then has to wait, or takes the oldest's place.
MAX_CONNECTIONS: Final = 1024
MAX_PEERS: Final = 1024
_CHUNK: Final = 64 * 1024
_DIAL_TIMEOUT: Final = 5.0


class Tap:
    """Relays TCP, and on ``datagram_ports`` UDP too, from ``listen`` to ``target`` (IP addresses), port by port.

    Records go to ``file``, in the order in which they passed, until ``max_bytes``; then ``full`` is true and what
    follows is passed on and not kept.
    """

    def __init__(
        self,
        listen: str,
        target: str,
        ports: Sequence[int],
        datagram_ports: Sequence[int],
        file: BinaryIO,
        *,
        max_bytes: int,
    ) -> None:
        self._listen = listen
        self._target = target
        self._ports = tuple(ports)
        self._datagram_ports = tuple(datagram_ports)
        self._file = file
        self._left = max_bytes
        self._servers: list[asyncio.Server] = []
        self._relays: list[_Datagrams] = []
        self._limit = asyncio.Semaphore(MAX_CONNECTIONS)
        self.full = False

    async def start(self) -> None:
        """Listen everywhere; raises :class:`MeshError` naming the address that can't be listened at."""
        self.keep(header())
        for port in self._ports:
            try:
                server = await asyncio.start_server(self._accept, self._listen, port, limit=_CHUNK)
            except OSError as error:
                raise MeshError(f"can't listen at {Address(self._listen, port)}: {error.strerror}") from None
            self._servers.append(server)
        loop = asyncio.get_running_loop()
        for port in self._datagram_ports:
            relay = _Datagrams(self, Address(self._listen, port), Address(self._target, port))
            try:
                await loop.create_datagram_endpoint(lambda relay=relay: relay, (self._listen, port))  # type: ignore[misc]
            except OSError as error:
                raise MeshError(f"can't listen at {Address(self._listen, port)}: {error.strerror}") from None
            self._relays.append(relay)

    def close(self) -> None:
        """Stop listening, and flush the file."""
        for server in self._servers:
            server.close()
        for relay in self._relays:
            relay.close()
        self._file.flush()

    def keep(self, record: bytes) -> None:
        """Write one record, if there is room."""
        if len(record) > self._left:
            if not self.full:
                # Half a record: whoever judges the file sees that it is cut short.
                self._file.write(record[:8])
            self.full, self._left = True, 0
            return
        self._left -= len(record)
        self._file.write(record)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here, there = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        if self._limit.locked() or here is None or there is None:
            writer.transport.abort()
            return
        async with self._limit:
            stream = TapStream(Address(*there[:2]), Address(*here[:2]))
            self.keep(stream.opened(time.time()))
            try:
                async with asyncio.timeout(_DIAL_TIMEOUT):
                    back = await asyncio.open_connection(self._target, here[1], limit=_CHUNK)
            except (OSError, TimeoutError):
                writer.transport.abort()
                return
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(stream, reader, back[1], from_client=True))
                    group.create_task(self._pump(stream, back[0], writer, from_client=False))
            except* OSError:
                pass
            finally:
                writer.transport.abort()
                back[1].transport.abort()

    async def _pump(
        self,
        stream: TapStream,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        from_client: bool,
    ) -> None:
        while data := await reader.read(_CHUNK):
            self.keep(stream.data(data, time.time(), from_client=from_client))
            writer.write(data)
            await writer.drain()
        self.keep(stream.ended(time.time(), from_client=from_client))
        if writer.can_write_eof():
            writer.write_eof()
        await writer.drain()


class _Datagrams(asyncio.DatagramProtocol):
    """The relay of one port: a socket of its own for each peer, so that answers find their way back."""

    def __init__(self, tap: Tap, here: Address, target: Address) -> None:
        self._tap = tap
        self._here = here
        self._target = target
        self._peers: dict[Address, _Peer] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It listens."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """From a peer to the agent."""
        peer = Address(*addr[:2])
        self._tap.keep(datagram(peer, self._here, data, time.time()))
        known = self._peers.get(peer)
        if known is None:
            if len(self._peers) >= MAX_PEERS:
                self._peers.pop(next(iter(self._peers))).close()
            known = self._peers[peer] = _Peer(self, peer)
            spawn(known.open(self._target), name=f"tap of {peer}")
        known.send(data)

    def answer(self, data: bytes, peer: Address) -> None:
        """From the agent back to a peer."""
        self._tap.keep(datagram(self._here, peer, data, time.time()))
        if self._transport is not None:
            self._transport.sendto(data, peer)

    def close(self) -> None:
        """Let go of every socket."""
        for peer in self._peers.values():
            peer.close()
        if self._transport is not None:
            self._transport.close()


class _Peer(asyncio.DatagramProtocol):
    """The socket through which one peer's datagrams reach the agent."""

    def __init__(self, relay: _Datagrams, peer: Address) -> None:
        self._relay = relay
        self._peer = peer
        self._waiting: list[bytes] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._closed = False

    async def open(self, target: Address) -> None:
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, remote_addr=target)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        for data in self._waiting:
            self._transport.sendto(data)
        self._waiting.clear()
        if self._closed:
            transport.close()

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(data)
        elif len(self._waiting) < 16:
            self._waiting.append(data)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._relay.answer(data, self._peer)

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.close()
