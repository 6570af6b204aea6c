"""Who waits for a decision and for how long, and who is let in while nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import Decision, DecisionCache
from meshnode.runtime.proxy import decider as module
from meshnode.runtime.proxy.decider import MAX_QUESTIONS, Decider
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous
from tests.support.proxy import Decisions, identity
from tests.support.virtual_time import run

T = TypeVar("T")


WEB = identity("web")


@dataclass
class Rig:
    decisions: Decisions
    cache: DecisionCache
    decider: Decider
    let_in: list[str] = field(default_factory=list)
    now: float = 0.0


@asynccontextmanager
async def deciding(authorizer: Decisions | None = None) -> AsyncIterator[Rig]:
    decisions, cache = authorizer or Decisions(), DecisionCache()
    rig = Rig(
        decisions,
        cache,
        Decider(decisions, cache, lambda: rig.now, on_silence=lambda source: rig.let_in.append(source.uri)),
    )
    yield rig
    await rig.decider.close()


async def silent(rig: Rig, age: float = 31.0) -> None:
    """One decision is known and has grown old; then nobody answers any more."""
    await rig.decider.decide(WEB)
    rig.now += age
    rig.decisions.gate = asyncio.Event()


async def took(waiting: asyncio.Task[T]) -> tuple[T, float]:
    """What came, and after how many virtual seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    return await waiting, loop.time() - began


@asynchronous
async def test_who_waits_for_the_same_source_shares_a_question() -> None:
    async with deciding() as rig:
        found = await asyncio.gather(*(rig.decider.decide(WEB) for _ in range(100)))
        assert {decision.allowed for decision in found} == {True}
        assert len(rig.decisions.asked) == 1


def test_a_source_that_is_known_waits_a_second_for_an_agent_that_hangs_and_the_next_ones_not_at_all() -> None:
    async def scenario() -> None:
        async with deciding() as rig:
            await silent(rig)
            first, waited = await took(spawn(rig.decider.decide(WEB), name="test"))
            assert (first.allowed, rig.let_in) == (True, [WEB.uri])
            assert 0.99 < waited < 1.1
            await asyncio.sleep(module.ANSWER_TIMEOUT)
            second, waited = await took(spawn(rig.decider.decide(WEB), name="test"))
            assert second.allowed
            assert waited < 0.01

    run(scenario())


def test_after_a_change_an_answer_is_waited_for_longer() -> None:
    """What is known may be what the change ended."""

    async def scenario() -> None:
        async with deciding() as rig:
            await silent(rig, age=0.0)
            rig.cache.invalidate()
            deciding_ = spawn(rig.decider.decide(WEB), name="test")
            await asyncio.sleep(module.ANSWER_TIMEOUT - 0.5)
            assert not deciding_.done()
            rig.decisions.denied.add("web")
            assert rig.decisions.gate is not None
            rig.decisions.gate.set()
            assert not (await deciding_).allowed
            assert rig.let_in == []

    run(scenario())


def test_a_source_of_which_nothing_is_known_is_refused_in_time() -> None:
    async def scenario() -> None:
        async with deciding(Decisions(gate=asyncio.Event())) as rig:
            decision, waited = await took(spawn(rig.decider.decide(WEB), name="test"))
            assert not decision.allowed
            assert "no answer within 5 s" in decision.because
            assert waited < module.ANSWER_TIMEOUT + 0.1
            assert rig.let_in == []

    run(scenario())


@asynchronous
async def test_nobody_is_let_in_by_a_decision_past_its_bound() -> None:
    async with deciding() as rig:
        await silent(rig, age=299.0)
        rig.decisions.fail, rig.decisions.gate = True, None
        assert (await rig.decider.decide(WEB)).allowed
        rig.now += 1.0
        assert not (await rig.decider.decide(WEB)).allowed
        assert rig.let_in == [WEB.uri]


def test_changes_that_never_stop_keep_nobody_out_whom_all_of_them_allow() -> None:
    """Each answer is overtaken by a change until they stop: who connects waits, and is not refused."""

    async def scenario() -> None:
        decisions = Decisions()

        class Slow:
            async def decide(self, source: Identity) -> Decision:
                await asyncio.sleep(0.2)
                return await decisions.decide(source)

            def changes(self) -> AsyncIterator[None]:
                return decisions.changes()

        cache = DecisionCache()
        decider = Decider(Slow(), cache, lambda: 0.0, on_silence=lambda _: None)
        waiting = spawn(decider.decide(WEB), name="test")
        for _ in range(50):
            await asyncio.sleep(0.1)
            cache.invalidate()
            assert not waiting.done()
        assert (await waiting).allowed
        assert len(decisions.asked) > 20
        await decider.close()

    run(scenario())


@asynchronous
async def test_questions_under_way_at_once_are_bounded() -> None:
    gate = asyncio.Event()
    async with deciding(Decisions(gate=gate)) as rig:
        waiting = [
            spawn(rig.decider.decide(identity(f"s{n}")), name="test") for n in range(MAX_QUESTIONS + 1)
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(rig.decisions.asked) == MAX_QUESTIONS
        gate.set()
        assert all(decision.allowed for decision in await asyncio.gather(*waiting))


@asynchronous
async def test_who_waits_when_the_proxy_stops_is_refused() -> None:
    async with deciding(Decisions(gate=asyncio.Event())) as rig:
        waiting = spawn(rig.decider.decide(WEB), name="test")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await rig.decider.close()
        assert not (await asyncio.wait_for(waiting, 10)).allowed


@pytest.mark.parametrize("failing", [True, False])
@asynchronous
async def test_whatever_the_authorizer_raises_is_a_reason(failing: bool) -> None:
    async with deciding(Decisions(fail=failing)) as rig:
        answer = await rig.decider.ask(WEB)
        assert answer == (
            "the agent does not answer"
            if failing
            else Decision(True, "intention * => api allows it", "allow-1")
        )
