"""A runner of checks on a clock that a test turns, and probes that wait to be told their result."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from meshnode.catalog.model import Check
from meshnode.local.check_status import Result
from meshnode.local.check_type import TcpCheck
from meshnode.runtime.checks.runner import CheckRunners
from meshnode.runtime.tasks import spawn
from tests.support.checks import TurnedClock, no_tls, turns
from tests.support.rpc_lab import LOOPS

__all__ = ["TCP", "Lab", "NoAliases", "Probes", "lab", "loops"]


loops = pytest.mark.parametrize("loop", LOOPS)
TCP = TcpCheck("127.0.0.1:1", interval=10)


class NoAliases:
    def checks(self) -> Iterable[Check]:
        return []

    def on_change(self, call: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    async def node_checks(self, node: str, index: int) -> tuple[Iterable[Check], int]:
        raise AssertionError((node, index))


class Lab:
    def __init__(self, **more: Any) -> None:
        self.clock = TurnedClock()
        self.runners = CheckRunners(
            spawn, random.Random(1), self.clock, no_tls, **{"alias": NoAliases(), **more}
        )
        self.seen: list[tuple[str, str, str]] = []

    def start(self, key: str, check: Any, **more: Any) -> None:
        self.runners.start(key, check, lambda status, output: self.seen.append((key, status, output)), **more)

    async def pass_time(self, seconds: float) -> None:
        await turns()
        self.clock.advance(seconds)
        await turns()


@contextlib.asynccontextmanager
async def lab(**more: Any) -> AsyncIterator[Lab]:
    made = Lab(**more)
    try:
        yield made
    finally:
        await made.runners.stop_all()


class Probes:
    """Stands for what a check does: each run waits to be told its result."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running: list[asyncio.Future[Result]] = []
        self.most = 0
        self.runs = 0
        monkeypatch.setattr("meshnode.runtime.checks.tcp.check_tcp", self.probe)

    async def probe(self, check: TcpCheck, _tls: object) -> Result:
        told: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.running.append(told)
        self.runs += 1
        self.most = max(self.most, len(self.running))
        try:
            return await told
        finally:
            self.running.remove(told)

    async def end(self, status: str = "passing", output: str = "") -> None:
        for told in list(self.running):
            told.set_result(Result(status, output))
        await turns()
