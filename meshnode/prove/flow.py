"""What travelled over one port from one node to another: a row of the matrix."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from meshnode.base.address import Address
from meshnode.prove.excerpt import Excerpt

__all__ = ["MAX_FLOWS", "OTHERS", "Flow", "FlowKey", "Level", "flow_key"]

#: Rows that one port may have: those of 64 nodes with each other; what comes then is one row more.
MAX_FLOWS: Final = 4096
OTHERS: Final = "others"
_MAX_EVIDENCE: Final = 8


class Level(StrEnum):
    """How far a row is protected, the worst of what was seen in it; SILENT is a row without payload."""

    PLAINTEXT = "plaintext"
    UNKNOWN = "unknown"
    ENCRYPTED = "encrypted"
    AUTHENTICATED = "encrypted and authenticated"
    SILENT = "silent"


#: What a finding's kind comes to. TLS is raised to AUTHENTICATED when both ends showed a certificate.
LEVELS: Final = {
    "plaintext": Level.PLAINTEXT,
    "unknown": Level.UNKNOWN,
    "unopened": Level.UNKNOWN,
    "tls": Level.ENCRYPTED,
    "sealed": Level.AUTHENTICATED,
}


class FlowKey(NamedTuple):
    """``direction``: ``to`` (a client speaks to the port), ``from`` (it answers), ``between`` (both ends are it)."""

    source: str
    destination: str
    direction: str


@dataclass(slots=True)
class Flow:
    """Counts of one row. ``counts`` has streams (each direction is one) and datagrams by level."""

    key: FlowKey
    packets: int = 0
    payload_bytes: int = 0
    missing_bytes: int = 0
    counts: Counter[Level] = field(default_factory=Counter)
    canaries: set[str] = field(default_factory=set)
    evidence: set[str] = field(default_factory=set)
    excerpt: Excerpt | None = None
    _excerpt_rank: int = 0

    @property
    def level(self) -> Level:
        """The verdict on this row."""
        if self.canaries or self.counts[Level.PLAINTEXT]:
            return Level.PLAINTEXT
        if self.missing_bytes or self.counts[Level.UNKNOWN]:
            return Level.UNKNOWN
        if self.counts[Level.ENCRYPTED]:
            return Level.ENCRYPTED
        return Level.AUTHENTICATED if self.counts[Level.AUTHENTICATED] else Level.SILENT

    def show(self, excerpt: Excerpt, rank: int) -> None:
        """Make this the excerpt when it is worse than the one shown."""
        if rank > self._excerpt_rank and excerpt.data:
            self.excerpt, self._excerpt_rank = excerpt, rank

    def authenticate(self, evidence: str, *, mutual: bool) -> None:
        """Note what was seen; one stream that was counted as encrypted is raised when the proof was mutual."""
        if evidence and len(self.evidence) < _MAX_EVIDENCE:
            self.evidence.add(evidence)
        if mutual and self.counts[Level.ENCRYPTED]:
            self.counts[Level.ENCRYPTED] -= 1
            self.counts[Level.AUTHENTICATED] += 1

    def as_dict(self) -> dict[str, object]:
        """The row as JSON data."""
        return {
            "source": self.key.source,
            "destination": self.key.destination,
            "direction": self.key.direction,
            "level": self.level.value,
            "packets": self.packets,
            "payload_bytes": self.payload_bytes,
            "missing_bytes": self.missing_bytes,
            "counts": {level.value: self.counts[level] for level in Level if self.counts[level]},
            "canaries": sorted(self.canaries),
            "evidence": sorted(self.evidence),
            "excerpt": self.excerpt.as_dict() if self.excerpt else None,
        }


def flow_key(port: int, source: Address, destination: Address) -> FlowKey:
    """The row of a packet that one or both ends of have ``port``."""
    if source.port == destination.port:
        direction = "between"
    else:
        direction = "to" if destination.port == port else "from"
    return FlowKey(source.host, destination.host, direction)
