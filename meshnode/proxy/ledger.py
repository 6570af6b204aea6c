"""The ledger of live connections: who, to whom, by which certificate and rule, how much, since when, how it ended.

It answers which connections a new decision or a revocation forbids, so that the shell cuts those and only those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, TypeAlias

from meshnode.proxy.decision_cache import Decision, SourceKey

__all__ = [
    "MAX_CLOSED",
    "MAX_REFUSED",
    "Connection",
    "Direction",
    "Ledger",
    "Refused",
    "Totals",
    "shown_path",
]

Direction: TypeAlias = Literal["inbound", "outbound"]

#: Ended connections that are remembered for ``explain``.
MAX_CLOSED: Final = 256
#: Refused connections that are remembered.
MAX_REFUSED: Final = 256
_MAX_PATH_CHARS: Final = 200


@dataclass(slots=True)
class Connection:
    """One proxied connection. ``received`` and ``sent`` are plaintext bytes, seen from the mesh side of this proxy.

    ``serial`` is the peer's certificate's, ``issuer`` the key that signed that. ``since`` and ``until`` are monotonic
    seconds; ``until`` and ``close_cause`` are empty while it lives. ``rule`` and ``because`` say what allowed it;
    ``audited``: an intention that only audits would have denied it. ``local`` is our own address of an outbound one:
    the other side has it as ``peer``.
    """

    id: int
    direction: Direction
    listener: str
    source: str
    destination: str
    serial: str
    peer: str
    rule: str
    because: str
    since: float
    received: int = 0
    sent: int = 0
    until: float | None = None
    close_cause: str = ""
    audited: bool = False
    local: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A connection or a request that was not let through; its ``id`` is of the same row as those of connections.

    ``source`` is the SPIFFE ID of who asked, empty when that was not known yet; ``rule`` what decided, empty when
    no rule did. ``kind`` is a word for programs, ``because`` a sentence, ``at`` monotonic seconds. Of a request there
    are method and :func:`shown_path` in ``request``, and the id of its connection, which lives on, if it is known.
    """

    id: int
    listener: str
    source: str
    peer: str
    kind: str
    rule: str
    because: str
    at: float
    request: str = ""
    connection: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """Since the start: connections opened and closed, bytes of those that are closed and of those that live."""

    opened: int
    closed: int
    received: int
    sent: int


class Ledger:
    """``first_id`` and ``id_step`` keep the ids of several processes apart."""

    def __init__(self, *, first_id: int = 1, id_step: int = 1) -> None:
        self._next_id = first_id
        self._id_step = id_step
        self._live: dict[int, Connection] = {}
        self._by_source: dict[SourceKey, set[int]] = {}
        self.closed: deque[Connection] = deque(maxlen=MAX_CLOSED)
        self.refused: deque[Refused] = deque(maxlen=MAX_REFUSED)
        self._opened = {"inbound": 0, "outbound": 0}
        self._ended: dict[str, list[int]] = {"inbound": [0, 0, 0], "outbound": [0, 0, 0]}

    def __len__(self) -> int:
        return len(self._live)

    def open(
        self,
        direction: Direction,
        *,
        listener: str,
        source: str,
        destination: str,
        serial: str,
        peer: str,
        decision: Decision,
        now: float,
        local: str = "",
        issuer: str = "",
    ) -> Connection:
        """Enter a connection that is allowed."""
        entry = Connection(
            self._take_id(),
            direction,
            listener,
            source,
            destination,
            serial,
            peer,
            decision.rule,
            decision.because,
            now,
            audited=decision.audited,
            local=local,
            issuer=issuer,
        )
        self._live[entry.id] = entry
        self._by_source.setdefault((source, serial), set()).add(entry.id)
        self._opened[direction] += 1
        return entry

    def refuse(
        self,
        *,
        listener: str,
        peer: str,
        kind: str,
        because: str,
        now: float,
        source: str = "",
        rule: str = "",
        request: str = "",
        connection: int = 0,
    ) -> Refused:
        """Enter a connection, or a request of a connection, that was not let through."""
        entry = Refused(
            self._take_id(), listener, source, peer, kind, rule, because, now, request, connection
        )
        self.refused.append(entry)
        return entry

    def _take_id(self) -> int:
        taken = self._next_id
        self._next_id += self._id_step
        return taken

    def close(self, id: int, cause: str, now: float) -> Connection | None:  # noqa: A002
        """Enter the end of a connection; ``None`` when it had ended before."""
        entry = self._live.pop(id, None)
        if entry is None:
            return None
        entry.until, entry.close_cause = now, cause
        key = (entry.source, entry.serial)
        ids = self._by_source[key]
        ids.discard(id)
        if not ids:
            del self._by_source[key]
        ended = self._ended[entry.direction]
        ended[0] += 1
        ended[1] += entry.received
        ended[2] += entry.sent
        self.closed.append(entry)
        return entry

    def live(self) -> list[Connection]:
        """Every live connection, oldest first."""
        return list(self._live.values())

    def newest(self, count: int) -> list[Connection]:
        """At most ``count`` live connections, those opened last, oldest first."""
        skipped = max(0, len(self._live) - count)
        return list(islice(self._live.values(), skipped, None))

    def get(self, id: int) -> Connection | None:  # noqa: A002
        """A live connection by its id."""
        return self._live.get(id)

    def has_source(self, source: SourceKey) -> bool:
        """Whether a connection of that source lives."""
        return source in self._by_source

    def inbound_sources(self) -> list[SourceKey]:
        """Each source with live connections to us once: who has to be asked about again."""
        return [
            key
            for key, ids in self._by_source.items()
            if any(self._live[id_].direction == "inbound" for id_ in ids)
        ]

    def forbidden_by(self, source: SourceKey, decision: Decision) -> list[Connection]:
        """The source's live connections to us that ``decision`` ends: all or none.

        Those that go on take over the rule that now allows them.
        """
        entries = [self._live[id_] for id_ in sorted(self._by_source.get(source, ()))]
        inbound = [entry for entry in entries if entry.direction == "inbound"]
        if not decision.allowed:
            return inbound
        for entry in inbound:
            entry.rule, entry.because = decision.rule, decision.because
        return []

    def with_serials(self, serials: Iterable[str]) -> list[Connection]:
        """Live connections, in both directions, whose peer showed one of these certificates (``ab:cd:...``)."""
        wanted = {serial.lower() for serial in serials}
        return [entry for entry in self._live.values() if entry.serial in wanted]

    def totals(self, direction: Direction) -> Totals:
        """Sums for the metrics."""
        closed, received, sent = self._ended[direction]
        for entry in self._live.values():
            if entry.direction == direction:
                received += entry.received
                sent += entry.sent
        return Totals(self._opened[direction], closed, received, sent)


def shown_path(path: str) -> str:
    """``path`` as it may be written down: no query, since it holds what is nobody's business, and not too long."""
    path = path.partition("?")[0]
    return path if len(path) <= _MAX_PATH_CHARS else f"{path[:_MAX_PATH_CHARS]}..."
