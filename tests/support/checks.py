"""What tests of health checks share: a clock that a test turns, and TLS contexts of a CA made for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.certs import Pair

__all__ = ["START", "TurnedClock", "client_contexts", "no_tls", "server_context", "settled", "turns"]

START = datetime(2030, 1, 1, tzinfo=UTC)


class TurnedClock:
    """Time stands still until ``advance``; ``asked`` has the length of every sleep so far."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.asked: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    def at(self) -> datetime:
        return START + timedelta(seconds=self.time - 1000.0)

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, woken))
        await woken

    @property
    def sleeping(self) -> int:
        return sum(not woken.done() for _, woken in self._sleepers)

    def advance(self, seconds: float) -> None:
        self.time += seconds
        for due, woken in self._sleepers:
            if due <= self.time and not woken.done():
                woken.set_result(None)
        self._sleepers = [sleeper for sleeper in self._sleepers if not sleeper[1].done()]


async def turns(count: int = 20) -> None:
    """Let every task that can run do so; no time is meant to pass."""
    for _ in range(count):
        await asyncio.sleep(0)


async def settled() -> None:
    """Return once every other task has ended, such as those of servers; the deadline of ``run`` bounds it."""
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(left)


def no_tls(skip_verify: bool) -> ssl.SSLContext:
    raise AssertionError(f"this check has nothing to do with TLS ({skip_verify=})")


def client_contexts(ca: Pair) -> Callable[[bool], ssl.SSLContext]:
    """Trusts ``ca`` alone."""

    def make(skip_verify: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=ca.pem.decode())
        if skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    return make


def server_context(pair: Pair, directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(directory, f"server-{pair.serial[:8]}"))
    return context
