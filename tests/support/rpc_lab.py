"""What the RPC tests share: a mesh's certificates on disk, both event loops, a relay that adds or drops first bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from meshnode.base.address import Address
from meshnode.rpc.codec import Request
from meshnode.runtime.rpc_client import ClientOptions, RpcClient
from meshnode.runtime.rpc_server import PeerInfo, RpcServer, ServerOptions
from meshnode.runtime.tls import TlsContexts, TlsSettings
from tests.support.certs import Pair, make_ca, make_cert

__all__ = ["LOOPS", "Mesh", "client_of", "echo", "prefixing_relay", "run", "serving"]

T = TypeVar("T")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def run(main: Callable[[], Awaitable[T]], loop: str = "asyncio", *, deadline: float = 30.0) -> T:
    """Run ``main`` on a fresh loop; fails when it leaves a task behind."""

    async def watched() -> T:
        async with asyncio.timeout(deadline):
            result = await main()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"tasks left: {left}"
        return result

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(watched())


@dataclass(frozen=True)
class Mesh:
    """A CA and its files in one directory, and a stranger's CA."""

    directory: Path
    ca: Pair
    stranger: Pair

    @classmethod
    def make(cls, directory: Path) -> Mesh:
        mesh = cls(directory, make_ca("Mesh CA"), make_ca("Stranger CA"))
        mesh.ca.write(directory, "ca")
        mesh.stranger.write(directory, "stranger")
        return mesh

    def file(self, name: str) -> str:
        return str(self.directory / f"{name}.pem")

    def settings(self, name: str, pair: Pair | None = None, *, ca: str = "ca", **more: Any) -> TlsSettings:
        """Settings with a certificate called ``name`` (of the mesh CA unless given) and the CA file ``ca``."""
        certificate, key = (pair or make_cert([name], self.ca)).write(self.directory, name)
        return TlsSettings(ca_file=self.file(ca), cert_file=certificate, key_file=key, **more)

    def server(self, pair: Pair | None = None, **more: Any) -> TlsContexts:
        return TlsContexts(self.settings("server.dc1.consul", pair, **{"verify_incoming_rpc": True, **more}))

    def client(self, pair: Pair | None = None, **more: Any) -> TlsContexts:
        return TlsContexts(self.settings("client", pair, **{"verify_outgoing": True, **more}))


async def echo(request: Request, peer: PeerInfo) -> Any:
    return request.body


@asynccontextmanager
async def serving(
    handler: Callable[[Request, PeerInfo], Awaitable[Any]] = echo,
    tls: TlsContexts | None = None,
    options: ServerOptions | None = None,
) -> AsyncIterator[tuple[RpcServer, Address]]:
    server = RpcServer(handler, tls=tls, options=options)
    address = await server.start("127.0.0.1", 0)
    try:
        yield server, address
    finally:
        await server.stop(grace=2.0)
        assert server.connection_count == 0
        assert server.buffered_bytes == 0


@asynccontextmanager
async def client_of(
    tls: TlsContexts | None = None, options: ClientOptions | None = None
) -> AsyncIterator[RpcClient]:
    client = RpcClient(tls=tls, options=options)
    try:
        yield client
    finally:
        await client.close()
        assert client.session_count == 0


@asynccontextmanager
async def prefixing_relay(target: Address, prefix: bytes = b"", *, drop: int = 0) -> AsyncIterator[Address]:
    """A TCP relay that sends ``prefix`` to ``target`` first, or drops the first ``drop`` bytes of the caller."""
    tasks: set[asyncio.Task[Any]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            writer.transport.abort()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        there_reader, there = await asyncio.open_connection(*target)
        try:
            there.write(prefix)
            if drop:
                await reader.readexactly(drop)
            await asyncio.gather(pump(reader, there), pump(there_reader, writer))
        finally:
            there.close()
            writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield Address(*server.sockets[0].getsockname())
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
