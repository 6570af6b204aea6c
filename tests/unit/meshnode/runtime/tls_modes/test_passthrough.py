"""Bytes that nobody opens: passed on as they came in both directions, and who says nothing is not waited for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import Endpoint
from meshnode.runtime.tls_modes import passthrough
from meshnode.runtime.tls_modes.passthrough import Passthrough
from meshnode.tls_modes.model import Mode, TlsListener, TlsUpstream
from tests.support.asynchronous import asynchronous
from tests.support.proxy import echo_server, local
from tests.support.wire import free_port


def hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="shop.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = hello()
DATA = HELLO + random.Random(3).randbytes(3_000_000)


@contextlib.asynccontextmanager
async def running(to: Endpoint, **settings: Any) -> AsyncIterator[Passthrough]:
    made = Passthrough(TlsListener("x", local(0), Mode.PASSTHROUGH, TlsUpstream(to), **settings))
    await made.start()
    try:
        yield made
    finally:
        await made.stop(drain_timeout=0)


async def exchange(one: Passthrough, data: bytes) -> bytes:
    """Send all, end, read all."""
    reader, writer = await asyncio.open_connection(one.address.host, one.address.port)
    try:
        writer.write(data)
        if data:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


@asynchronous
async def test_everything_arrives_as_it_came_also_after_one_side_has_ended() -> None:
    async with echo_server() as app, running(app) as one:
        assert await asyncio.gather(*(exchange(one, DATA) for _ in range(3))) == [DATA] * 3


@asynchronous
async def test_who_says_nothing_or_half_of_it_is_not_waited_for() -> None:
    async with echo_server() as app, running(app, handshake_timeout=0.05) as one:
        for said in (b"", HELLO[:20]):
            reader, writer = await asyncio.open_connection(one.address.host, one.address.port)
            writer.write(said)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()


@asynchronous
async def test_an_upstream_that_isn_t_there_ends_the_connection_with_a_reason_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    with caplog.at_level(logging.WARNING):
        async with running(local(port)) as one:
            assert await exchange(one, HELLO) in (b"", b"reset")
    (line,) = caplog.messages
    assert f"127.0.0.1:{port} can't be reached: Connection refused" in line


@asynchronous
async def test_one_more_of_those_that_say_nothing_takes_the_place_of_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passthrough, "DEFAULT_MAX_HANDSHAKES", 2)
    async with echo_server() as app, running(app) as one:
        silent = [await asyncio.open_connection(one.address.host, one.address.port) for _ in range(3)]
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(silent[0][0].read(), 20) == b""
        assert await exchange(one, HELLO) == HELLO
        for _, writer in silent:
            writer.close()


@asynchronous
async def test_a_connection_too_many_is_refused_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passthrough, "DEFAULT_MAX_CONNECTIONS", 1)
    async with echo_server() as app, running(app) as one:
        reader, writer = await asyncio.open_connection(one.address.host, one.address.port)
        writer.write(HELLO)
        assert await reader.readexactly(len(HELLO)) == HELLO
        assert await exchange(one, b"") in (b"", b"reset")
        writer.write(b"more")
        assert await reader.readexactly(4) == b"more"
        writer.close()


@asynchronous
async def test_an_address_that_is_taken_is_named() -> None:
    async with echo_server() as app:
        one = TlsListener("x", app, Mode.PASSTHROUGH, TlsUpstream(app))
        with pytest.raises(
            ConfigError, match=rf"^listener.x.bind: can't listen on {app}: Address already in use"
        ):
            await Passthrough(one).start()


@asynchronous
async def test_stopping_lets_what_is_open_end_and_takes_nobody_else() -> None:
    async with echo_server() as app, running(app) as one:
        reader, writer = await asyncio.open_connection(one.address.host, one.address.port)
        writer.write(HELLO)
        assert await reader.readexactly(len(HELLO)) == HELLO
        stopping = asyncio.ensure_future(one.stop(drain_timeout=20))  # noqa: TID251  the test's own
        while True:
            try:
                _, other = await asyncio.open_connection(one.address.host, one.address.port)
            except ConnectionRefusedError:
                break
            except ConnectionResetError:
                continue
            other.close()
        writer.write(b"more")
        assert await reader.readexactly(4) == b"more"
        writer.close()
        await asyncio.wait_for(stopping, 20)
