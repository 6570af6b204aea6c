"""Native services whose agent is in memory."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from meshnode.proxy.balance import Instance
from meshnode.sdk.server import MeshServer
from meshnode.sdk.service import Service, Surroundings
from tests.support.proxy import Ca, Certificates, Decisions, Instances, spiffe

__all__ = ["Native", "echo", "native", "pair"]


@dataclass
class Native:
    """A running service and what the test changes around it."""

    service: Service
    certificates: Certificates
    decisions: Decisions
    instances: Instances


@contextlib.asynccontextmanager
async def native(
    ca: Ca,
    name: str,
    *,
    instances: Instances | None = None,
    decisions: Decisions | None = None,
    datacenter: str = "dc1",
    **options: Any,
) -> AsyncIterator[Native]:
    certificates = Certificates(ca.leaf(name, datacenter))
    decisions, instances = decisions or Decisions(), instances or Instances()
    surroundings = Surroundings(certificates, decisions, instances)
    async with Service(name, surroundings=surroundings, rng=random.Random(1), **options) as service:
        yield Native(service, certificates, decisions, instances)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Gives back what it gets until the peer ends."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@dataclass
class ServicePair:
    """``web`` dials ``api``, which echoes."""

    ca: Ca
    web: Native
    api: Native
    server: MeshServer
    connected: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.server.sockets[0].getsockname()[1])

    async def say(self, text: bytes = b"hello") -> bytes:
        """One connection, one echo."""
        reader, writer = await self.web.service.dial("api")
        try:
            writer.write(text)
            return await asyncio.wait_for(reader.readexactly(len(text)), 10)
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[ServicePair]:
    ca, instances = Ca(), Instances()
    connected: list[str] = []
    async with (
        native(ca, "api", instances=instances, **options) as api,
        native(ca, "web", instances=instances) as web,
    ):

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.append(api.service.identify(writer.get_extra_info("ssl_object")).uri)
            await echo(reader, writer)

        server = await api.service.start_server(serve, "127.0.0.1", 0)
        made = ServicePair(ca, web, api, server, connected)
        instances.known["api"] = [Instance("127.0.0.1", made.port, spiffe("api"))]
        yield made
