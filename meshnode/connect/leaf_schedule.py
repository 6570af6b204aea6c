"""When an agent asks for the next leaf of a service. Pure: every instant is an argument, unix seconds.

A leaf is renewed at two thirds of its life or a little before, so that those of many nodes don't come due together.
When the root has changed, sooner: within a spread that is short against the leaf's life. After a failure the pauses
grow, with jitter, but never beyond a fraction of what is left of the leaf's life.
"""

from __future__ import annotations

import random
from typing import Final

__all__ = ["MAX_RETRY", "MAX_ROOT_SPREAD", "RENEW_AT", "RENEW_JITTER", "LeafSchedule"]

#: Part of the life after which a leaf is renewed at the latest, and the width of the jitter before that.
RENEW_AT: Final = 2 / 3
RENEW_JITTER: Final = 0.1
#: Seconds over which the nodes of a cluster ask for leaves of a new root, or this part of a leaf's life.
MAX_ROOT_SPREAD: Final = 60.0
ROOT_SPREAD_FRACTION: Final = 0.05
#: Seconds after the first failure, and at most.
MIN_RETRY: Final = 1.0
MAX_RETRY: Final = 60.0
#: Part of the leaf's remaining life that a pause after a failure lasts at most.
RETRY_FRACTION: Final = 0.1


class LeafSchedule:
    """Of one service. ``due`` is when to ask; from the beginning that is now."""

    def __init__(self, rng: random.Random) -> None:
        self.due = 0.0
        self.failures = 0
        self._rng = rng
        self._root = ""
        self._life = 0.0
        self._ends = 0.0
        self._tried_at = 0.0

    def issued(self, root_id: str, at: float, ends: float) -> None:
        """A leaf of that root came at ``at``, good until ``ends``."""
        self._root, self._life, self._ends = root_id, max(0.0, ends - at), ends
        self.failures, self._tried_at = 0, at
        self.due = at + self._life * (RENEW_AT - self._rng.random() * RENEW_JITTER)

    def failed(self, at: float) -> None:
        """It was asked for, and didn't come."""
        pause = min(MAX_RETRY, MIN_RETRY * 2 ** min(self.failures, 10))
        left = self._ends - at
        if left > 0:
            pause = min(pause, max(MIN_RETRY, left * RETRY_FRACTION))
        self.failures += 1
        self._tried_at = at
        self.due = at + pause * (1 - self._rng.random() / 2)

    def root_changed(self, root_id: str, at: float) -> None:
        """``root_id`` signs now: a leaf of another root is to be replaced soon."""
        if not self._root or root_id == self._root:
            return
        spread = min(MAX_ROOT_SPREAD, self._life * ROOT_SPREAD_FRACTION)
        self.due = min(self.due, at + self._rng.random() * spread)

    def hurry(self, at: float) -> None:
        """Somebody waits: try now, unless that was tried less than ``MIN_RETRY`` ago."""
        self.due = min(self.due, max(at, self._tried_at + MIN_RETRY))
