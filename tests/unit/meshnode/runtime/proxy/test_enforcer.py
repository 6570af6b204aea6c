"""What follows when decisions change, or when nobody gives any: whose connections are cut, and whose go on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import Decision, DecisionCache, SourceKey
from meshnode.runtime.proxy import decider, enforcer, following
from meshnode.runtime.proxy.enforcer import Enforcer
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous
from tests.support.proxy import Decisions, identity
from tests.support.waiting import until


@dataclass
class Rig:
    """``live`` has the sources with connections; ``cut`` what was ended and why."""

    now: float = 1000.0
    live: list[Identity] = field(default_factory=list)
    cut: list[tuple[str, str]] = field(default_factory=list)

    def enforce(self, source: SourceKey, decision: Decision) -> int:
        ended = [] if decision.allowed else [one for one in self.live if (one.uri, one.serial) == source]
        self.cut += [(one.service.service, decision.because) for one in ended]
        self.live = [one for one in self.live if one not in ended]
        return len(ended)


@contextlib.asynccontextmanager
async def enforcing(authorizer: Decisions) -> AsyncIterator[tuple[Enforcer, Rig]]:
    rig = Rig()
    made = Enforcer(
        authorizer,
        DecisionCache(),
        lambda: rig.now,
        live=lambda: rig.live,
        enforce=rig.enforce,
        log=logging.getLogger("meshnode.proxy"),
    )
    made.start()
    try:
        yield made, rig
    finally:
        await made.close()


@asynchronous
async def test_an_answer_that_was_on_its_way_when_things_changed_is_not_kept() -> None:
    authorizer = Decisions(gate=asyncio.Event())
    async with enforcing(authorizer) as (enforcing_, _):
        decide = enforcing_.decider.decide
        early = spawn(decide(identity("web")), name="test")
        await until(lambda: authorizer.asked, "it is asked")
        await enforcing_.recheck()
        authorizer.denied.add("web")
        late = spawn(decide(identity("web")), name="test")
        await until(lambda: len(authorizer.asked) == 2, "it is asked again, not joined to the old question")
        assert authorizer.gate is not None
        authorizer.gate.set()
        await early
        assert not (await late).allowed
        assert not (await decide(identity("web"))).allowed
        assert len(authorizer.asked) == 2


@asynchronous
async def test_who_gives_up_waiting_takes_the_answer_from_nobody_else() -> None:
    authorizer = Decisions(gate=asyncio.Event())
    async with enforcing(authorizer) as (enforcing_, _):
        first, second = (spawn(enforcing_.decider.decide(identity("web")), name="test") for _ in range(2))
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
    monkeypatch.setattr(decider, "ANSWER_TIMEOUT", 0.01)
    async with enforcing(Decisions(gate=asyncio.Event())) as (enforcing_, _):
        decision = await enforcing_.decider.decide(identity("web"))
        assert not decision.allowed
        assert "no answer within 0.01 s" in decision.because


@asynchronous
async def test_only_denied_sources_are_cut_and_with_the_reason() -> None:
    async with enforcing(Decisions(denied={"web"})) as (enforcing_, rig):
        rig.live = [identity("web"), identity("cron")]
        assert await enforcing_.recheck() == 1
        assert rig.cut == [("web", "intention web => api denies it")]
        assert [one.service.service for one in rig.live] == ["cron"]


@asynchronous
async def test_certificates_of_one_service_are_asked_about_apart() -> None:
    async with enforcing(Decisions(revoked={"01"})) as (enforcing_, rig):
        rig.live = [identity("web", "01"), identity("web", "02")]
        assert await enforcing_.recheck() == 1
        assert [one.serial for one in rig.live] == ["02"]


@asynchronous
async def test_live_connections_go_on_while_nobody_can_be_asked(caplog: pytest.LogCaptureFixture) -> None:
    authorizer = Decisions(fail=True)
    async with enforcing(authorizer) as (enforcing_, rig):
        rig.live = [identity("web")]
        assert await enforcing_.recheck() == 0
        assert caplog.text.count("go on: nobody could be asked: the agent does not answer") == 1
        authorizer.fail = False
        authorizer.denied.add("web")
        assert await enforcing_.recheck() == 1
        assert rig.cut == [("web", "intention web => api denies it")]


@asynchronous
async def test_a_source_that_nobody_answered_about_is_asked_about_until_somebody_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(enforcer, "ASK_INTERVAL", 0.01)
    authorizer = Decisions(fail=True, denied={"web"})
    async with enforcing(authorizer) as (enforcing_, rig):
        rig.live = [identity("web")]
        assert await enforcing_.recheck() == 0
        await until(lambda: len(authorizer.asked) > 2, "it is asked again and again")
        assert rig.cut == []
        authorizer.fail = False
        await until(lambda: rig.cut, "it is cut")


@asynchronous
async def test_who_was_let_in_by_memory_is_cut_when_the_answer_comes_and_is_no(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(enforcer, "ASK_INTERVAL", 0.01)
    authorizer = Decisions()
    async with enforcing(authorizer) as (enforcing_, rig):
        decide = enforcing_.decider.decide
        assert (await decide(identity("web"))).allowed
        rig.now += 31.0
        authorizer.fail, authorizer.denied = True, {"web"}
        assert (await decide(identity("web"))).allowed
        rig.live = [identity("web")]
        authorizer.fail = False
        await until(lambda: rig.cut, "it is cut")


@asynchronous
async def test_who_left_and_is_remembered_by_no_decision_is_asked_about_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(enforcer, "ASK_INTERVAL", 0.001)
    monkeypatch.setattr(enforcer, "MAX_ASK_INTERVAL", 0.001)
    authorizer = Decisions(fail=True)
    async with enforcing(authorizer) as (enforcing_, rig):
        rig.live = [identity("web"), identity("cron")]
        await enforcing_.recheck()
        rig.live = [identity("cron")]
        await until(
            lambda: authorizer.asked[-4:] == [identity("cron").uri] * 4, "only who lives is asked about"
        )


@asynchronous
async def test_a_subscription_that_breaks_is_taken_up_again_and_what_was_missed_is_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(following, "RETRY_INTERVAL", 0.001)

    class Breaking(Decisions):
        async def changes(self) -> AsyncIterator[None]:
            raise ConnectionError("the agent went away")
            yield

    async with enforcing(Breaking(denied={"web"})) as (_, rig):
        rig.live = [identity("web")]
        await until(lambda: rig.cut, "it is cut")
    assert "decisions are not followed for 0.001 s: the agent went away" in caplog.text


@asynchronous
async def test_a_decision_is_used_again_while_it_is_fresh() -> None:
    authorizer = Decisions()
    async with enforcing(authorizer) as (enforcing_, rig):
        decide = enforcing_.decider.decide
        assert await decide(identity("web")) == Decision(True, "intention * => api allows it", "allow-1")
        rig.now += 29
        await decide(identity("web"))
        assert len(authorizer.asked) == 1
        rig.now += 2
        await decide(identity("web"))
        assert len(authorizer.asked) == 2
