"""Requests by hand to a server on loopback."""

from __future__ import annotations

import asyncio

import pytest

from meshnode.runtime.http_server import HttpLimits
from tests.support.http_serving import Serving, within

__all__ = ["IMPATIENT", "LOOPS", "WAIT", "answer", "get", "gone"]

LOOPS = pytest.mark.parametrize("uv", [False, True], ids=["asyncio", "uvloop"])
WAIT = b"GET /v1/event/list?index=1 HTTP/1.1\r\nHost: a\r\n\r\n"


def get(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one answer with a length."""
    head = (await within(reader.readuntil(b"\r\n\r\n"))).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    return (
        int(head[0].split()[1]),
        headers,
        await within(reader.readexactly(int(headers.get("Content-Length", 0)))),
    )


async def gone(http: Serving) -> None:
    """Until the server has no connection left."""
    http.server.host.emptied = asyncio.Event()
    if http.server.host.connections:
        await within(http.server.host.emptied.wait())


IMPATIENT = HttpLimits(header_timeout=0.2, body_timeout=0.2, idle_timeout=0.2, write_timeout=0.2)
