"""Queries: what a caller may ask for, which ones were seen, and who has answered ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from meshnode.gossip.effects import Effect, Notify
from meshnode.gossip.serf.events import QueryAcked, QueryFinished, QueryResponded

__all__ = [
    "MAX_QUERIES_PER_TIME",
    "MAX_RESPONDERS",
    "ApplicationQuery",
    "Collector",
    "PendingQuery",
    "QueryBuffer",
    "QueryParams",
    "default_query_timeout",
]

#: Distinct queries kept of one Lamport time; see ``MAX_EVENTS_PER_TIME``.
MAX_QUERIES_PER_TIME = 512
#: Names that may answer one query. They are a peer's word, so they are counted; Serf sets no bound.
MAX_RESPONDERS = 65536


@dataclass(frozen=True, slots=True)
class QueryParams:
    """Who is to answer, how and until when.

    ``filter_nodes`` empty means everybody; ``filter_tags`` maps tags to regular expressions (RE2); the answers are
    also sent through ``relay_factor`` other members; ``timeout`` (seconds) defaults by the size of the cluster.
    """

    filter_nodes: tuple[str, ...] = ()
    filter_tags: Mapping[str, str] = field(default_factory=dict)
    relay_factor: int = 0
    request_ack: bool = False
    timeout: float | None = None


def default_query_timeout(gossip_interval: float, mult: int, num_members: int) -> float:
    """Time (seconds) for a query to reach ``num_members`` nodes and be answered (Serf's formula)."""
    return gossip_interval * mult * math.ceil(math.log10(num_members + 1))


@dataclass(slots=True)
class _Slot:
    ltime: int
    ids: set[int] = field(default_factory=set)


class QueryBuffer:
    """A ring of the last ``size`` Lamport times with the ids of the queries seen at each."""

    def __init__(self, size: int, min_time: int = 0) -> None:
        self._slots: list[_Slot | None] = [None] * size
        #: Queries from before this time are ignored (restored from a snapshot).
        self.min_time = min_time

    def admit(self, ltime: int, query_id: int, current: int) -> bool:
        """Remember the query; false when it is too old or was seen. ``current`` is the query clock's time."""
        size = len(self._slots)
        if ltime < self.min_time or (current > size and ltime < current - size):
            return False
        slot = self._slots[ltime % size]
        if slot is None or slot.ltime != ltime:
            slot = self._slots[ltime % size] = _Slot(ltime)
        if query_id in slot.ids or len(slot.ids) >= MAX_QUERIES_PER_TIME:
            return False
        slot.ids.add(query_id)
        return True


class Collector(Protocol):
    """What becomes of the answers to one query of ours."""

    def acked(self, node: str) -> list[Effect]:
        """``node`` received the query."""

    def responded(self, node: str, payload: bytes) -> list[Effect]:
        """``node`` answered."""

    def is_complete(self) -> bool:
        """Whether there is nothing left to wait for."""

    def finished(self) -> list[Effect]:
        """The query is over: complete, or its timeout passed."""


@dataclass(slots=True)
class PendingQuery:
    """A query of ours that is still open."""

    id: int
    collector: Collector
    acks: set[str] = field(default_factory=set)
    responses: set[str] = field(default_factory=set)

    def acked(self, node: str) -> list[Effect]:
        """Pass the first acknowledgement of each node on."""
        if node in self.acks or len(self.acks) >= MAX_RESPONDERS:
            return []
        self.acks.add(node)
        return self.collector.acked(node)

    def responded(self, node: str, payload: bytes) -> list[Effect]:
        """Pass the first answer of each node on."""
        if node in self.responses or len(self.responses) >= MAX_RESPONDERS:
            return []
        self.responses.add(node)
        return self.collector.responded(node, payload)


@dataclass(slots=True)
class ApplicationQuery:
    """Collector that tells the layer above about each answer as it comes."""

    request: int
    acks: int = 0
    responses: int = 0

    def acked(self, node: str) -> list[Effect]:
        """One ``QueryAcked`` each."""
        self.acks += 1
        return [Notify(QueryAcked(self.request, node))]

    def responded(self, node: str, payload: bytes) -> list[Effect]:
        """One ``QueryResponded`` each."""
        self.responses += 1
        return [Notify(QueryResponded(self.request, node, payload))]

    def is_complete(self) -> bool:
        """Never before the timeout: nobody knows how many will answer."""
        return False

    def finished(self) -> list[Effect]:
        """The closing ``QueryFinished``."""
        return [Notify(QueryFinished(self.request, self.acks, self.responses))]
