"""Who may connect: asked once for all who wait, from memory when nobody answers, and no when nothing is known.

How long somebody waits who has a decision to fall back on is bounded far below the handshake's time-out: an agent whose
servers don't answer says so only after a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import Decision, DecisionCache, SourceKey
from meshnode.runtime.proxy.interfaces import Authorizer, RequestAuthorizer
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["ANSWER_TIMEOUT", "PATIENCE", "Decider"]

#: Seconds that an answer may take.
ANSWER_TIMEOUT: Final = 5.0
#: Seconds that a source waits whose decision only grew old, while no change is known of.
PATIENCE: Final = 1.0
#: Sources asked about at once; further ones wait.
MAX_QUESTIONS: Final = 64


class Decider:
    """``clock`` gives monotonic seconds. ``on_silence(source)``: it was let in by what was last known of it."""

    def __init__(
        self,
        authorizer: Authorizer,
        cache: DecisionCache,
        clock: Callable[[], float],
        *,
        on_silence: Callable[[Identity], None],
    ) -> None:
        self._authorizer = authorizer
        self._cache = cache
        self._clock = clock
        self._on_silence = on_silence
        self._limit = asyncio.Semaphore(MAX_QUESTIONS)
        self._asking: dict[tuple[SourceKey, int], asyncio.Task[Decision | str]] = {}
        #: Requests are looked at: decisions have to say what they know of them.
        self.about_requests = False
        #: The last question had no answer: who has a decision to fall back on doesn't wait for the next.
        self._silent = False

    async def decide(self, source: Identity) -> Decision:
        """The decision about ``source`` for a new connection. Never raises."""
        key, cache = (source.uri, source.serial), self._cache
        while True:
            now, generation = self._clock(), cache.generation
            known = cache.fresh(key, now)
            if known is not None:
                return known
            answer = await self._answer(source, self._patience(key, now))
            if isinstance(answer, str):
                decision = cache.without_answer(key, self._clock(), answer)
                if decision.allowed:
                    self._on_silence(source)
                return decision
            if generation == cache.generation:
                return answer
            # Something changed meanwhile: ask again, for as long as whoever connects waits.

    async def ask(self, source: Identity) -> Decision | str:
        """What the authorizer says now, or why it says nothing."""
        return await self._answer(source, None)

    async def close(self) -> None:
        """Ask nothing any more; who waits hears that nobody answers."""
        await cancel_and_wait(*self._asking.values())

    def _patience(self, key: SourceKey, now: float) -> float | None:
        if not self._cache.holds(key, now):
            return None
        if self._silent:
            return 0.0
        return None if self._cache.is_outdated(key) else PATIENCE

    async def _answer(self, source: Identity, patience: float | None) -> Decision | str:
        key = ((source.uri, source.serial), self._cache.generation)
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = spawn(self._question(source), name=f"proxy decision on {source.uri}")
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        done, _ = await asyncio.wait([task], timeout=patience)
        if not done:
            return "no answer yet"
        return "it was stopped meanwhile" if task.cancelled() else task.result()

    async def _decide(self, source: Identity) -> Decision:
        if self.about_requests and isinstance(self._authorizer, RequestAuthorizer):
            return await self._authorizer.decide_requests(source)
        return await self._authorizer.decide(source)

    async def _question(self, source: Identity) -> Decision | str:
        failure = f"no answer within {ANSWER_TIMEOUT:g} s"
        try:
            async with self._limit, asyncio.timeout(ANSWER_TIMEOUT):
                # Under this one it is asked: what changed while it waited for its turn is in the answer.
                generation = self._cache.generation
                decision = await self._decide(source)
        except TimeoutError:
            pass
        except Exception as error:  # noqa: BLE001  whatever went wrong, it says nothing about the source
            failure = str(error) or type(error).__name__
        else:
            self._silent = False
            self._cache.store((source.uri, source.serial), decision, self._clock(), generation)
            return decision
        self._silent = True
        return failure
