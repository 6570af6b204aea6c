"""Connections that wait for an application: used once, and only while nothing they rest on has changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import MAX_PREWARM, ProxyConfig, Upstream
from meshnode.proxy.definition import parse_service
from meshnode.runtime.proxy import warm as module
from meshnode.runtime.proxy.warm import WarmPool
from tests.support.asynchronous import asynchronous
from tests.support.proxy import Pair, echo_server, local, server, start_pair, upstream
from tests.support.waiting import until


@contextlib.asynccontextmanager
async def warmed(prewarm: int = 1) -> AsyncIterator[Pair]:
    """A pair through which one connection went, so that as many wait as shall."""
    async with echo_server() as app, start_pair(app, leads={"prewarm": prewarm}) as pair:
        assert await ask(pair) == b"hello"
        await ready(pair, prewarm)
        yield pair


async def ready(pair: Pair, count: int) -> None:
    """``count`` wait, and nothing else is open."""
    await until(lambda: len(pool(pair)) == len(pair.api.ledger) == count, f"{count} wait")
    await until(lambda: len(pair.web.ledger) == 0, "the one before has ended")


def pool(pair: Pair) -> WarmPool:
    (listener,) = pair.web._listeners.values()
    assert listener._destination is not None
    return listener._destination.warm


def used(pair: Pair) -> int:
    return pair.web.counters().get("upstream.prewarmed", 0)


async def ask(pair: Pair, data: bytes = b"hello") -> bytes:
    """What comes back after we have ended our half; nothing when the connection is reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.port)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@asynchronous
async def test_a_connection_that_waits_is_used_and_replaced_and_both_ledgers_are_exact() -> None:
    async with warmed() as pair:
        waiting = pair.api.ledger.live()[0].id
        assert await ask(pair, b"x" * 100_000) == b"x" * 100_000
        assert used(pair) == 1
        await ready(pair, 1)
        (entry,) = [one for one in pair.api.ledger.closed if one.id == waiting]
        assert (entry.received, entry.sent, entry.close_cause) == (100_000, 100_000, "both sides ended")
        ours = pair.web.ledger.closed[-1]
        assert (ours.received, ours.sent, ours.close_cause) == (100_000, 100_000, "both sides ended")
        assert pair.web.ledger.totals("outbound").opened == 2, "who waits is no connection of an application"
        assert await ask(pair) == b"hello"
        assert used(pair) == 2


@asynchronous
async def test_nothing_waits_unless_it_is_asked_for() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        assert await ask(pair) == b"hello"
        await until(lambda: len(pair.api.ledger) == 0, "it has ended")
        assert (len(pool(pair)), pool(pair)._attempts) == (0, {})


@asynchronous
async def test_never_more_wait_than_shall() -> None:
    async with warmed(3) as pair:
        answers = await asyncio.gather(*(ask(pair) for _ in range(20)))
        assert answers == [b"hello"] * 20
        await ready(pair, 3)
        assert used(pair) >= 3


@asynchronous
async def test_a_server_that_speaks_first_is_heard_through_one_that_waited() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\n")
        await reader.read()
        writer.write(b"bye\n")
        writer.write_eof()

    async with server(greet) as app, start_pair(app, leads={"prewarm": 1}) as pair:
        for count in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", pair.port)
            assert await asyncio.wait_for(reader.readline(), 10) == b"220 hello\n"
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 10) == b"bye\n"
            writer.close()
            assert used(pair) == count
            await ready(pair, 1)
            await until(lambda: [e for e in pair.api.ledger.live() if e.sent == 10], "it has spoken")


@asynchronous
async def test_a_new_leaf_ends_the_use_of_those_that_wait() -> None:
    async with warmed() as pair:
        serial = pair.web.identity.serial
        pair.certificates["web"].replace(pair.ca.leaf("web"))
        await until(lambda: pair.web.identity.serial != serial, "it is in force")
        assert await ask(pair) == b"hello"
        assert used(pair) == 0
        assert pair.api.ledger.closed[-1].serial == pair.web.identity.serial
        await ready(pair, 1)
        assert pair.api.ledger.live()[0].serial == pair.web.identity.serial


@asynchronous
async def test_a_change_of_intentions_ends_the_use_of_those_that_wait() -> None:
    async with warmed() as pair:
        await pair.web.recheck()
        assert await ask(pair) == b"hello"
        assert used(pair) == 0
        await ready(pair, 1)


@asynchronous
async def test_a_revoked_server_is_not_talked_to_through_one_that_waits() -> None:
    async with warmed() as pair:
        assert pair.web._contexts is not None
        revoked = frozenset({pair.api.identity.serial})
        pair.certificates["web"].replace(replace(pair.web._contexts.material, revoked=revoked))
        await until(lambda: pair.web._contexts.material.revoked == revoked, "it is told")  # type: ignore[union-attr]
        assert await ask(pair) == b""
        assert used(pair) == 0


