"""The tasks of a leader's term."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from meshnode.agent.term import Term


def test_tasks_run_for_as_long_as_the_term() -> None:
    running: set[str] = set()

    async def duty(name: str) -> None:
        running.add(name)
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(name)

    def duties(epoch: int) -> Mapping[str, Coroutine[Any, Any, None]]:
        return {f"a{epoch}": duty(f"a{epoch}"), f"b{epoch}": duty(f"b{epoch}")}

    async def seen(term: Term) -> set[str]:
        for _ in range(3):
            await asyncio.sleep(0)
        return {*running, str(term.epoch)}

    async def scenario() -> None:
        term = Term(duties)
        assert await seen(term) == {"0"}
        term.lead(3)
        assert await seen(term) == {"3", "a3", "b3"}
        term.lead(3)
        assert await seen(term) == {"3", "a3", "b3"}, "the same epoch begins nothing again"
        term.also({"late": duty("late")})
        assert await seen(term) == {"3", "a3", "b3", "late"}
        term.lead(4)
        assert await seen(term) == {"4", "a4", "b4"}
        term.lead(0)
        assert await seen(term) == {"0"}
        term.lead(5)
        await seen(term)
        await term.stop()
        assert (running, term.epoch) == (set(), 0)

    asyncio.run(scenario())
