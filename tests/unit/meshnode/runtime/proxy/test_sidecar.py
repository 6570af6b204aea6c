"""A pair of sidecars, an application behind it, and what happens to the bytes of established connections."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from meshnode.proxy.config import Endpoint, ProxyConfig
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous
from tests.support.programs import needs
from tests.support.proxy import client, echo_server, local, say, server, start_pair, upstream
from tests.support.waiting import until
from tests.support.wire import free_port

CHUNK = random.Random(3).randbytes(1 << 20)


@asynchronous
async def test_bytes_come_back_as_they_were_sent() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        for size in (1, 16_383, 16_384, 16_385, 131_072, 131_073, 900_000):
            assert await say(reader, writer, CHUNK[:size]) == CHUNK[:size]


@asynchronous
async def test_the_end_of_a_request_is_passed_on_and_the_response_comes_after_it() -> None:
    """Request, shutdown, and only then the response: what a proxy without half-close breaks."""
    heard: list[bytes] = []

    async def answer_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.write(b"you said " + heard[0])
        writer.write_eof()

    async with server(answer_after_the_end) as app, start_pair(app) as pair, client(pair) as (reader, writer):
        writer.write(b"all of it")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 10) == b"you said all of it"
        assert heard == [b"all of it"]
        await until(lambda: not len(pair.api.ledger) and not len(pair.web.ledger), "both ledgers are empty")
        assert [entry.close_cause for entry in pair.api.ledger.closed] == ["both sides ended"]


@asynchronous
async def test_a_server_may_end_first_and_still_hear_the_client() -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def greet_and_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello, that was all")
        writer.write_eof()
        heard.set_result(await reader.read())

    async with server(greet_and_listen) as app, start_pair(app) as pair, client(pair) as (reader, writer):
        assert await asyncio.wait_for(reader.read(), 10) == b"hello, that was all"
        writer.write(CHUNK)
        writer.write_eof()
        assert await asyncio.wait_for(heard, 10) == CHUNK


@asynchronous
async def test_a_slow_reader_stops_the_sender_and_loses_nothing() -> None:
    """The sender can't get further ahead than the buffers of sockets, which this test makes small against 64 MiB."""
    total, go, sent = 64, asyncio.Event(), 0

    async def wait_then_count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        digest = hashlib.sha256()
        while data := await reader.read(1 << 20):
            digest.update(data)
        writer.write(digest.digest())
        writer.write_eof()

    async with server(wait_then_count) as app, start_pair(app) as pair, client(pair) as (reader, writer):

        async def send() -> None:
            nonlocal sent
            for _ in range(total):
                writer.write(CHUNK)
                await writer.drain()
                sent += 1
            writer.write_eof()

        sending = spawn(send(), name="send")
        seen = -1

        def stands_still() -> bool:
            nonlocal seen
            before, seen = seen, sum(entry.received for entry in pair.api.ledger.live())
            return before == seen > 0

        await until(stands_still, "the sender stands still", interval=0.3)
        assert sent < total, "the proxies swallowed everything"
        assert len(pair.api.ledger) == 1
        go.set()
        assert await asyncio.wait_for(reader.read(), 30) == hashlib.sha256(CHUNK * total).digest()
        await sending


@asynchronous
async def test_a_reset_on_one_side_is_a_reset_on_the_other() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()

    async with server(hang_up) as app, start_pair(app) as pair, client(pair) as (reader, writer):
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)


@asynchronous
async def test_a_unix_socket_serves_on_both_ends(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()

    listening = await asyncio.start_unix_server(echo, tmp_path / "app.sock")
    async with start_pair(Endpoint(path=str(tmp_path / "app.sock"))) as pair:
        path = Endpoint(path=str(tmp_path / "up.sock"))
        pair.web.apply(ProxyConfig("web", None, (replace(upstream(), bind=path),)))
        reader, writer = await asyncio.open_unix_connection(path.path)
        assert await say(reader, writer, b"hello") == b"hello"
        writer.close()
        await writer.wait_closed()
    listening.close()


@needs("curl")
@asynchronous
async def test_curl_gets_a_page_through_a_pair(tmp_path: Path) -> None:
    page = tmp_path / "page.bin"
    page.write_bytes(CHUNK)
    port = free_port()
    serving = subprocess.Popen(
        ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", tmp_path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await until(lambda: _open(port), "the web server listens")
        async with start_pair(local(port)) as pair:
            for _ in range(3):
                curl = await asyncio.create_subprocess_exec(
                    "curl", "-s", "--fail", "--noproxy", "*", f"http://127.0.0.1:{pair.port}/page.bin",
                    stdout=subprocess.PIPE,
                )  # fmt: skip
                output, _ = await asyncio.wait_for(curl.communicate(), 20)
                assert (curl.returncode, output) == (0, CHUNK)
    finally:
        serving.kill()
        serving.wait()


async def _open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@asynchronous
async def test_an_application_at_a_host_name_is_resolved_for_each_connection() -> None:
    async with echo_server() as app:
        # Whatever addresses the name has: those where nobody listens are passed over.
        named = Endpoint("localhost", app.port, named=True)
        async with start_pair(named) as pair, client(pair) as (reader, writer):
            assert await say(reader, writer, b"hello") == b"hello"


@asynchronous
async def test_an_application_whose_name_has_no_address_is_told() -> None:
    async with start_pair(Endpoint("nobody.invalid", 1, named=True)) as pair, client(pair) as (reader, _):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        await until(lambda: pair.api.report()["Refused"], "it is refused")
        assert "nobody.invalid can't be resolved" in pair.api.report()["Refused"][0]["Because"]
