"""A real HTTP server on loopback for tests, foreign and raw clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from meshnode.base.address import Address
from meshnode.runtime.http_server import HttpLimits, HttpServer, TcpListener, UnixListener
from tests.support.http_agent import FakeShell, FakeView, api_of

DEADLINE = 20.0


class Serving:
    """A server, what it shows and performs, and ways to talk to it."""

    def __init__(
        self, server: HttpServer, view: FakeView, shell: FakeShell, where: list[Address | Path]
    ) -> None:
        self.server = server
        self.view = view
        self.shell = shell
        self.where = where

    @property
    def port(self) -> int:
        address = self.where[0]
        assert isinstance(address, Address)
        return address.port

    async def raw(self, data: bytes, *, eof: bool = False) -> bytes:
        """Send bytes, then read to the end of the connection."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            if eof:
                writer.write_eof()
            return await within(reader.read())
        finally:
            await closed(writer)

    async def connect(
        self, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await within(asyncio.open_connection("127.0.0.1", self.port, ssl=tls))

    async def curl(self, path: str, *options: str, scheme: str = "http") -> str:
        """What curl prints; fails with curl's own message when it fails."""
        code, out, err = await run_curl(*options, f"{scheme}://127.0.0.1:{self.port}{path}")
        assert code == 0, err
        return out


async def within(waited: Awaitable[Any]) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await waited


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await within(writer.wait_closed())


async def run_curl(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "15", "--noproxy", "*", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await within(process.communicate())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def serving(
    *listeners: TcpListener | UnixListener, limits: HttpLimits | None = None, view: FakeView | None = None,
    api: Any = None, **options: Any,
) -> AsyncIterator[Serving]:  # fmt: skip
    view = view or FakeView()
    shell = FakeShell(view)
    server = HttpServer(api or api_of(view), shell.perform, limits, **options)
    where = await server.listen(*(listeners or (TcpListener(Address("127.0.0.1", 0)),)))
    try:
        yield Serving(server, view, shell, where)
    finally:
        await server.stop(0.2)


def on_loop(main: Callable[[], Any], *, uv: bool = False) -> Any:
    """Run ``main`` to its end on asyncio's loop, or on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uv else None) as runner:
        return runner.run(main())
