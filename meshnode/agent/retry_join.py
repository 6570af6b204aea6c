"""Joining until it works: ``retry_join`` and its WAN twin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from meshnode.agent.config.model import JoinPool
from meshnode.agent.pool import Pool
from meshnode.base.errors import MeshError
from meshnode.runtime.tasks import spawn

__all__ = ["RetryJoin", "begin_joining"]

_log = logging.getLogger("meshnode.agent")
#: Seconds before the second look within one attempt.
FIRST_PAUSE: Final = 0.25


async def begin_joining(
    pool: Pool, join: JoinPool, give_up: Callable[[str], None]
) -> asyncio.Task[Any] | None:
    """Join what ``start_join`` names, raising :class:`MeshError` if nobody is there; then try ``retry_join`` in a task.

    ``give_up`` gets the reason when that one is tried no more. ``None``: nothing is to be tried.
    """
    if join.start:
        result = await pool.shell.join(list(join.start))
        if result.joined == 0:
            raise MeshError(f"failed to join {', '.join(join.start)}: {'; '.join(result.errors)}")
    if not join.retry:
        return None
    retry = RetryJoin(pool, join.retry, join.interval, join.max_attempts, give_up)
    return spawn(retry.run(), name=f"retry-join {pool.title}")


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
            final = 0 < self._max_attempts <= attempt
            errors = await self._attempt(patient=not final)
            if not errors:
                return
            if final:
                self._give_up(f"max join {name} retry exhausted, exiting: {'; '.join(errors)}")
                return

    async def _attempt(self, *, patient: bool) -> Sequence[str]:
        """One attempt; empty when an address answered. A ``patient`` one lasts until the next is due.

        Nodes that are started together miss each other by fractions of a second, so a patient attempt looks again
        soon, and then ever less often.
        """
        due = asyncio.get_running_loop().time() + self._interval
        pause = FIRST_PAUSE
        warned = False
        while True:
            result = await self._pool.shell.join(self._addresses)
            if result.joined:
                _log.info("Join %s completed. Synced with %d initial agents", self._pool.title, result.joined)
                return ()
            left = due - asyncio.get_running_loop().time()
            if not patient:
                return result.errors
            if not warned:
                reason = "; ".join(result.errors)
                _log.warning("Join %s failed: %s, retrying for %gs", self._pool.title, reason, self._interval)
                warned = True
            await asyncio.sleep(max(0.0, min(pause, left)))
            if pause >= left:
                return result.errors
            pause *= 2
