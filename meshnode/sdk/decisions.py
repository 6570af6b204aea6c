"""Whether a peer may connect: asked once for all who wait, kept for a while, and no when nobody can say."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import Decision, DecisionCache, SourceKey
from meshnode.runtime.proxy.interfaces import Authorizer
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.sdk.live import LiveConnections

__all__ = ["DECISION_TIMEOUT", "RETRY_INTERVAL", "Decisions"]

#: Seconds that a decision may take.
DECISION_TIMEOUT: Final = 5.0
#: Seconds until a broken subscription is tried again.
RETRY_INTERVAL: Final = 1.0
#: Seconds between two questions about sources that nobody has said anything of, at most.
MAX_RETRY_INTERVAL: Final = 15.0

_log: Final = logging.getLogger("meshnode.sdk")


class Decisions:
    """``clock`` gives monotonic seconds. ``live`` are the connections that a change concerns."""

    def __init__(
        self,
        authorizer: Authorizer,
        live: LiveConnections,
        *,
        cache: DecisionCache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authorizer = authorizer
        self._live = live
        self._cache = cache or DecisionCache()
        self._clock = clock
        self._asking: dict[tuple[SourceKey, int], asyncio.Task[Decision | str]] = {}
        self._following: asyncio.Task[None] | None = None
        #: Somebody goes on, or was let in, although nobody answered.
        self._missed = False
        self._retrying: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow changes."""
        self._following = spawn(self._follow(), name="sdk decisions")

    async def close(self) -> None:
        """Follow nothing any more; who waits is refused."""
        await cancel_and_wait(self._following, self._retrying, *self._asking.values())

    async def decide(self, source: Identity) -> Decision:
        """The decision about ``source``. Never raises: what can't be asked is answered from memory, or with no."""
        key = (source.uri, source.serial)
        known = self._cache.fresh(key, self._clock())
        if known is not None:
            return known
        answer = await self._ask(source)
        if isinstance(answer, Decision):
            return answer
        decision = self._cache.without_answer(key, self._clock(), answer)
        if decision.allowed:
            self._ask_later()
        return decision

    async def recheck(self) -> int:
        """Believe nothing that is known, ask about every live source, and cut what is denied; returns how many.

        When nobody answers about a source its connections go on: they were allowed, new ones are refused in time, and
        it is asked about until somebody answers.
        """
        self._cache.invalidate()
        return await self._live.recheck(self._again)

    async def _again(self, source: Identity) -> Decision | None:
        answer = await self._ask(source)
        if isinstance(answer, Decision):
            return answer
        level = logging.DEBUG if self._missed else logging.WARNING
        _log.log(level, "connections of %s go on: nobody could be asked: %s", source.uri, answer)
        self._ask_later()
        return None

    def _ask_later(self) -> None:
        self._missed = True
        if self._retrying is None or self._retrying.done():
            self._retrying = spawn(self._retry(), name="sdk sources without an answer")

    async def _retry(self) -> None:
        pause = RETRY_INTERVAL
        while self._missed:
            await asyncio.sleep(pause)
            pause = min(MAX_RETRY_INTERVAL, pause * 2)
            self._missed = False
            await self._live.recheck(self._again)

    async def _ask(self, source: Identity) -> Decision | str:
        """The decision, or why there is none. Those who ask at the same time share a question."""
        key = ((source.uri, source.serial), self._cache.generation)
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = spawn(self._question(source), name=f"sdk decision on {source.uri}")
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                return "the service is closed"
            raise

    async def _question(self, source: Identity) -> Decision | str:
        generation = self._cache.generation
        try:
            async with asyncio.timeout(DECISION_TIMEOUT):
                decision = await self._authorizer.decide(source)
        except TimeoutError:
            return f"no answer within {DECISION_TIMEOUT:g} s"
        except Exception as error:  # noqa: BLE001  whatever went wrong, it says nothing about the source
            return str(error) or type(error).__name__
        self._cache.store((source.uri, source.serial), decision, self._clock(), generation)
        return decision

    async def _follow(self) -> None:
        while True:
            try:
                async for _ in self._authorizer.changes():
                    await self.recheck()
            except Exception as error:  # noqa: BLE001  the authorizer is another's code; cached decisions grow old
                _log.warning("decisions are not followed for %g s: %s", RETRY_INTERVAL, error)
            await asyncio.sleep(RETRY_INTERVAL)
            # What changed meanwhile was not told.
            await self.recheck()
