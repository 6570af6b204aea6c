from __future__ import annotations

import asyncio

import pytest

from meshnode.base.errors import ConfigError
from meshnode.proxy.balance import Instance
from tests.support.asynchronous import asynchronous
from tests.support.proxy import Ca, Instances, spiffe
from tests.support.sdk import echo, native, pair
from tests.support.waiting import until


@asynchronous
async def test_connections_are_bounded() -> None:
    ca, instances = Ca(), Instances()
    async with native(ca, "api") as api, native(ca, "web", instances=instances) as web:
        server = await api.service.start_server(echo, "127.0.0.1", 0, max_connections=1)
        instances.known["api"] = [Instance("127.0.0.1", server.sockets[0].getsockname()[1], spiffe("api"))]
        reader, writer = await web.service.dial("api")
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        second, second_writer = await web.service.dial("api")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await second.readexactly(1)
        second_writer.close()
        writer.close()
        await until(lambda: len(api.service.live) == 0, "the first has ended")
        reader, writer = await web.service.dial("api")
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
        writer.close()


@asynchronous
async def test_a_callback_that_fails_ends_its_connection_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ca, instances = Ca(), Instances()

    async def fails(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"!":
            raise RuntimeError("the application's own mistake")
        await echo(reader, writer)

    async with native(ca, "api") as api, native(ca, "web", instances=instances) as web:
        server = await api.service.start_server(fails, "127.0.0.1", 0)
        instances.known["api"] = [Instance("127.0.0.1", server.sockets[0].getsockname()[1], spiffe("api"))]
        good_reader, good = await web.service.dial("api")
        good.write(b".")
        bad_reader, bad = await web.service.dial("api")
        bad.write(b"!")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await bad_reader.readexactly(1)
        good.write(b"still")
        assert await good_reader.readexactly(5) == b"still"
        good.close()
        bad.close()
    assert "the application's own mistake" in caplog.text


@asynchronous
async def test_a_callback_may_be_a_plain_function_that_hands_the_connection_on() -> None:
    ca, instances = Ca(), Instances()
    kept: list[asyncio.StreamWriter] = []

    def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)

    async with native(ca, "api") as api, native(ca, "web", instances=instances) as web:
        server = await api.service.start_server(hand_on, "127.0.0.1", 0)
        instances.known["api"] = [Instance("127.0.0.1", server.sockets[0].getsockname()[1], spiffe("api"))]
        reader, writer = await web.service.dial("api")
        await until(lambda: kept, "it was handed on")
        assert len(api.service.live) == 1
        api.decisions.deny("web")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


@asynchronous
async def test_a_closed_server_lets_what_is_established_go_on() -> None:
    async with pair() as two:
        reader, writer = await two.web.service.dial("api")
        async with two.server:
            assert two.server.is_serving()
        assert not two.server.is_serving()
        assert two.server.sockets == ()
        writer.write(b"on")
        assert await reader.readexactly(2) == b"on"
        writer.close()


@asynchronous
async def test_plain_bytes_and_silence_disturb_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as two:
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"", b"\x16\x03\x01\xff\xff" + b"\0" * 200):
            reader, writer = await asyncio.open_connection("127.0.0.1", two.port)
            writer.write(said)
            writer.write_eof()
            await reader.read()
            writer.close()
        assert await two.say() == b"hello"
        assert "it speaks plain HTTP, not TLS" in caplog.text
        assert two.api.service.refusals.total == 2, "who said nothing is not counted"
        assert "Traceback" not in caplog.text


@asynchronous
async def test_the_context_is_the_services_own() -> None:
    async with native(Ca(), "api") as api:
        with pytest.raises(ConfigError, match="leave it out"):
            await api.service.start_server(echo, "127.0.0.1", 0, ssl=True)
