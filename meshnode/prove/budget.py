"""Memory that all streams of one judgement share, so that many streams can't need more than one could."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_HELD_BYTES", "Budget"]

#: Payload held at a time: segments that wait for an earlier one, and gossip frames that are opened when complete.
MAX_HELD_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Budget:
    """Bytes that may still be held."""

    left: int = MAX_HELD_BYTES

    def take(self, count: int) -> bool:
        """Reserve ``count`` bytes if they are there."""
        if count > self.left:
            return False
        self.left -= count
        return True

    def give_back(self, count: int) -> None:
        """Return what was taken."""
        self.left += count
