"""The HTTP listener: TLS on both sides, time, bounds, changes, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshnode.base.errors import ConfigError
from meshnode.l7.timeouts import Timeouts
from meshnode.proxy.config import Endpoint
from meshnode.runtime.proxy.http_listener import HttpListener, HttpServer, serve_http
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import on_uvloop
from tests.support.http_proxy import (
    GET,
    LEAF,
    answering,
    exchange,
    listening,
    raw,
    said,
    server_context,
    show_app,
    trusting_context,
)
from tests.support.proxy import Ca, Clock, local, server
from tests.support.waiting import until


def arrived(front: HttpServer, count: int) -> bool:
    return max(link.received_bytes for link in front._links) == count


@on_uvloop
async def test_who_sends_a_head_slowly_is_answered_408_and_who_says_nothing_is_closed() -> None:
    clock = Clock()
    async with show_app() as app, listening(app, clock=clock, timeouts=Timeouts(header=10.0)) as front:
        slow, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
        silent, other = await asyncio.open_connection("127.0.0.1", front.address.port)
        for number, byte in enumerate(b"GET / HTTP/1.1\r\nHo", 1):
            writer.write(bytes([byte]))
            await until(functools.partial(arrived, front, number), "the byte has arrived", interval=0)
            clock.now += 0.55
        clock.now += 0.2
        front.check(clock.now)
        status, text = said(await asyncio.wait_for(slow.read(), 10))
        assert (status, text) == (408, "no whole head of a request was sent for 10 s.\n")
        assert await asyncio.wait_for(silent.read(), 10) == b""
        writer.close()
        other.close()


@on_uvloop
async def test_an_application_that_says_nothing_is_answered_for_with_504() -> None:
    clock = Clock()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(serve) as app, listening(app, clock=clock, timeouts=Timeouts(request=15.0)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: any(link.streams for link in front._links), "the request is under way")
        clock.now += 15.1
        front.check(clock.now)
        answer = await asyncio.wait_for(reader.readuntil(b"15 s.\n"), 10)
        assert said(answer) == (504, "the request was given up: it is not finished after 15 s.\n")
        writer.close()


@on_uvloop
async def test_plain_http_to_a_tls_port_is_told_so_and_tls_to_a_plain_port_gets_an_alert() -> None:
    async with (
        show_app() as app,
        listening(app, server_tls=server_context()) as tls,
        listening(app) as plain,
    ):
        assert said(await raw(tls.address.port, GET)) == (400, "this port speaks TLS: use https.\n")
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection("127.0.0.1", plain.address.port, ssl=trusting_context())
        await until(lambda: plain.counters["refused.tls"], "it is counted")
        assert tls.counters["refused.plaintext"] == 1


@on_uvloop
async def test_a_handshake_that_is_never_finished_is_given_up() -> None:
    clock = Clock()
    async with show_app() as app, listening(app, clock=clock, server_tls=server_context()) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
        writer.write(b"\x16\x03\x01")
        await until(lambda: front._links, "it is there")
        clock.now += 10.1
        front.check(clock.now)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        assert front.counters["refused.handshake_timeout"] == 1
        writer.close()


@on_uvloop
async def test_a_client_that_is_gone_before_its_handshake_is_forgotten() -> None:
    async with show_app() as app, listening(app, server_tls=server_context()) as front:
        for said_, kind in ((b"", "closed_early"), (b"\x16\x03\x01", "handshake")):
            _, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
            writer.write(said_)
            await until(lambda: front._links, "it is there")
            writer.transport.abort()
            await until(lambda: not front._links, "it is forgotten")
            assert front.counters[f"refused.{kind}"] == 1


@on_uvloop
async def test_a_stop_does_not_wait_for_who_has_not_shaken_hands() -> None:
    async with show_app() as app, listening(app, server_tls=server_context()) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
        await until(lambda: front._links, "it is there")
        await asyncio.wait_for(front.stop(drain_timeout=60), 10)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


@contextlib.asynccontextmanager
async def tls_app(leaf: Any = LEAF) -> AsyncIterator[tuple[Endpoint, list[str | None]]]:
    """An application behind TLS, and the names that clients sent."""
    seen: list[str | None] = []
    context = server_context(leaf)

    def named(_socket: object, name: str | None, _context: object) -> None:
        seen.append(name)

    context.sni_callback = named

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
            await reader.read()
        writer.close()

    listening_ = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield local(listening_.sockets[0].getsockname()[1]), seen
    finally:
        listening_.close()


@on_uvloop
async def test_the_name_is_verified_with_sni_and_without() -> None:
    async with tls_app() as (app, seen):
        for sni, name, status in (
            ("localhost", "localhost", 200),
            ("", "localhost", 200),
            ("", "other", 502),
            ("localhost", "other", 502),
            ("", "", 200),
        ):
            tls = {"upstream_tls": trusting_context(), "upstream_sni": sni, "upstream_name": name}
            async with listening(app, **tls) as front:
                assert said(await raw(front.address.port, GET))[0] == status, (sni, name)
        assert seen == ["localhost", None, None, "localhost", None]


@on_uvloop
async def test_an_application_with_a_certificate_of_another_root_is_502() -> None:
    async with tls_app() as (app, _), listening(app, upstream_tls=trusting_context(Ca())) as front:
        status, text = said(await raw(front.address.port, GET))
        assert status == 502
        assert text.startswith("the application's TLS can't be used: its certificate does not verify")


@on_uvloop
async def test_connections_are_bounded() -> None:
    async with show_app() as app, listening(app, max_connections=1) as front:
        _, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
        await until(lambda: front._links, "the first is there")
        with contextlib.suppress(ConnectionResetError):
            assert await raw(front.address.port, GET) == b""
        assert front.counters["refused.too_many"] == 1
        writer.close()


@on_uvloop
async def test_new_settings_hold_for_later_connections_and_cut_none() -> None:
    async with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none", then_close=False) as one,
        show_app() as two,
        listening(one) as front,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", front.address.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"one")
        front.update(replace(front.settings, upstream=two))
        status, shown = await exchange(front.address.port, GET)
        assert (status, shown["path"]) == (200, "/a?b=1")
        assert not reader.at_eof()
        writer.close()


@on_uvloop
async def test_a_stop_finishes_what_is_under_way() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        await reader.read()

    async with server(serve) as app, listening(app) as front:
        answer = spawn(raw(front.address.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), name="a client")
        await asked.wait()
        stopping = spawn(front.stop(drain_timeout=10), name="the stop")
        await asyncio.sleep(0)
        go_on.set()
        head, _, body = (await answer).partition(b"\r\n\r\n")
        assert b"connection: close" in head
        assert body == b"done"
        await asyncio.wait_for(stopping, 5)


@on_uvloop
async def test_an_address_in_use_is_an_error_that_names_the_listener() -> None:
    async with show_app() as app:
        with pytest.raises(ConfigError, match=f"front can't listen on {app}: Address already in use"):
            await serve_http(HttpListener("front", app, app))


@on_uvloop
async def test_it_listens_on_a_unix_socket_and_leads_to_one(tmp_path: Path) -> None:
    path = Endpoint(path=str(tmp_path / "front.sock"))
    async with show_app() as app:
        middle = await serve_http(HttpListener("middle", path, app))
        async with listening(path) as front:
            _, shown = await exchange(front.address.port, GET)
            assert json.dumps(shown["headers"]).count("x-request-id") == 1
        await middle.stop(drain_timeout=0)
    assert not Path(path.path).exists()
