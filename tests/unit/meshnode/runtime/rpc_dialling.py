"""Connections to a server by hand, and bytes to send on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from meshnode.base.address import Address
from meshnode.rpc.codec import Response, ResponseParser
from meshnode.runtime.rpc_server import ServerOptions
from meshnode.runtime.rpc_wire import WireTimes

__all__ = ["QUICK", "dialled", "responses", "to_the_end"]

QUICK = ServerOptions(first_byte_timeout=0.1, times=WireTimes(handshake_timeout=0.1, write_timeout=0.3))


@asynccontextmanager
async def dialled(address: Address) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def responses(reader: asyncio.StreamReader, count: int) -> list[Response]:
    parser, got = ResponseParser(), list[Response]()
    while len(got) < count:
        data = await reader.read(65536)
        assert data, "closed early"
        got += parser.feed(data)
    return got
