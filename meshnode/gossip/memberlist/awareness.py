"""How well this node itself keeps up (Lifeguard: local health multiplier). 0 is healthy."""

from __future__ import annotations

__all__ = ["Awareness"]


class Awareness:
    """A score from 0 to ``limit - 1``: missed acks and refutations raise it, successful probes lower it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.score = 0

    def apply(self, delta: int) -> None:
        """Add ``delta``, within the bounds."""
        self.score = min(max(self.score + delta, 0), self._limit - 1)

    def scale(self, timeout: float) -> float:
        """``timeout`` in seconds, longer the less healthy this node is."""
        return timeout * (self.score + 1)
