"""Warnings that a peer can provoke at will are written once in a while only, and remembered within bounds."""

from __future__ import annotations

__all__ = ["MAX_REMEMBERED", "QUIET_INTERVAL", "Complaints"]

QUIET_INTERVAL = 10.0
"""Seconds between two warnings about the same thing."""
MAX_REMEMBERED = 1024
"""Things remembered; when there are more, the whole memory starts anew after the quiet time of the oldest."""


class Complaints:
    """Decides whether a warning may be written."""

    def __init__(self) -> None:
        self._spoken: dict[str, float] = {}

    def may_speak(self, about: str, now: float) -> bool:
        """True when nothing was said ``about`` this in the last :data:`QUIET_INTERVAL` seconds, and notes it."""
        last = self._spoken.get(about)
        if last is not None and now - last < QUIET_INTERVAL:
            return False
        if last is None and len(self._spoken) >= MAX_REMEMBERED:
            self._spoken = {key: at for key, at in self._spoken.items() if now - at < QUIET_INTERVAL}
            if len(self._spoken) >= MAX_REMEMBERED:
                return False
        self._spoken[about] = now
        return True
