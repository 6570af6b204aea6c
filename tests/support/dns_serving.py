"""A DNS server on loopback, a recursor that is not ours, and ``dig``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from meshnode.base.address import Address
from meshnode.base.metrics import Metrics
from meshnode.dns.answer import Resolver
from meshnode.dns.config import DnsConfig
from meshnode.dns.effects import Effect
from meshnode.dns.message import parse, serialize
from meshnode.dns.records import FLAG_QR, FLAG_RA, FLAG_TC, Message, Record
from meshnode.runtime.dns_recursors import Recursors
from meshnode.runtime.dns_server import DnsServer, DnsServerLimits
from tests.support.dns_state import AT, MemoryView, sample_view

__all__ = ["FakeRecursor", "dig", "serving", "tcp_ask", "udp_ask"]


async def refuse(effect: Effect[Any]) -> Any:
    raise AssertionError(f"nothing to perform in this test, but {effect}")


@asynccontextmanager
async def serving(
    view: MemoryView | None = None,
    perform: Callable[[Effect[Any]], Awaitable[Any]] = refuse,
    limits: DnsServerLimits | None = None,
    metrics: Metrics | None = None,
    host: str = "127.0.0.1",
    **config: Any,
) -> AsyncIterator[tuple[DnsServer, Address]]:
    settings = DnsConfig(**config)
    resolver = Resolver(settings, view or sample_view(), Random(1), lambda: AT)
    recursors = Recursors(settings.recursors, settings.recursor_timeout, settings.recursor_strategy)
    server = DnsServer(resolver, perform, recursors, metrics=metrics, node_name="server1", limits=limits)
    (where,) = await server.listen(Address(host, 0))
    try:
        yield server, where
    finally:
        await server.stop(1.0)


async def dig(where: Address, *arguments: str, ok: bool = True) -> str:
    """What ``dig`` prints."""
    command = ["dig", "+time=3", "+tries=1", f"@{where.host}", "-p", str(where.port), *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert not ok or process.returncode == 0, out.decode()
    return out.decode()


async def udp_ask(where: Address, *queries: bytes, timeout: float = 5.0) -> list[bytes]:
    """One answer for each query, in the order of arrival."""
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            answers.put_nowait(data)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=(where.host, where.port))
    try:
        for query in queries:
            transport.sendto(query)
        async with asyncio.timeout(timeout):
            return [await answers.get() for _ in queries]
    finally:
        transport.close()


async def tcp_ask(where: Address, *queries: bytes, timeout: float = 5.0) -> list[bytes]:
    """All queries at once on one connection, and as many answers."""
    reader, writer = await asyncio.open_connection(where.host, where.port)
    try:
        async with asyncio.timeout(timeout):
            writer.write(b"".join(len(query).to_bytes(2, "big") + query for query in queries))
            return [
                await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")) for _ in queries
            ]
    finally:
        writer.close()
        await writer.wait_closed()


class FakeRecursor:
    """A DNS server with a fixed zone. ``mangle`` makes datagrams of each answer; ``cut`` names are cut over UDP."""

    def __init__(self, zone: dict[tuple[bytes, ...], tuple[Record, ...]], rcode: int = 0) -> None:
        self.zone = zone
        self.rcode = rcode
        self.cut: set[tuple[bytes, ...]] = set()
        self.mangle: Callable[[bytes], list[bytes]] = lambda answer: [answer]
        self.asked: list[tuple[str, Message]] = []
        self._stack: list[Any] = []

    def answer(self, data: bytes, protocol: str) -> bytes:
        query = parse(data)
        self.asked.append((protocol, query))
        name = query.questions[0].name
        found = self.zone.get(tuple(label.lower() for label in name))
        flags = FLAG_QR | FLAG_RA | query.flags & 0x0110
        if protocol == "udp" and name in self.cut:
            return serialize(Message(query.id, flags | FLAG_TC, query.questions))
        rcode = self.rcode or (3 if found is None else 0)
        return serialize(Message(query.id, flags | rcode, query.questions, found or ()))

    async def start(self) -> Address:
        outer = self

        class Udp(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                for answer in outer.mangle(outer.answer(data, "udp")):
                    self.transport.sendto(answer, addr)

        async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = outer.answer(await reader.readexactly(size), "tcp")
            writer.write(len(answer).to_bytes(2, "big") + answer)
            writer.close()

        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(stream, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_datagram_endpoint(Udp, local_addr=("127.0.0.1", port))
        self._stack += [server, transport]
        return Address("127.0.0.1", port)

    def stop(self) -> None:
        for one in self._stack:
            one.close()
