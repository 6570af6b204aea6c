"""The queue of news to gossip: each piece is sent a limited number of times, the least sent first."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort

__all__ = ["BroadcastQueue", "retransmit_limit"]

_Entry = tuple[int, int, str, bytes]  # length, serial, subject, message: sorts by length, then age


def retransmit_limit(mult: int, members: int) -> int:
    """How often one piece of news is sent: ``mult * ceil(log10(members + 1))``."""
    return mult * math.ceil(math.log10(members + 1))


class BroadcastQueue:
    """News by subject: a newer message about a subject replaces the older one.

    Within a tier of equally often sent messages the longest that fits goes first, the newest of equal length.
    """

    def __init__(self, retransmit_mult: int) -> None:
        self._mult = retransmit_mult
        self._tiers: list[list[_Entry]] = []
        self._where: dict[str, tuple[int, _Entry]] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, subject: str) -> bool:
        return subject in self._where

    def queue(self, subject: str, message: bytes) -> None:
        """Add ``message``, replacing what is queued about ``subject``."""
        old = self._where.get(subject)
        if old is not None:
            tier = self._tiers[old[0]]
            del tier[bisect_left(tier, old[1])]
        self._serial += 1
        self._insert(0, (len(message), self._serial, subject, message))

    def take(self, overhead: int, limit: int, members: int) -> list[bytes]:
        """Messages to send now: the total of ``len(message) + overhead`` is at most ``limit`` bytes.

        ``members`` is the size of the cluster, which decides how often each message is sent.
        """
        if not self._where:
            return []
        most = retransmit_limit(self._mult, members)
        taken: list[bytes] = []
        again: list[tuple[int, _Entry]] = []
        room = limit - overhead
        for sent, tier in enumerate(self._tiers):
            while tier and tier[0][0] <= room:
                fits = tier[-1][0] <= room
                entry = tier.pop(-1 if fits else bisect_right(tier, room, key=_length) - 1)
                taken.append(entry[3])
                room -= entry[0] + overhead
                if sent + 1 >= most:
                    del self._where[entry[2]]
                else:
                    again.append((sent + 1, entry))
        for sent, entry in again:
            self._insert(sent, entry)
        return taken

    def _insert(self, sent: int, entry: _Entry) -> None:
        while len(self._tiers) <= sent:
            self._tiers.append([])
        insort(self._tiers[sent], entry)
        self._where[entry[2]] = (sent, entry)


def _length(entry: _Entry) -> int:
    return entry[0]
