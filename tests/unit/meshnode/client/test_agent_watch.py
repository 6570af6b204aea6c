"""Blocking queries of the client: changes, outages, hashes, and no question more than needed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous
from tests.support.scripted_agent import Asked, Reply, reply
from tests.support.waiting import until
from tests.unit.meshnode.client.connecting import connected, hello


class Pauses:
    """Pauses that take no time, written down."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


class Changing:
    """A value with an index, for blocking queries."""

    def __init__(self) -> None:
        self.index, self.value = 10, "a"
        self.changed = asyncio.Event()
        self.down = False
        self.header = "X_Consul_Index"
        self.waits: list[str] = []

    def set(self, index: int, value: str) -> None:
        self.index, self.value = index, value
        self.changed.set()
        self.changed = asyncio.Event()

    async def __call__(self, asked: Asked) -> Reply:
        if self.down:
            return reply(b"No cluster leader", status=500)
        query = dict(asked.query)
        if query.get("index") == str(self.index):
            self.waits.append(query["wait"])
            await self.changed.wait()
        return reply([self.value], **{self.header: str(self.index)})


async def following(values: AsyncIterator[Any]) -> Any:
    return await asyncio.wait_for(anext(values), 10)


@asynchronous
async def test_a_watch_gives_the_value_now_and_after_each_change() -> None:
    state = Changing()
    async with connected(state) as (client, agent):
        async with contextlib.aclosing(client.watch("/w", [("by", "x")])) as values:
            assert await following(values) == ["a"]
            changed = spawn(following(values), name="test")
            await until(lambda: state.waits, "the watch waits for a change")
            assert not changed.done()
            state.set(11, "b")
            assert await changed == ["b"]
        assert state.waits == ["300s"]
        assert [asked.query[0] for asked in agent.asked] == [("by", "x")] * len(agent.asked)


@asynchronous
async def test_an_answer_under_the_same_index_is_no_change() -> None:
    state, served = Changing(), []

    async def timing_out(asked: Asked) -> Reply:
        served.append(dict(asked.query).get("index"))
        if len(served) == 4:
            state.set(12, "b")
        return reply([state.value], X_Consul_Index=str(state.index))

    async with connected(timing_out, sleep=Pauses()) as (client, _):
        async with contextlib.aclosing(client.watch("/w")) as values:
            assert await following(values) == ["a"]
            assert await following(values) == ["b"]
        assert served == [None, "10", "10", "10"]


@asynchronous
async def test_an_index_that_goes_back_is_another_state() -> None:
    state = Changing()
    async with connected(state) as (client, agent), contextlib.aclosing(client.watch("/w")) as values:
        await following(values)
        state.set(3, "anew")
        assert await following(values) == ["anew"]
        state.set(4, "next")
        assert await following(values) == ["next"]
        assert [dict(asked.query).get("index") for asked in agent.asked] == [None, "10", "3"]


@asynchronous
async def test_an_outage_is_one_line_and_the_value_comes_again_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state, pauses = Changing(), Pauses()
    caplog.set_level(logging.INFO, "meshnode.client")
    async with (
        connected(state, sleep=pauses) as (client, agent),
        contextlib.aclosing(client.watch("/w")) as values,
    ):
        await following(values)
        state.down = True
        state.set(11, "b")
        agent.drop_all()
        later = spawn(following(values), name="test")
        while len(pauses.taken) < 12:
            await asyncio.sleep(0.001)
        state.down = False
        state.set(2, "b")
        assert await later == ["b"]
        back = agent.asked[-1]
        assert dict(back.query).get("index") is None, "the index of before may be of another agent's state"
    lines = [record.message for record in caplog.records]
    assert sum("not followed for now" in line for line in lines) == 1
    assert sum("followed again" in line for line in lines) == 1
    back_offs = [pause for pause in pauses.taken if pause > 0.05]
    assert max(back_offs) <= 15
    assert back_offs[-1] > back_offs[0]


@asynchronous
async def test_a_watch_by_hash_waits_on_the_hash() -> None:
    state = Changing()
    seen: list[str | None] = []

    async def hashed(asked: Asked) -> Reply:
        given = dict(asked.query).get("hash")
        seen.append(given)
        if given == f"h{state.index}":
            await state.changed.wait()
        return reply([state.value], X_Consul_ContentHash=f"h{state.index}")

    async with connected(hashed) as (client, _), contextlib.aclosing(client.watch("/w", by="hash")) as values:
        assert await following(values) == ["a"]
        state.set(11, "b")
        assert await following(values) == ["b"]
    assert seen[:2] == [None, "h10"]


@asynchronous
async def test_an_answer_that_cannot_be_waited_on_is_asked_for_every_ten_seconds() -> None:
    pauses = Pauses()
    async with connected(hello, sleep=pauses) as (client, _):
        async with contextlib.aclosing(client.watch("/w")) as values:
            for _ in range(3):
                await following(values)
        assert len(pauses.taken) == 2
        assert all(9 <= pause <= 11 for pause in pauses.taken)


@asynchronous
async def test_changes_that_come_fast_are_not_asked_for_faster_than_they_may() -> None:
    now, pauses = [0.0], Pauses()
    state = Changing()

    async def busy(asked: Asked) -> Reply:
        state.index += 1
        return reply([state.value], X_Consul_Index=str(state.index))

    async with (
        connected(busy, sleep=pauses, clock=lambda: now[0]) as (client, _),
        contextlib.aclosing(client.watch("/w")) as values,
    ):
        for _ in range(5):
            await following(values)
    assert pauses.taken == [0.05] * 4


@asynchronous
async def test_a_poll_outlives_an_outage() -> None:
    pauses, fails = Pauses(), [False, True, True, False]

    async def shaky(asked: Asked) -> Reply:
        return reply(b"", status=500) if fails.pop(0) else reply({"n": len(fails)})

    async with (
        connected(shaky, sleep=pauses) as (client, _),
        contextlib.aclosing(client.poll("/p", (), 10.0)) as values,
    ):
        assert await following(values) == {"n": 3}
        assert await following(values) == {"n": 0}
    assert 9 <= pauses.taken[0] <= 11
