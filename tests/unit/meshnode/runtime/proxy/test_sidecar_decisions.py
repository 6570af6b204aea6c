"""Decisions that change, or that nobody gives, and the connections that they end: those, and no others."""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest

from meshnode.proxy.config import ProxyConfig
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous
from tests.support.proxy import (
    Decisions,
    Pair,
    client,
    echo_server,
    make_sidecar,
    say,
    spiffe,
    start_pair,
    upstream,
)
from tests.support.waiting import until


@asynchronous
async def test_many_flows_and_only_those_of_the_denied_source_end() -> None:
    """A second client sidecar, ``db``, is denied while both talk; its flows end within 1 s, the others lose no byte."""
    async with echo_server() as app, start_pair(app) as pair:
        db, _ = make_sidecar(pair.ca, "db", Decisions(), pair.instances)
        await db.start(ProxyConfig("db", None, (upstream(),)))
        try:
            await _deny_db_while_all_talk(pair, db.address("service:default/api").port)
        finally:
            await db.stop(drain_timeout=0)


async def _deny_db_while_all_talk(pair: Pair, db_port: int) -> None:
    denied = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def talk(port: int, seed: int) -> tuple[bool, float]:
        """Goes on until 20 rounds after the denial; says whether each byte came back, and when it ended."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        payload, left = random.Random(seed).randbytes(20_000), 20
        sent, came = hashlib.sha256(), hashlib.sha256()
        try:
            while left:
                sent.update(payload)
                came.update(await say(reader, writer, payload))
                left -= denied.is_set()
            return sent.digest() == came.digest(), loop.time()
        except (ConnectionError, asyncio.IncompleteReadError):
            return False, loop.time()
        finally:
            writer.close()

    web = [spawn(talk(pair.port, seed), name="web") for seed in range(20)]
    db = [spawn(talk(db_port, seed), name="db") for seed in range(20)]
    await until(lambda: len(pair.api.ledger) == 40, "all are connected")
    began = loop.time()
    pair.decisions.deny("db")
    ended = await asyncio.wait_for(asyncio.gather(*db), 10)
    denied.set()
    assert all(not whole for whole, _ in ended)
    assert max(at for _, at in ended) - began < 1.0
    assert [whole for whole, _ in await asyncio.wait_for(asyncio.gather(*web), 30)] == [True] * 20
    causes = {entry.close_cause for entry in pair.api.ledger.closed if entry.source == spiffe("db")}
    assert causes == {"cut: intention db => api denies it"}


@asynchronous
async def test_a_revoked_certificate_is_cut_by_its_serial_number() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        await say(reader, writer, b"hello")
        assert pair.api.cut_serials(["00:00"]) == 0
        assert pair.api.cut_serials([pair.web.identity.serial]) == 1
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)


@asynchronous
async def test_when_nobody_answers_a_recheck_live_connections_go_on() -> None:
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        await say(reader, writer, b"hello")
        pair.decisions.fail = True
        assert await pair.api.recheck() == 0
        assert await say(reader, writer, b"still here") == b"still here"


@asynchronous
async def test_a_source_that_nobody_answered_about_is_asked_about_until_somebody_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A deny whose question failed once would never end the connection otherwise."""
    monkeypatch.setattr("meshnode.runtime.proxy.enforcer.ASK_INTERVAL", 0.05)
    async with echo_server() as app, start_pair(app) as pair, client(pair) as (reader, writer):
        await say(reader, writer, b"hello")
        pair.decisions.fail = True
        pair.decisions.deny("web")
        await until(lambda: len(pair.decisions.asked) >= 3, "it is asked again and again")
        assert await say(reader, writer, b"still here") == b"still here"
        pair.decisions.fail = False
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)


@asynchronous
async def test_who_was_let_in_by_memory_is_cut_when_the_answer_comes_and_is_no(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meshnode.runtime.proxy.enforcer.ASK_INTERVAL", 0.05)
    async with echo_server() as app, start_pair(app, public={"decision_refresh": 0.01}) as pair:
        async with client(pair) as (reader, writer):
            await say(reader, writer, b"known")
        await until(lambda: not len(pair.api.ledger), "it has ended")
        pair.decisions.fail = True
        pair.decisions.denied.add("web")
        async with client(pair) as (reader, writer):
            assert await say(reader, writer, b"by memory") == b"by memory"
            pair.decisions.fail = False
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 10)


@asynchronous
async def test_a_new_certificate_of_a_known_service_is_let_in_while_nobody_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Agents that are restarted together: one has a new leaf for its service when the other can't say a word yet."""
    monkeypatch.setattr("meshnode.runtime.proxy.enforcer.ASK_INTERVAL", 0.05)
    async with echo_server() as app, start_pair(app) as pair:
        async with client(pair) as (reader, writer):
            await say(reader, writer, b"known")
        before = pair.web.identity.serial
        pair.decisions.fail = True
        pair.certificates["web"].replace(pair.ca.leaf("web"))
        await until(lambda: pair.web.identity.serial != before, "the new leaf is in force")
        async with client(pair) as (reader, writer):
            assert await say(reader, writer, b"hello") == b"hello"
            # It is asked about for as long as nobody answers, and cut by the answer.
            pair.decisions.denied.add("web")
            pair.decisions.fail = False
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 10)


@asynchronous
async def test_a_decision_that_changes_while_it_is_asked_for_is_asked_for_again() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        pair.decisions.gate = asyncio.Event()
        async with client(pair) as (reader, _):
            await until(lambda: pair.decisions.asked, "the decision is asked for")
            pair.decisions.denied.add("web")
            rechecking = spawn(pair.api.recheck(), name="recheck")
            await asyncio.sleep(0)
            pair.decisions.gate.set()
            await rechecking
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 10)
        assert pair.api.counters()["refused.denied"] == 1
        assert pair.api.ledger.totals("inbound").opened == 0
