"""Join and leave intents about nodes that memberlist hasn't told us of yet: news may arrive out of order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["MAX_INTENTS", "Intent", "IntentKind", "RecentIntents"]

#: Intents may name nodes that don't exist; beyond this many the oldest go first. Serf sets no bound.
MAX_INTENTS = 8192


class IntentKind(Enum):
    """Which way the node wants to go."""

    JOIN = "join"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Intent:
    """The newest intent heard about a node, and when (monotonic seconds) it was heard."""

    kind: IntentKind
    ltime: int
    heard: float


class RecentIntents:
    """At most one intent per node name, the newest by Lamport time."""

    def __init__(self) -> None:
        self._intents: dict[str, Intent] = {}

    def __len__(self) -> int:
        return len(self._intents)

    def record(self, node: str, kind: IntentKind, ltime: int, now: float) -> bool:
        """Keep this intent unless a newer one is known; true when it was news."""
        known = self._intents.get(node)
        if known is not None and ltime <= known.ltime:
            return False
        self._intents.pop(node, None)
        if len(self._intents) >= MAX_INTENTS:
            del self._intents[next(iter(self._intents))]
        self._intents[node] = Intent(kind, ltime, now)
        return True

    def of(self, node: str) -> Intent | None:
        """The intent kept for ``node``."""
        return self._intents.get(node)

    def expire(self, timeout: float, now: float) -> None:
        """Drop intents heard more than ``timeout`` seconds ago."""
        self._intents = {node: i for node, i in self._intents.items() if now - i.heard <= timeout}
