"""Alias checks: local ones follow changes, others ask the servers and wait longer when these don't answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

from meshnode.base.errors import MeshError
from meshnode.catalog.model import Check
from meshnode.local.check_status import Result
from meshnode.local.check_type import AliasCheck
from meshnode.runtime.checks.alias import follow_alias
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.checks import TurnedClock, turns
from tests.support.rpc_lab import run


class Source:
    """The local state and the servers, in the hands of a test."""

    def __init__(self) -> None:
        self.local: list[Check] = []
        self.watchers: list[Callable[[], None]] = []
        self.asked: list[tuple[str, int]] = []
        self.answers: asyncio.Queue[tuple[list[Check], int] | Exception] = asyncio.Queue()

    def checks(self) -> Iterable[Check]:
        return self.local

    def on_change(self, call: Callable[[], None]) -> Callable[[], None]:
        self.watchers.append(call)
        return lambda: self.watchers.remove(call)

    def change(self, *checks: Check) -> None:
        self.local = list(checks)
        for call in self.watchers:
            call()

    async def node_checks(self, node: str, index: int) -> tuple[Iterable[Check], int]:
        self.asked.append((node, index))
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Lab:
    def __init__(self) -> None:
        self.source, self.clock = Source(), TurnedClock()
        self.seen: list[Result] = []

    def report(self, result: Result) -> None:
        self.seen.append(result)
        for call in self.source.watchers:  # a report changes the local state
            call()


@contextlib.asynccontextmanager
async def following(alias: AliasCheck) -> AsyncIterator[Lab]:
    lab = Lab()
    task = spawn(follow_alias(alias, "own", lab.source, lab.clock, lab.report), name="alias")
    try:
        await turns()
        yield lab
    finally:
        await cancel_and_wait(task)
        assert lab.source.watchers == []


def web(status: str, node: str = "n1") -> Check:
    return Check(node, "c", name="C", status=status, output="o", service_id="web")


def test_a_local_alias_reports_at_once_and_at_every_change_only() -> None:
    async def main() -> None:
        async with following(AliasCheck(service_id="web")) as lab:
            assert lab.seen == [("passing", "No checks found.")]
            for status in ("critical", "critical", "warning", "passing"):
                lab.source.change(web(status))
                await turns()
            assert [result.status for result in lab.seen[1:]] == ["critical", "warning", "passing"]
            assert lab.seen[1].output == 'Aliased check "C" failing: o'
            assert lab.source.asked == []

    run(main)


def test_another_node_is_asked_for_news_from_the_index_that_is_known() -> None:
    async def main() -> None:
        async with following(AliasCheck(node="n1", service_id="web")) as lab:
            for index, status in ((7, "critical"), (9, "passing")):
                lab.source.answers.put_nowait(([web(status)], index))
                await turns()
            assert lab.source.asked == [("n1", 0), ("n1", 7), ("n1", 9)]
            assert [result.status for result in lab.seen] == ["critical", "passing"]

    run(main)


def test_an_answer_that_is_no_news_does_not_spin() -> None:
    async def main() -> None:
        async with following(AliasCheck(node="n1")) as lab:
            for _ in range(5):
                lab.source.answers.put_nowait(([], 0))
            await turns()
            assert len(lab.source.asked) == 1
            lab.clock.advance(1)
            await turns()
            assert lab.source.asked == [("n1", 0), ("n1", 1)]

    run(main)


def test_the_second_failure_is_critical_and_later_ones_wait_longer() -> None:
    async def main() -> None:
        async with following(AliasCheck(node="n1")) as lab:
            lab.source.answers.put_nowait(MeshError("No cluster leader"))
            await turns()
            assert lab.seen == []
            for _ in range(4):
                lab.source.answers.put_nowait(OSError("No cluster leader"))
                lab.clock.advance(lab.clock.asked[-1])
                await turns()
            assert lab.seen == [("critical", "Failure checking aliased node or service: No cluster leader")]
            assert lab.clock.asked == [1, 1, 1, 2, 4]
            lab.source.answers.put_nowait(([], 5))
            lab.clock.advance(4)
            await turns()
            assert lab.seen[1:] == [("passing", "No checks found.")]

    run(main)
