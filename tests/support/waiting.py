"""Waiting for something to become true, with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["Naps", "until"]


class Naps:
    """Sleeps that take no time; after ``most`` of them the sleeper is cancelled."""

    def __init__(self, most: int) -> None:
        self.taken: list[float] = []
        self._most = most

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        if len(self.taken) > self._most:
            raise asyncio.CancelledError
        await asyncio.sleep(0)


async def until(
    condition: Callable[[], Any], what: str, timeout: float = 20.0, interval: float = 0.05
) -> Any:
    """Return the first truthy result of ``condition``, which may be awaitable.

    Fails the test naming ``what`` after ``timeout`` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        outcome = condition()
        result = await outcome if inspect.isawaitable(outcome) else outcome
        if result:
            return result
        if loop.time() >= deadline:
            raise AssertionError(f"after {timeout:g} s still not: {what} (last seen: {result!r})")
        await asyncio.sleep(interval)
