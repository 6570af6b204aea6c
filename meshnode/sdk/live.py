"""Live connections by who is on the other end, so that those whose source is denied later are cut, and only those."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import Decision, SourceKey

__all__ = ["Cut", "LiveConnections"]

#: Ends a connection at once; it gets the reason.
Cut = Callable[[str], None]

#: Sources asked about at once after a change.
_MAX_QUESTIONS: Final = 64

_log: Final = logging.getLogger("meshnode.sdk")


class LiveConnections:
    """Enter a connection before it is decided about: a change that comes meanwhile concerns it then."""

    def __init__(self) -> None:
        self._cuts: dict[SourceKey, list[Cut]] = {}
        self._identities: dict[SourceKey, Identity] = {}

    def __len__(self) -> int:
        return sum(map(len, self._cuts.values()))

    @contextlib.contextmanager
    def entered(self, identity: Identity, cut: Cut) -> Iterator[None]:
        """The connection lives for as long as the block."""
        source = (identity.uri, identity.serial)
        self._cuts.setdefault(source, []).append(cut)
        self._identities[source] = identity
        try:
            yield
        finally:
            cuts = self._cuts.get(source, [])
            if cut in cuts:
                cuts.remove(cut)
            if not cuts:
                self._cuts.pop(source, None)
                self._identities.pop(source, None)

    async def recheck(self, decide: Callable[[Identity], Awaitable[Decision | None]]) -> int:
        """Ask about every source, cut what is denied, and return how many were. ``None`` decides nothing."""
        limit = asyncio.Semaphore(_MAX_QUESTIONS)

        async def ask(identity: Identity) -> Decision | None:
            async with limit:
                return await decide(identity)

        asked = list(self._identities.items())
        decisions = await asyncio.gather(*(ask(identity) for _, identity in asked))
        return sum(
            self._cut(source, decision.because)
            for (source, _), decision in zip(asked, decisions, strict=True)
            if decision is not None and not decision.allowed
        )

    def cut_all(self, because: str) -> int:
        """End every connection; returns how many there were."""
        return sum(self._cut(source, because) for source in list(self._cuts))

    def _cut(self, source: SourceKey, because: str) -> int:
        cuts = list(self._cuts.get(source, []))
        if cuts:
            _log.warning("%d connections of %s are cut: %s", len(cuts), source[0], because)
        for cut in cuts:
            cut(because)
        return len(cuts)
