"""The time that paces checks: an argument, so that a test decides how fast it goes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "LoopClock"]


class Clock(Protocol):
    """Times in seconds. Time-outs of connections and programs are the event loop's, not this clock's."""

    def now(self) -> float:
        """Monotonic seconds."""

    def at(self) -> datetime:
        """The wall clock, aware, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return once ``seconds`` have passed."""


class LoopClock:
    """The real time, as the running event loop has it."""

    def now(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    def at(self) -> datetime:
        """The system's clock."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Sleep on the loop."""
        await asyncio.sleep(seconds)
