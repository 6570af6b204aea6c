"""Canaries: random words planted in traffic, looked for as they are and as base64 and hex would carry them.

Msgpack, JSON, HTTP headers and URLs carry a word of letters and digits as it is. Bodies that HTTP compressed are not
expanded: HTTP in clear is plaintext by itself, whatever its body.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from meshnode.base.errors import ConfigError

__all__ = ["MIN_CANARY_CHARS", "CanarySearch", "Tail", "renderings"]

#: Shorter words would be found by chance: eight characters of base64 are 48 bits.
MIN_CANARY_CHARS = 8
_AROUND_BYTES, _ROW_BYTES = 64, 16


def renderings(canary: bytes) -> tuple[bytes, ...]:
    """The byte strings that betray ``canary``: itself, its hex, and its base64 at each of three alignments."""
    found = [canary, canary.hex().encode(), canary.hex().upper().encode()]
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + canary).rstrip(b"=")
        # The first and last characters mix in neighbouring bytes: leave out what the canary does not decide.
        start = (lead * 8 + 5) // 6
        sure = encoded[start : (lead + len(canary)) * 8 // 6]
        found += [sure, sure.translate(bytes.maketrans(b"+/", b"-_"))]
    return tuple(dict.fromkeys(found))


class CanarySearch:
    """Looks for canaries; raises :class:`ConfigError` when one is too short to mean anything."""

    def __init__(self, canaries: Iterable[str]) -> None:
        self._needles: list[tuple[str, bytes]] = []
        for canary in canaries:
            if len(canary) < MIN_CANARY_CHARS:
                raise ConfigError(
                    f"canary {canary!r} is found by chance: use at least {MIN_CANARY_CHARS} random characters"
                )
            self._needles += [(canary, needle) for needle in renderings(canary.encode())]
        self.overlap = max((len(needle) for _, needle in self._needles), default=1) - 1

    def find(self, data: bytes) -> dict[str, tuple[int, int]]:
        """The canaries in ``data``, each with start and end of its first rendering there."""
        found: dict[str, tuple[int, int]] = {}
        for canary, needle in self._needles:
            at = data.find(needle)
            if at >= 0 and (canary not in found or at < found[canary][0]):
                found[canary] = (at, at + len(needle))
        return found


class Tail:
    """The search in a stream that comes in pieces: keeps what a canary may begin in, and what is shown before it."""

    def __init__(self, search: CanarySearch) -> None:
        self._search = search
        self._tail = b""
        self._position = 0

    def find(self, data: bytes) -> dict[str, tuple[int, bytes]]:
        """The canaries that end in ``data``, each with the stream's bytes around it and the position of these."""
        window = self._tail + data
        start = self._position - len(self._tail)
        found = {
            canary: around(window, begin, end, start)
            for canary, (begin, end) in self._search.find(window).items()
            if end > len(self._tail)
        }
        self._position += len(data)
        self._tail = (
            window[-(self._search.overlap + _AROUND_BYTES + _ROW_BYTES) :] if self._search.overlap else b""
        )
        return found

    def skip(self, count: int) -> None:
        """``count`` bytes are missing here."""
        self._position += count
        self._tail = b""


def around(data: bytes, begin: int, end: int, base: int = 0) -> tuple[int, bytes]:
    """Position and bytes of ``data`` about ``begin`` to ``end``; the position is a multiple of 16 from ``base`` on."""
    start = max(0, begin - _AROUND_BYTES)
    start += -(base + start) % _ROW_BYTES
    start = min(start, begin)
    return base + start, data[start : end + _AROUND_BYTES]
