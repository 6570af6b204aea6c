from __future__ import annotations

import asyncio
import contextlib

from meshnode.base.spiffe import ServiceId
from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import Decision
from meshnode.runtime.tasks import spawn
from meshnode.sdk.live import LiveConnections
from tests.support.asynchronous import asynchronous
from tests.support.proxy import TRUST_DOMAIN, spiffe

ALLOW, DENY = Decision(True, "may"), Decision(False, "may not")


def identity(service: str, serial: str = "01") -> Identity:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    return Identity(ServiceId(TRUST_DOMAIN, "dc1", service), spiffe(service), serial, now, now)


@asynchronous
async def test_only_denied_sources_are_cut_each_connection_once_and_with_the_reason() -> None:
    live, cut = LiveConnections(), []
    with contextlib.ExitStack() as stack:
        for name in ("web", "web", "cron"):
            stack.enter_context(live.entered(identity(name), lambda why, name=name: cut.append((name, why))))
        assert len(live) == 3

        async def decide(source: Identity) -> Decision | None:
            return DENY if source.service.service == "web" else ALLOW

        assert await live.recheck(decide) == 2
        assert cut == [("web", "may not")] * 2
    assert len(live) == 0


@asynchronous
async def test_certificates_of_one_service_are_asked_about_apart() -> None:
    live, cut = LiveConnections(), []
    with (
        live.entered(identity("web", "01"), lambda why: cut.append("01")),
        live.entered(identity("web", "02"), lambda why: cut.append("02")),
    ):

        async def decide(source: Identity) -> Decision | None:
            return DENY if source.serial == "01" else None

        await live.recheck(decide)
    assert cut == ["01"]


@asynchronous
async def test_a_connection_that_ends_while_it_is_asked_about_is_not_cut() -> None:
    live, cut, gate = LiveConnections(), [], asyncio.Event()
    entered = live.entered(identity("web"), cut.append)
    entered.__enter__()

    async def decide(source: Identity) -> Decision | None:
        await gate.wait()
        return DENY

    asking = spawn(live.recheck(decide), name="test")
    await asyncio.sleep(0)
    entered.__exit__(None, None, None)
    gate.set()
    assert await asking == 0
    assert cut == []


@asynchronous
async def test_questions_at_once_are_bounded() -> None:
    live, at_once, most = LiveConnections(), 0, 0
    with contextlib.ExitStack() as stack:
        for number in range(200):
            stack.enter_context(live.entered(identity("web", f"{number:02x}"), lambda why: None))

        async def decide(source: Identity) -> Decision | None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1
            return ALLOW

        await live.recheck(decide)
    assert most == 64


def test_a_cut_may_end_its_own_entry() -> None:
    live = LiveConnections()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(live.entered(identity("web"), lambda why: stack.close()))
        assert live.cut_all("the end") == 3
    assert len(live) == 0
