"""The same doubtful requests through our listener and through Envoy: what each lets reach the application."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from meshnode.proxy.config import Endpoint
from tests.interop.test_http_proxy import envoy
from tests.support.asynchronous import asynchronous
from tests.support.envoy_http import http_cluster, http_filter
from tests.support.http_proxy import listening
from tests.support.programs import needs
from tests.support.proxy import server
from tests.support.smuggling import IN_ORDER, SMUGGLING

pytestmark = needs("envoy")

#: Seconds for an answer: some of Envoy's wait for bytes that never come.
PATIENCE = 2.0


class Recorder:
    """An application that reads like the simplest of servers: heads, and everything else with them."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.lines += [line for line in data.split(b"\r\n") if line.endswith((b"HTTP/1.1", b"HTTP/1.0"))]
            if b"\r\n\r\n" in data:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def answered(to: Endpoint, data: bytes) -> int:
    """Status of the first answer; 0 without one in time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", to.port)
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            line = await asyncio.wait_for(reader.readline(), PATIENCE)
            return int(line.split(b" ")[1]) if line.startswith(b"HTTP/1.1 ") else 0
        return 0
    finally:
        writer.close()


@asynchronous
async def test_nothing_doubtful_passes_ours_and_what_is_in_order_passes_both(tmp_path: Path) -> None:
    app, other = Recorder(), Recorder()
    async with server(app) as endpoint, server(other) as other_endpoint, listening(endpoint) as ours:
        cluster = http_cluster(("127.0.0.1", other_endpoint.port))
        route = {"route": {"cluster": "to"}}
        async with envoy(tmp_path, http_filter("HTTP1", route), cluster) as theirs:
            passed: list[str] = []
            for what, (status, data) in SMUGGLING.items():
                assert await answered(ours.address, data) == status, what
                assert app.lines == [], what
                if 200 <= await answered(theirs, data) < 300:
                    passed.append(what)
            print(f"Envoy lets {len(passed)} of {len(SMUGGLING)} pass: {'; '.join(passed)}")
            for data in IN_ORDER:
                if b"HTTP/1.0" in data:
                    continue  # without Host; Envoy takes no HTTP/1.0 unless it is told to
                for to in (ours.address, theirs):
                    assert await answered(to, data) == 200, (to, data)
