"""TTL checks: nothing is run; the check turns critical when nobody reports in time.

An update only moves the deadline. The task that waits for the old one wakes up then, sees the new one and waits again:
nothing is cancelled, and a check that is updated a thousand times a second costs one task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from meshnode.local.check_status import CRITICAL, Result, bounded_report, ttl_expired_output
from meshnode.local.check_type import TtlCheck
from meshnode.runtime.checks.clock import Clock

__all__ = ["TtlTimer"]


class TtlTimer:
    """The deadline of one TTL check."""

    def __init__(
        self, check: TtlCheck, clock: Clock, *, remaining: float | None = None, last_output: str = ""
    ) -> None:
        """``remaining``: seconds until the first deadline, as it was before a restart; at most a whole TTL."""
        self._check = check
        self._clock = clock
        self._last_output = last_output
        first = check.ttl if remaining is None else min(max(remaining, 0.0), check.ttl)
        self._deadline = clock.now() + first
        self._armed = asyncio.Event()
        self._armed.set()

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, 0 once it is over: to be kept for a restart."""
        return max(self._deadline - self._clock.now(), 0.0)

    def update(self, status: str, output: str) -> Result:
        """Somebody reports: the TTL starts again. Returns what is to be believed, with the output bounded."""
        result = Result(status, bounded_report(output, self._check.output_max_size))
        self._last_output = result.output
        self._deadline = self._clock.now() + self._check.ttl
        self._armed.set()
        return result

    async def run(self, on_expired: Callable[[Result], None]) -> None:
        """Call ``on_expired`` each time the TTL runs out; for ever."""
        while True:
            await self._armed.wait()
            while (left := self._deadline - self._clock.now()) > 0:
                await self._clock.sleep(left)
            self._armed.clear()
            on_expired(Result(CRITICAL, ttl_expired_output(self._last_output)))