@asynchronous
async def test_who_waits_is_judged_again_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with warmed() as pair:
        (one,) = next(iter(pool(pair)._waiting.values()))
        one.found.instance = replace(one.found.instance, spiffe_id="spiffe://somebody/else")
        assert await ask(pair) == b"hello"
        assert used(pair) == 0


@asynchronous
async def test_a_source_that_is_denied_gets_nothing_and_who_waits_is_cut() -> None:
    async with warmed(2) as pair:
        pair.decisions.deny("web")
        await until(lambda: len(pair.api.ledger) == 0, "the instance cuts them")
        await until(lambda: len(pool(pair)) == 0, "it is noticed")
        assert await ask(pair) == b""
        assert {entry.close_cause for entry in list(pair.api.ledger.closed)[-2:]} == {
            "cut: intention web => api denies it"
        }


@asynchronous
async def test_an_instance_that_ended_while_one_waited_is_asked_anew() -> None:
    async with warmed() as pair:
        assert pair.api.cut(pair.api.ledger.live()[0].id, "a test")
        # Whether it was noticed by now, or is when it is to be used.
        assert await ask(pair) == b"hello"
        assert used(pair) == 0


@asynchronous
async def test_one_that_nobody_uses_is_closed_in_time_and_cleanly() -> None:
    async with warmed() as pair:
        host = pair.web._ready_host()
        pair.web.expire(host.clock() + module.MAX_WAIT - 0.5)
        assert len(pool(pair)) == 1
        pair.web.expire(host.clock() + module.MAX_WAIT + 0.5)
        assert len(pool(pair)) == 0
        await until(lambda: len(pair.api.ledger) == 0, "it has ended there too")
        assert pair.api.ledger.closed[-1].close_cause == "both sides ended"
        assert await ask(pair) == b"hello"


@asynchronous
async def test_an_instance_that_says_too_much_before_anybody_listens_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_EARLY_BYTES", 1000)

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"x" * 5000)
            await reader.read()
            writer.write_eof()

    async with server(pour) as app, start_pair(app, leads={"prewarm": 1}) as pair:
        assert await ask(pair, b"") == b"x" * 5000
        await until(lambda: not len(pool(pair)) and len(pair.api.ledger.closed) == 2, "it is hung up on")
        assert await ask(pair, b"") == b"x" * 5000


@asynchronous
async def test_those_that_wait_end_with_their_listener_and_with_other_settings() -> None:
    async with warmed(2) as pair:
        (settings,) = (one for one in pair.web.config.listeners() if isinstance(one, Upstream))  # type: ignore[union-attr]
        before = pool(pair)
        pair.web.apply(ProxyConfig("web", None, (replace(settings, prewarm=1),)))
        assert (len(before), before._attempts) == (0, {})
        assert await ask(pair) == b"hello"
        await ready(pair, 1)
        pair.web.apply(ProxyConfig("web"))
        await until(lambda: len(pair.api.ledger) == 0, "the listener is gone, and what waited for it")


@asynchronous
async def test_one_that_can_not_be_made_is_counted_and_tried_again_after_the_next_use() -> None:
    async with warmed() as pair:
        port = pair.public_port
        known = pair.instances.known["api"]
        wrong = [replace(known[0], spiffe_id=known[0].spiffe_id.replace("/api", "/other"))]
        pool(pair).fill(wrong[0])
        pool(pair)._fill()
        await until(lambda: pair.web.counters().get("upstream.prewarm_failed") == 1, "it is counted")
        assert (len(pool(pair)), port) == (1, known[0].port)


@asynchronous
async def test_instances_that_are_used_no_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_INSTANCES", 1)
    async with warmed() as pair:
        other = replace(pair.instances.known["api"][0], address="127.0.0.2")
        pool(pair).fill(other)
        pool(pair)._fill()
        assert len(pool(pair)) == 0, "those of the other are closed"
        assert [key[1] for key in pool(pair)._waiting] == ["127.0.0.2"]


@pytest.mark.parametrize("prewarm", [-1, MAX_PREWARM + 1])
def test_the_number_is_bounded(prewarm: int) -> None:
    with pytest.raises(ConfigError, match="prewarm"):
        upstream(prewarm=prewarm)


def test_it_is_a_setting_of_an_upstream() -> None:
    def parsed(config: dict[str, object]) -> tuple[Upstream, ...]:
        one = {"DestinationName": "api", "LocalBindPort": 9191, "Config": config}
        body = {
            "Kind": "connect-proxy",
            "Port": 0,
            "Proxy": {"DestinationServiceName": "web", "Upstreams": [one]},
        }
        return parse_service(body).upstreams

    assert parsed({"prewarm": 4})[0] == Upstream(local(9191), "api", prewarm=4)
    assert parsed({})[0].prewarm == 0
    with pytest.raises(ConfigError, match="prewarm"):
        parsed({"prewarm": 65})
