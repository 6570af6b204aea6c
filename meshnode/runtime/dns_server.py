"""The DNS server: UDP and TCP on every address, effects carried out, recursors asked, and a graceful stop.

``DnsServer(resolver, perform, ...).listen(Address(...), ...)``, then ``stop(timeout)``. A query that memory can answer
is answered where it was read; any other has a task, of which there is a bounded number.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.metrics import Metrics
from meshnode.dns.answer import Reply, Resolver, Waiting
from meshnode.dns.effects import Effect, Forward, ResolveName
from meshnode.runtime.dns_connection import DnsConnection
from meshnode.runtime.dns_recursors import Recursors
from meshnode.runtime.dns_sockets import BACKLOG, DatagramSocket, open_pair
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["DnsServer", "DnsServerLimits", "Perform"]

#: Performs a ``Fetch`` or an ``ExecuteQuery``; raises ``MeshError`` for what is expected to fail.
Perform = Callable[[Effect[Any]], Awaitable[Any]]

log: Final = logging.getLogger("meshnode.dns")


@dataclass(frozen=True, slots=True)
class DnsServerLimits:
    """Bounds on what clients may hold; times in seconds.

    ``max_waiting`` queries wait for servers and recursors at once, each of them no longer than ``query_timeout``;
    past that the answer is SERVFAIL.
    """

    max_connections: int = 1024
    max_pipelined: int = 64
    idle_timeout: float = 10.0
    max_waiting: int = 2048
    query_timeout: float = 30.0


class DnsServer:
    """One resolver on any number of addresses. ``replace`` changes its configuration while it runs."""

    def __init__(
        self,
        resolver: Resolver,
        perform: Perform,
        recursors: Recursors | None = None,
        *,
        metrics: Metrics | None = None,
        node_name: str = "",
        limits: DnsServerLimits | None = None,
    ) -> None:
        self.limits = limits or DnsServerLimits()
        self._resolver = resolver
        self._perform = perform
        self._recursors = recursors
        self._metrics = metrics
        self._labels = (("node", node_name),)
        self._servers: list[asyncio.Server] = []
        self._datagrams: list[DatagramSocket] = []
        self._connections: set[DnsConnection] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._time: Callable[[], float] = float

    def replace(self, resolver: Resolver, recursors: Recursors | None) -> None:
        """Answer by another configuration from now on."""
        self._resolver, self._recursors = resolver, recursors

    async def listen(
        self, *addresses: Address, keys: tuple[str, str] = ("ports.dns", "addresses.dns")
    ) -> list[Address]:
        """Listen over UDP and TCP on ``addresses``; gives them back with the port that port 0 became.

        Raises :class:`ConfigError` naming the address and which of ``keys`` to change; then none of them is open.
        """
        loop = asyncio.get_running_loop()
        self._time = loop.time
        pairs = []
        try:
            for address in addresses:
                pairs.append(open_pair(address, keys))  # noqa: PERF401
        except ConfigError:
            for opened in (one for pair in pairs for one in pair):
                opened.close()
            raise
        where = []
        for datagram, stream in pairs:
            where.append(Address(*stream.getsockname()[:2]))
            self._datagrams.append(DatagramSocket(datagram, self._datagram_received))
            self._servers.append(
                await loop.create_server(partial(DnsConnection, self), sock=stream, backlog=BACKLOG)
            )
        return where

    async def stop(self, timeout: float) -> None:
        """Accept no more, finish what is in progress; after ``timeout`` seconds cut the rest."""
        self._stopping = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self._connections):
            connection.shut()
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=timeout)
            await cancel_and_wait(*self._waiting)
        for datagram in self._datagrams:
            datagram.close()
        self._datagrams.clear()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)

    def admit(self, connection: DnsConnection) -> bool:
        """Take a connection on the roll, unless there are too many."""
        if self._stopping or len(self._connections) >= self.limits.max_connections:
            return False
        self._connections.add(connection)
        return True

    def dismiss(self, connection: DnsConnection) -> None:
        """Strike an ended connection off the roll."""
        self._connections.discard(connection)

    def stream_query(self, data: bytes, source: str, respond: Callable[[bytes], None]) -> None:
        """Answer a query of a TCP connection."""
        self._handle(data, source, respond, tcp=True)

    def _datagram_received(self, datagram: DatagramSocket, data: bytes, source: Any, place: Any) -> None:
        if self._stopping:
            return
        start = self._time()
        reply = self._resolver.handle(data, source[0], tcp=False)
        if reply is None:
            return
        if isinstance(reply, Reply):
            datagram.send(reply.data, source, place)
            self._measure(reply, start)
        else:

            def respond(answer: bytes) -> None:
                if answer:
                    datagram.send(answer, source, place)

            self._wait(data, reply, start, respond)

    def _handle(self, data: bytes, source: str, respond: Callable[[bytes], None], *, tcp: bool) -> None:
        start = self._time()
        reply = self._resolver.handle(data, source, tcp=tcp)
        if isinstance(reply, Waiting):
            self._wait(data, reply, start, respond)
            return
        respond(reply.data if reply is not None else b"")
        if reply is not None:
            self._measure(reply, start)

    def _wait(self, query: bytes, waiting: Waiting, start: float, respond: Callable[[bytes], None]) -> None:
        if self._stopping or len(self._waiting) >= self.limits.max_waiting:
            waiting.steps.close()
            respond(self._resolver.failure(query))
            return
        task = spawn(self._finish(query, waiting, start, respond), name="dns query")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _finish(
        self, query: bytes, waiting: Waiting, start: float, respond: Callable[[bytes], None]
    ) -> None:
        reply = None
        try:
            async with asyncio.timeout(self.limits.query_timeout):
                reply = await self._drive(waiting)
        except TimeoutError:
            log.warning("a DNS query was given up after %gs", self.limits.query_timeout)
        finally:
            respond(reply.data if reply is not None else self._resolver.failure(query))
        if reply is not None:
            self._measure(reply, start)

    async def _drive(self, waiting: Waiting) -> Reply:
        steps, effect = waiting
        try:
            while True:
                try:
                    outcome = await self._outcome(effect)
                except MeshError as error:
                    log.warning("a DNS lookup failed: %s", error)
                    effect = steps.throw(error)
                else:
                    effect = steps.send(outcome)
        except StopIteration as done:
            reply: Reply = done.value
            return reply

    async def _outcome(self, effect: Effect[Any]) -> Any:
        match effect:
            case Forward(query, tcp):
                return await self._recursors.forward(query, tcp=tcp) if self._recursors is not None else None
            case ResolveName(name, kind):
                return await self._recursors.resolve(name, kind) if self._recursors is not None else ()
            case _:
                return await self._perform(effect)

    def _measure(self, reply: Reply, start: float) -> None:
        if reply.metric and self._metrics is not None:
            now = self._time()
            self._metrics.add_sample(reply.metric, (now - start) * 1000.0, now, self._labels)
