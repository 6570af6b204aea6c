"""How often a peer may do what costs us more than it: resets (CVE-2023-44487, CVE-2025-8671), pings, settings."""

from __future__ import annotations

from typing import Final

__all__ = ["CONTROL", "RESETS", "FloodGuard"]

#: (how often, in how many seconds). A browser that leaves a page resets some dozens of streams at once.
RESETS: Final = (200, 10.0)
CONTROL: Final = (1000, 10.0)


class FloodGuard:
    """Counts in windows of ``bound[1]`` seconds."""

    def __init__(self, bound: tuple[int, float]) -> None:
        self._most, self._interval = bound
        self._since: float | None = None
        self._count = 0

    def count(self, now: float) -> bool:
        """Whether one more is still within the bound."""
        if self._since is None or not 0.0 <= now - self._since < self._interval:
            self._since, self._count = now, 0
        self._count += 1
        return self._count <= self._most
