"""A token bucket: how many calls may be made, in the long run and at once. The clock is an argument."""

from __future__ import annotations

__all__ = ["TokenBucket"]


class TokenBucket:
    """``rate`` tokens a second are added up to ``burst``; it starts full (golang.org/x/time/rate).

    A negative ``rate`` is no limit. ``now`` is monotonic seconds.
    """

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = float(burst)
        self._filled_at = now

    def take(self, now: float) -> bool:
        """Take one token; false when there is none, and then nothing is taken."""
        if self.rate < 0:
            return True
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._filled_at) * self.rate)
        self._filled_at = max(self._filled_at, now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
