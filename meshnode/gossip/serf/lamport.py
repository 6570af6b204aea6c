"""Lamport clocks: how Serf orders intents, user events and queries without a shared clock."""

from __future__ import annotations

__all__ = ["MAX_LAMPORT_TIME", "LamportClock"]

#: Largest time accepted from a peer. The wire carries 64 bits; a clock pushed to their end by one bad
#: message would have no next value, so the upper half is refused (Go's codec lets it wrap instead).
MAX_LAMPORT_TIME = 2**63 - 1


class LamportClock:
    """A counter that is always ahead of every time it has witnessed (Lamport 1978)."""

    __slots__ = ("_time",)

    def __init__(self, time: int = 1) -> None:
        # Serf starts its clocks at 1: a status time of 0 means "never heard".
        self._time = time

    @property
    def time(self) -> int:
        """The time that the next local message will carry."""
        return self._time

    def increment(self) -> int:
        """Move one ahead and return the new time."""
        self._time += 1
        return self._time

    def witness(self, time: int) -> None:
        """Take note of a time seen in a message: the clock ends up past it."""
        if time >= self._time:
            self._time = min(time + 1, MAX_LAMPORT_TIME)
