"""Joining until it works: ``retry_join`` and its WAN twin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from meshnode.agent.pool import Pool

__all__ = ["RetryJoin"]

_log = logging.getLogger("meshnode.agent")


class RetryJoin:
    """Tries ``addresses`` every ``interval`` seconds, at most ``max_attempts`` times (0: for ever)."""

    def __init__(
        self,
        pool: Pool,
        addresses: Sequence[str],
        interval: float,
        max_attempts: int,
        give_up: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._addresses = list(addresses)
        self._interval = interval
        self._max_attempts = max_attempts
        self._give_up = give_up

    async def run(self) -> None:
        """Return once one address answered; calls ``give_up`` with the reason when the attempts are used up."""
        name = self._pool.title
        attempt = 0
        while True:
            attempt += 1
            _log.info("Joining %s cluster through %s", name, ", ".join(self._addresses))
            result = await self._pool.shell.join(self._addresses)
            if result.joined:
                _log.info("Join %s completed. Synced with %d initial agents", name, result.joined)
                return
            if 0 < self._max_attempts <= attempt:
                self._give_up(f"max join {name} retry exhausted, exiting: {'; '.join(result.errors)}")
                return
            reason = "; ".join(result.errors)
            _log.warning("Join %s failed: %s, retrying in %gs", name, reason, self._interval)
            await asyncio.sleep(self._interval)
