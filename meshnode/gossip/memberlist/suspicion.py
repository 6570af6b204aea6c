"""The time between suspecting a node and declaring it dead (Lifeguard: dynamic suspicion timeouts, "dogpile").

A suspicion starts at its longest timeout and falls, on a logarithmic curve, to its shortest as other members confirm
it on their own account.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["Suspicion", "expected_confirmations", "suspicion_timeout"]


def suspicion_timeout(mult: int, members: int, probe_interval: float) -> float:
    """Shortest suspicion in seconds: ``mult * max(1, log10(members)) * probe_interval`` (SWIM 4.2, scaled)."""
    scale = max(1.0, math.log10(max(1.0, float(members))))
    return mult * math.floor(scale * 1000) / 1000 * probe_interval


def expected_confirmations(mult: int, members: int) -> int:
    """Confirmations that bring the timeout to its minimum: ``mult - 2``, or 0 in a cluster too small to give them."""
    wanted = mult - 2
    return 0 if members - 2 < wanted or wanted < 0 else wanted


@dataclass(slots=True)
class Suspicion:
    """One running suspicion; times are seconds, ``started_at`` monotonic."""

    started_at: float
    shortest: float
    longest: float
    wanted: int
    accusers: set[str] = field(default_factory=set)
    """Who suspects, the first accuser included."""

    @property
    def confirmations(self) -> int:
        """Independent confirmations so far."""
        return len(self.accusers) - 1

    @property
    def deadline(self) -> float:
        """When the node is declared dead if nothing else happens."""
        return self.started_at + self.timeout

    @property
    def timeout(self) -> float:
        """Length of the suspicion at the present number of confirmations."""
        if self.wanted < 1:
            return self.shortest
        share = math.log(self.confirmations + 1.0) / math.log(self.wanted + 1.0)
        return max(
            self.shortest, math.floor(1000 * (self.longest - share * (self.longest - self.shortest))) / 1000
        )

    def confirm(self, accuser: str) -> bool:
        """Count ``accuser``; false when it is known already or no more confirmations are wanted."""
        if self.confirmations >= self.wanted or accuser in self.accusers:
            return False
        self.accusers.add(accuser)
        return True
