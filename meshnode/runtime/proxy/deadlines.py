"""What must happen in time: handshakes, connects, decisions. Adding and removing one costs a dictionary entry."""

from __future__ import annotations

from typing import Final, Protocol

__all__ = ["DRAIN_TIMEOUT", "Deadlines", "Waiting"]

#: Seconds that connections have to end by themselves when their listener goes.
DRAIN_TIMEOUT: Final = 10.0


class Waiting(Protocol):
    """Something that is given up when its time is over."""

    def time_out(self) -> None:
        """The time is over."""
        ...


class Deadlines:
    """Entries of one time-out are in the order of their deadlines, so only the first ones are ever looked at."""

    def __init__(self) -> None:
        self._queues: dict[float, dict[Waiting, float]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, waiting: Waiting, timeout: float, now: float) -> None:
        """``waiting.time_out()`` will be called in ``timeout`` seconds unless it is removed."""
        self._queues.setdefault(timeout, {})[waiting] = now + timeout

    def remove(self, waiting: Waiting, timeout: float) -> None:
        """It happened in time."""
        queue = self._queues.get(timeout)
        if queue is not None:
            queue.pop(waiting, None)

    def expire(self, now: float) -> None:
        """Give up what is late at ``now``."""
        for timeout, queue in list(self._queues.items()):
            while queue:
                waiting = next(iter(queue))
                if queue[waiting] > now:
                    break
                del queue[waiting]
                waiting.time_out()
            if not queue:
                self._queues.pop(timeout, None)
