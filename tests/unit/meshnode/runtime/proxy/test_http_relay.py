"""Requests through a listener: what reaches the application, what comes back, and what neither ever sees."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from meshnode.l7.model import Bounds
from tests.support.asynchronous import on_uvloop
from tests.support.http_proxy import GET, answering, exchange, listening, raw, said, show_app
from tests.support.proxy import local, server
from tests.support.waiting import until
from tests.support.wire import free_port


@on_uvloop
async def test_a_request_goes_on_with_its_authority_and_the_standard_fields() -> None:
    async with show_app() as app, listening(app) as front:
        status, shown = await exchange(front.address.port, GET)
        headers = dict(shown["headers"])
        assert (status, shown["method"], shown["path"]) == (200, "GET", "/a?b=1")
        assert headers["host"] == "x:1"
        assert headers["x-forwarded-proto"] == "http"
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert len(headers["x-request-id"]) == 36
        assert front.counters["responses.2xx"] == 1


@on_uvloop
async def test_requests_of_one_connection_go_over_one_connection_to_the_application() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with server(serve) as app, listening(app) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 OK")
        writer.close()
        assert connections == 1


@on_uvloop
async def test_requests_that_were_sent_ahead_are_answered_in_order() -> None:
    one = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
    async with show_app() as app, listening(app) as front:
        answer = await raw(front.address.port, one % 1 + one % 2 + one % 3 + GET)
        places = [answer.index(b'"path": "/%d"' % number) for number in (1, 2, 3)]
        assert places == sorted(places)
        assert answer.count(b"HTTP/1.1 200") == 4


@on_uvloop
async def test_chunks_and_trailers_reach_the_application() -> None:
    body = b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n"
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with show_app() as app, listening(app) as front:
        _, shown = await exchange(front.address.port, head + body)
        assert shown["body"] == "abcdefg"
        assert shown["trailers"] == [["x-sum", "7"]]


@on_uvloop
async def test_trailers_reach_the_application_without_a_body_too() -> None:
    async with show_app() as app, listening(app) as front:
        data = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        data += b"0\r\nX-Sum: 1\r\n\r\n"
        _, shown = await exchange(front.address.port, data)
        assert shown["trailers"] == [["x-sum", "1"]]


@on_uvloop
async def test_a_client_that_expects_100_continue_hears_it_from_the_application() -> None:
    async with show_app() as app, listening(app) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"abc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()


@on_uvloop
async def test_a_large_body_passes_both_ways_and_little_of_it_waits() -> None:
    size = 20_000_000
    stopped = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await stopped.wait()
        received = 0
        while received < size:
            received += len(await reader.read(1 << 20))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(b"y" * size)
        await writer.drain()
        await reader.read()

    async with server(serve) as app, listening(app) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

        def waits() -> bool:
            links = list(front._links)
            return bool(links) and bool(links[0].streams) and not links[0]._reading

        await until(waits, "the client is not read any more")
        (link,) = front._links
        assert sum(stream.waiting for stream in link.streams.values()) < 1_000_000
        stopped.set()
        await reader.readuntil(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readexactly(size), 60) == b"y" * size
        writer.close()


@on_uvloop
async def test_a_websocket_is_a_tunnel_after_the_101_and_ends_when_one_side_ends() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b"upgrade: websocket" in head
        assert b"connection: upgrade" in head
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi"
        )
        while data := await reader.read(100):
            writer.write(data.upper())

    async with server(serve) as app, listening(app) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nearly "
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        writer.write(b"frame")
        assert await reader.readexactly(len(b"hiEARLY FRAME")) == b"hiEARLY FRAME"
        writer.close()
        await until(lambda: front.counters["responses.1xx"] == 1, "the tunnel has ended")


@on_uvloop
async def test_an_upgrade_to_h2c_is_not_passed_on() -> None:
    async with show_app() as app, listening(app) as front:
        _, shown = await exchange(
            front.address.port,
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        )
        assert not {"upgrade", "http2-settings"} & set(dict(shown["headers"]))


@on_uvloop
async def test_a_smuggled_request_never_reaches_the_application(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            asked.append(data)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    attack = (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    async with server(serve) as app, listening(app) as front:
        status, text = said(await raw(front.address.port, attack))
        assert status == 400
        assert text == "the request has both Content-Length and Transfer-Encoding: send one of them.\n"
        assert asked == []
        assert front.counters["refused.400"] == 1


@on_uvloop
async def test_a_head_that_is_too_long_is_answered_431_and_the_client_can_read_it() -> None:
    async with show_app() as app, listening(app) as front:
        long = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 65536 + b"\r\n\r\n"
        status, text = said(await raw(front.address.port, long))
        assert (status, text) == (431, "the head of the request has more than 65536 bytes.\n")


@on_uvloop
async def test_a_bad_chunk_in_the_middle_ends_the_request_with_400() -> None:
    begun, received = asyncio.Event(), asyncio.Queue[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readuntil(b"abc\r\n")
        begun.set()
        with contextlib.suppress(ConnectionResetError):
            data += await reader.read()
        received.put_nowait(data)

    async with server(serve) as app, listening(app) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await begun.wait()
        writer.write(b"xyz\r\n")
        assert said(await reader.read())[0] == 400
        data = await asyncio.wait_for(received.get(), 10)
        assert not data.endswith(b"0\r\n\r\n"), "the application must not take it for whole"
        writer.close()


@on_uvloop
async def test_a_body_beyond_its_bound_is_answered_413() -> None:
    async with show_app() as app, listening(app, bounds=Bounds(max_body_bytes=10)) as front:
        status, _ = said(
            await raw(front.address.port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
        )
        assert status == 413


@on_uvloop
async def test_an_application_that_is_not_there_is_502_and_the_log_says_where(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "meshnode.proxy")
    port = free_port()
    async with listening(local(port)) as front:
        status, text = said(await raw(front.address.port, GET))
        assert (status, text) == (502, "the application can't be reached: Connection refused.\n")
    assert f"(127.0.0.1:{port})" in caplog.text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "the server ended the connection before it answered.\n"),
        (b"SSH-2.0-x\r\n\r\n", "its response can't be read"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            "its response can't be read",
        ),
        (
            b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "changed the protocol, and nobody asked it to",
        ),
    ],
)
@on_uvloop
async def test_an_answer_that_is_none_is_502(answer: bytes, text: str) -> None:
    async with answering(answer) as app, listening(app) as front:
        status, found = said(await raw(front.address.port, GET))
        assert status == 502
        assert text in found


@on_uvloop
async def test_a_response_that_breaks_off_is_no_whole_response_to_the_client_either() -> None:
    broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    async with answering(broken) as app, listening(app) as front:
        with contextlib.suppress(ConnectionResetError):
            assert not (await raw(front.address.port, GET)).endswith(b"0\r\n\r\n")
        await until(lambda: front.counters["requests"] == 1, "it is written down")


@on_uvloop
async def test_a_request_that_was_sent_is_never_sent_again() -> None:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        if asked == 1:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            asked += 1
        writer.close()

    async with server(serve) as app, listening(app) as front:
        assert said(await raw(front.address.port, GET))[0] == 200
        assert said(await raw(front.address.port, GET))[0] == 502
        assert asked == 2
