from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshnode.agent.config.model import JoinPool
from meshnode.agent.retry_join import RetryJoin, begin_joining
from meshnode.base.errors import MeshError
from meshnode.runtime.gossip_shell import JoinResult


class FakePool:
    """Answers after ``silent`` joins."""

    title = "LAN"

    def __init__(self, silent: int) -> None:
        self.silent = silent
        self.joins: list[list[str]] = []
        self.shell = self

    async def join(self, addresses: list[str]) -> JoinResult:
        self.joins.append(addresses)
        return JoinResult(1) if len(self.joins) > self.silent else JoinResult(0, ("a: refused",))


def run(silent: int, max_attempts: int) -> tuple[FakePool, list[str]]:
    pool: Any = FakePool(silent)
    reasons: list[str] = []
    asyncio.run(RetryJoin(pool, ["a", "b"], 0.01, max_attempts, reasons.append).run())
    return pool, reasons


@pytest.mark.parametrize("silent", [0, 1, 5])
def test_it_goes_on_until_somebody_answers(silent: int) -> None:
    pool, reasons = run(silent, 0)
    assert pool.joins == [["a", "b"]] * (silent + 1)
    assert reasons == []


def test_it_gives_up_when_the_attempts_are_used_up_and_says_why() -> None:
    pool, reasons = run(99, 2)
    assert reasons == ["max join LAN retry exhausted, exiting: a: refused"]
    assert len(pool.joins) >= 2


def test_at_the_start_somebody_of_start_join_has_to_be_there() -> None:
    pool: Any = FakePool(silent=1)
    with pytest.raises(MeshError, match="failed to join a, b: a: refused"):
        asyncio.run(begin_joining(pool, JoinPool(("a", "b"), ("c",), 0.01, 0), lambda _: None))
    assert pool.joins == [["a", "b"]]


def test_at_the_start_start_join_comes_first_and_retry_join_goes_on_in_a_task() -> None:
    pool: Any = FakePool(silent=0)

    async def begin(join: JoinPool) -> bool:
        task = await begin_joining(pool, join, lambda _: None)
        if task is not None:
            await task
        return task is not None

    assert asyncio.run(begin(JoinPool(("a",), ("b",), 0.01, 0)))
    assert pool.joins == [["a"], ["b"]]
    assert not asyncio.run(begin(JoinPool(("a",), (), 0.01, 0)))
    assert pool.joins == [["a"], ["b"], ["a"]]
