"""Canaries: random words planted in traffic, looked for as they are and as base64 and hex would carry them."""

from __future__ import annotations

import base64
from collections.abc import Iterable

__all__ = ["CanarySearch", "renderings"]


def renderings(canary: bytes) -> tuple[bytes, ...]:
    """The byte strings that betray ``canary``: itself, its hex, and its base64 at each of three alignments."""
    found = [canary, canary.hex().encode(), canary.hex().upper().encode()]
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + canary).rstrip(b"=")
        # The first and last characters mix in neighbouring bytes: leave out what the canary does not decide.
        start = (lead * 8 + 5) // 6
        found.append(encoded[start : (lead + len(canary)) * 8 // 6])
    return tuple(dict.fromkeys(found))


class CanarySearch:
    """Looks for canaries in data that arrives in pieces; each place that is searched keeps its own tail."""

    def __init__(self, canaries: Iterable[str]) -> None:
        self._needles = {canary: renderings(canary.encode()) for canary in canaries}
        self._overlap = max((len(n) for needles in self._needles.values() for n in needles), default=1) - 1

    def find(self, tail: bytes, data: bytes) -> tuple[set[str], bytes]:
        """Search ``data`` after ``tail``; returns the canaries found and the tail for the next piece."""
        window = tail + data
        found = {canary for canary, needles in self._needles.items() if any(n in window for n in needles)}
        return found, window[-self._overlap :] if self._overlap else b""

    def excerpt(self, data: bytes, around: int = 64) -> tuple[int, bytes] | None:
        """Offset and bytes around the first canary in ``data``, for a hexdump."""
        for needles in self._needles.values():
            for needle in needles:
                position = data.find(needle)
                if position >= 0:
                    start = max(0, (position - around) // 16 * 16)
                    return start, data[start : position + len(needle) + around]
        return None
