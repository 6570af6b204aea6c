"""One connection on a real loopback socket: answers without an end."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from meshnode.http.effects import StreamLog
from tests.support.http_serving import closed, on_loop, serving, within
from tests.unit.meshnode.runtime.http_dialling import IMPATIENT, LOOPS, get, gone


@LOOPS
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_log_is_streamed_until_the_client_goes(uv: bool, version: str) -> None:
    async def main() -> None:
        async with serving() as http:
            reader, writer = await http.connect()
            writer.write(f"GET /v1/agent/monitor HTTP/{version}\r\nHost: a\r\n\r\n".encode())
            head = await within(reader.readuntil(b"\r\n\r\n"))
            assert (b"Transfer-Encoding: chunked" in head) is (version == "1.1")
            expected = b"4\r\none\n\r\n4\r\ntwo\n\r\n" if version == "1.1" else b"one\ntwo\n"
            assert await within(reader.readexactly(len(expected))) == expected
            await closed(writer)
            await within(http.shell.cancelled.wait())
            await gone(http)
            assert http.shell.performed == [StreamLog("INFO")]

    on_loop(main, uv=uv)


def test_a_stream_that_ends_is_closed_with_an_empty_chunk_and_the_connection_goes_on() -> None:
    async def main() -> None:
        async with serving() as http:
            http.shell.release.set()
            assert await http.curl("/v1/agent/monitor") == "one\ntwo\n"
            data = await http.raw(get("/v1/agent/monitor") + get("/", "Connection: close\r\n"))
            assert b"0\r\n\r\nHTTP/1.1 200 OK" in data
            head = b"HEAD /v1/agent/monitor HTTP/1.1\r\nHost: a\r\n\r\n"
            data = await http.raw(head + get("/", "Connection: close\r\n"))
            assert b"chunked\r\n\r\nHTTP/1.1 200 OK" in data
            data = await http.raw(get("/v1/agent/monitor", "Connection: close\r\n"))
            assert b"Connection: close\r\n" in data
            assert data.endswith(b"\r\n0\r\n\r\n")

    on_loop(main)


def test_a_slow_reader_of_a_stream_holds_back_its_source() -> None:
    async def main() -> None:
        async with serving() as http:
            produced = 0

            async def endless() -> Any:
                nonlocal produced
                while True:
                    produced += 1
                    yield b"x" * 65536

            http.shell._lines = endless  # type: ignore[method-assign]
            sock = socket.create_connection(("127.0.0.1", http.port))
            sock.sendall(get("/v1/agent/monitor"))
            (connection,) = http.server.host.connections or {None}
            async with asyncio.timeout(20):
                while connection is None or connection._paused is None:
                    await asyncio.sleep(0)
                    (connection,) = http.server.host.connections or {None}
            before = produced
            assert await http.curl("/v1/status/leader") == '"10.0.0.1:8300"'
            assert produced == before
            sock.close()
            await gone(http)

    on_loop(main)


def test_a_stream_goes_on_after_its_reader_was_slow_for_a_while() -> None:
    async def main() -> None:
        async with serving(limits=IMPATIENT) as http:

            async def bursts() -> Any:
                for _ in range(300):
                    yield b"x" * 65536
                http.shell.started.set()
                await http.shell.release.wait()
                yield b"the end"

            http.shell._lines = bursts  # type: ignore[method-assign]
            reader, writer = await http.connect()
            writer.write(b"GET /v1/agent/monitor HTTP/1.0\r\n\r\n")
            await within(reader.readuntil(b"\r\n\r\n"))
            await within(reader.readexactly(300 * 65536))
            await within(http.shell.started.wait())
            assert await http.raw(b"") == b""  # longer than any time-out
            http.shell.release.set()
            assert await within(reader.read()) == b"the end"
            await closed(writer)

    on_loop(main)
