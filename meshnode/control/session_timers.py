"""The leader's clock of sessions: when each with a TTL ends unless it is renewed. In memory only.

A new leader gives every session a whole term again, so a change of leader never ends one early.
Source: Consul 1.2.3, agent/consul/session_ttl.go.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

from meshnode.kv.sessions import TTL_MULTIPLIER, Session

__all__ = ["SessionTimers"]


class SessionTimers:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self._deadlines: Final[dict[str, float]] = {}
        self._queue: Final[list[tuple[float, str]]] = []

    def __len__(self) -> int:
        return len(self._deadlines)

    def reset(self, sessions: Iterable[Session], now: float) -> None:
        """Begin with these sessions, each with a whole term."""
        self._deadlines.clear()
        self._queue.clear()
        for session in sessions:
            self.renew(session, now)

    def renew(self, session: Session, now: float) -> None:
        """A session begins or is renewed; one without a TTL has no timer."""
        interval = session.ttl_interval
        if interval > 0:
            deadline = now + interval * TTL_MULTIPLIER
            self._deadlines[session.id.lower()] = deadline
            heapq.heappush(self._queue, (deadline, session.id.lower()))

    def ended(self, session_id: str) -> None:
        """A session is gone."""
        self._deadlines.pop(session_id.lower(), None)

    def due(self, now: float) -> list[str]:
        """The sessions whose time is over; each is given once."""
        found = []
        while self._queue and self._queue[0][0] <= now:
            deadline, session_id = heapq.heappop(self._queue)
            if self._deadlines.get(session_id) == deadline:
                del self._deadlines[session_id]
                found.append(session_id)
        return found

    @property
    def next_deadline(self) -> float | None:
        """When ``due`` is to be asked again; ``None``: not before something is renewed."""
        while self._queue and self._deadlines.get(self._queue[0][1]) != self._queue[0][0]:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None
