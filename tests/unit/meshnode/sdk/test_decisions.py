from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from meshnode.proxy.decision_cache import Decision
from meshnode.runtime.tasks import spawn
from meshnode.sdk import decisions as module
from meshnode.sdk.decisions import Decisions
from meshnode.sdk.live import LiveConnections
from tests.support import proxy
from tests.support.asynchronous import asynchronous
from tests.support.waiting import until
from tests.unit.meshnode.sdk.test_live import identity


@contextlib.asynccontextmanager
async def deciding(
    authorizer: proxy.Decisions,
) -> AsyncIterator[tuple[Decisions, LiveConnections, list[float]]]:
    now, live = [1000.0], LiveConnections()
    made = Decisions(authorizer, live, clock=lambda: now[0])
    made.start()
    try:
        yield made, live, now
    finally:
        await made.close()


@asynchronous
async def test_an_answer_that_was_on_its_way_when_things_changed_is_not_kept() -> None:
    authorizer = proxy.Decisions(gate=asyncio.Event())
    async with deciding(authorizer) as (decisions, _, _now):
        early = spawn(decisions.decide(identity("web")), name="test")
        await until(lambda: authorizer.asked, "it is asked")
        await decisions.recheck()
        authorizer.denied.add("web")
        late = spawn(decisions.decide(identity("web")), name="test")
        await until(lambda: len(authorizer.asked) == 2, "it is asked again, not joined to the old question")
        assert authorizer.gate is not None
        authorizer.gate.set()
        await early
        assert not (await late).allowed
        assert not (await decisions.decide(identity("web"))).allowed
        assert len(authorizer.asked) == 2


@asynchronous
async def test_who_gives_up_waiting_takes_the_answer_from_nobody_else() -> None:
    authorizer = proxy.Decisions(gate=asyncio.Event())
    async with deciding(authorizer) as (decisions, _, _now):
        first, second = (spawn(decisions.decide(identity("web")), name="test") for _ in range(2))
        await until(lambda: authorizer.asked, "it is asked")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert authorizer.gate is not None
        authorizer.gate.set()
        assert (await second).allowed
        assert len(authorizer.asked) == 1


@asynchronous
async def test_an_answer_that_takes_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DECISION_TIMEOUT", 0.01)
    async with deciding(proxy.Decisions(gate=asyncio.Event())) as (decisions, _, _now):
        decision = await decisions.decide(identity("web"))
        assert not decision.allowed
        assert "no answer within 0.01 s" in decision.because


@asynchronous
async def test_live_connections_go_on_while_nobody_can_be_asked() -> None:
    authorizer, cut = proxy.Decisions(fail=True), []
    async with deciding(authorizer) as (decisions, live, _now):
        with live.entered(identity("web"), cut.append):
            assert await decisions.recheck() == 0
            authorizer.fail = False
            authorizer.denied.add("web")
            assert await decisions.recheck() == 1
    assert cut == ["intention web => api denies it"]


@asynchronous
async def test_a_source_that_nobody_answered_about_is_asked_about_until_somebody_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_INTERVAL", 0.01)
    authorizer, cut = proxy.Decisions(fail=True, denied={"web"}), []
    async with deciding(authorizer) as (decisions, live, _now):
        with live.entered(identity("web"), cut.append):
            assert await decisions.recheck() == 0
            await until(lambda: len(authorizer.asked) > 2, "it is asked again and again")
            assert cut == []
            authorizer.fail = False
            await until(lambda: cut, "it is cut")


@asynchronous
async def test_who_was_let_in_by_memory_is_cut_when_the_answer_comes_and_is_no(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_INTERVAL", 0.01)
    authorizer, cut = proxy.Decisions(), []
    async with deciding(authorizer) as (decisions, live, now):
        assert (await decisions.decide(identity("web"))).allowed
        now[0] += 31.0
        authorizer.fail, authorizer.denied = True, {"web"}
        assert (await decisions.decide(identity("web"))).allowed
        with live.entered(identity("web"), cut.append):
            authorizer.fail = False
            await until(lambda: cut, "it is cut")


@asynchronous
async def test_a_subscription_that_breaks_is_taken_up_again_and_what_was_missed_is_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_INTERVAL", 0.001)

    class Breaking(proxy.Decisions):
        async def changes(self) -> AsyncIterator[None]:
            raise ConnectionError("the agent went away")
            yield

    authorizer, cut = Breaking(denied={"web"}), []
    async with deciding(authorizer) as (_decisions, live, _now):
        with live.entered(identity("web"), cut.append):
            await until(lambda: cut, "it is cut")
    assert "the agent went away" in caplog.text


@asynchronous
async def test_a_decision_is_used_again_while_it_is_fresh() -> None:
    authorizer = proxy.Decisions()
    async with deciding(authorizer) as (decisions, _, now):
        assert await decisions.decide(identity("web")) == Decision(
            True, "intention * => api allows it", "allow-1"
        )
        now[0] += 29
        await decisions.decide(identity("web"))
        assert len(authorizer.asked) == 1
        now[0] += 2
        await decisions.decide(identity("web"))
        assert len(authorizer.asked) == 2
