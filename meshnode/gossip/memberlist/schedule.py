"""How the interval of push/pull grows with the cluster, so that its traffic does not."""

from __future__ import annotations

import math

__all__ = ["push_pull_interval"]

UNSCALED_MEMBERS = 32


def push_pull_interval(interval: float, members: int) -> float:
    """Seconds between two exchanges: one ``interval`` more with each doubling beyond 32 members."""
    if members <= UNSCALED_MEMBERS:
        return interval
    return interval * (math.ceil(math.log2(members) - math.log2(UNSCALED_MEMBERS)) + 1)
