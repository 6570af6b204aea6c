"""Decisions are enforced: changes are followed, live sources are asked about again, and what is denied is cut.

The sidecar and the SDK share it: whose connections live, and how they are cut, is theirs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import Decision, DecisionCache, SourceKey
from meshnode.runtime.proxy.decider import Decider
from meshnode.runtime.proxy.following import follow
from meshnode.runtime.proxy.interfaces import Authorizer
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["ASK_INTERVAL", "MAX_ASK_INTERVAL", "Enforcer"]

#: Seconds between two questions about sources that nobody has said anything of: at first, and at most.
ASK_INTERVAL: Final = 1.0
MAX_ASK_INTERVAL: Final = 15.0


class Enforcer:
    """``clock`` gives monotonic seconds. ``live()`` is each source with live connections, once.

    ``enforce(source, decision)`` cuts the connections of a source that the decision forbids, and says how many.
    """

    def __init__(
        self,
        authorizer: Authorizer,
        cache: DecisionCache,
        clock: Callable[[], float],
        *,
        live: Callable[[], Iterable[Identity]],
        enforce: Callable[[SourceKey, Decision], int],
        log: logging.Logger,
    ) -> None:
        self._authorizer = authorizer
        self._cache = cache
        self._clock = clock
        self._live = live
        self._enforce = enforce
        self._log = log
        self._tasks: list[asyncio.Task[None]] = []
        #: Sources that go on although nobody answered about them.
        self._unanswered: dict[SourceKey, Identity] = {}
        #: Who may connect.
        self.decider = Decider(authorizer, cache, clock, on_silence=self._let_in_by_memory)

    def start(self) -> None:
        """Follow changes."""
        self._tasks = [
            spawn(self._follow(), name="mesh decisions"),
            spawn(self._ask_again(), name="mesh sources without an answer"),
        ]

    async def close(self) -> None:
        """Follow nothing any more; who waits for a decision hears that nobody answers."""
        await cancel_and_wait(*self._tasks)
        await self.decider.close()
        self._tasks.clear()

    async def recheck(self) -> int:
        """Ask again about every source with live connections, and cut what is denied. Returns how many were cut.

        When nobody answers about a source its connections go on: they were allowed, new ones are refused in time, and
        it is asked about until somebody answers.
        """
        self._cache.invalidate()
        return await self._ask(self._live())

    async def _ask(self, sources: Iterable[Identity]) -> int:
        return sum(await asyncio.gather(*map(self._judge, sources)))

    async def _judge(self, identity: Identity) -> int:
        source = (identity.uri, identity.serial)
        answer = await self.decider.ask(identity)
        if isinstance(answer, str):
            if source not in self._unanswered:
                self._unanswered[source] = identity
                self._log.warning("connections of %s go on: nobody could be asked: %s", source[0], answer)
            return 0
        self._unanswered.pop(source, None)
        return self._enforce(source, answer)

    def _let_in_by_memory(self, identity: Identity) -> None:
        """Whatever is said of it later has to end its connections too."""
        if (identity.uri, identity.serial) not in self._unanswered:
            self._unanswered[identity.uri, identity.serial] = identity
            self._log.warning("%s is let in by the last decision: nobody answers", identity.uri)

    async def _ask_again(self) -> None:
        pause = ASK_INTERVAL
        while True:
            await asyncio.sleep(pause)
            if self._unanswered:
                self._forget_who_left()
            await self._ask(list(self._unanswered.values()))
            pause = min(MAX_ASK_INTERVAL, pause * 2) if self._unanswered else ASK_INTERVAL

    def _forget_who_left(self) -> None:
        now = self._clock()
        living = {(identity.uri, identity.serial) for identity in self._live()}
        for source in list(self._unanswered):
            if not (source in living or self._cache.holds(source, now)):
                del self._unanswered[source]

    async def _follow(self) -> None:
        async def changed(_: None) -> None:
            await self.recheck()

        await follow(
            self._authorizer.changes, changed, what="decisions", log=self._log, after_a_gap=self.recheck
        )
