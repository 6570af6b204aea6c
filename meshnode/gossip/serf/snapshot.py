"""Serf's snapshot (``local.snapshot``): the lines that let a restarted node rejoin and not replay old events.

``SnapshotWriter`` turns events into lines, ``replay`` turns lines back into what was known, ``compact`` is the
shortest text with the same meaning. Reading and writing the file is the shell's work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.gossip.serf.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    QueryReceived,
    UserEventReceived,
)

__all__ = ["MIN_COMPACT_BYTES", "Snapshot", "SnapshotWriter", "compact", "max_snapshot_bytes", "replay"]

#: A snapshot smaller than this is never compacted (serf's ``snapshotSizeLimit``).
MIN_COMPACT_BYTES = 128 * 1024
_BYTES_PER_NODE = 128
_COMPACTION_FACTOR = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot says: where members were, and the last times of the three clocks."""

    alive: dict[str, Address] = field(default_factory=dict)
    clock: int = 0
    event_clock: int = 0
    query_clock: int = 0


def replay(lines: Iterable[str], *, rejoin_after_leave: bool = False) -> tuple[Snapshot, list[str]]:
    """Read a snapshot; also return a sentence for each line that makes no sense (they are skipped)."""
    alive: dict[str, Address] = {}
    clocks = {"clock": 0, "event-clock": 0, "query-clock": 0}
    complaints: list[str] = []
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\n")
        key, _, value = line.partition(": ")
        try:
            if key == "alive":
                name, _, address = value.rpartition(" ")
                alive[name] = Address.parse(address)
            elif key == "not-alive":
                alive.pop(value, None)
            elif key in clocks:
                clocks[key] = _clock(value)
            elif line == "leave":
                if not rejoin_after_leave:
                    alive, clocks = {}, dict.fromkeys(clocks, 0)
            elif key != "coordinate" and line and not line.startswith("#"):
                complaints.append(f"line {number} is not known: {line[:80]!r}")
        except (MeshError, ValueError) as error:
            complaints.append(f"line {number} can't be read: {error}")
    return Snapshot(alive, clocks["clock"], clocks["event-clock"], clocks["query-clock"]), complaints


def _clock(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{value[:40]!r} is not a clock time")
    return int(value)


def compact(snapshot: Snapshot) -> str:
    """The whole file, as short as it gets."""
    lines = [f"alive: {name} {address}" for name, address in snapshot.alive.items()]
    lines += [
        f"clock: {snapshot.clock}",
        f"event-clock: {snapshot.event_clock}",
        f"query-clock: {snapshot.query_clock}",
    ]
    return "".join(f"{line}\n" for line in lines)


def max_snapshot_bytes(num_alive: int) -> int:
    """The size at which a file about ``num_alive`` nodes is worth compacting."""
    return max(num_alive * _BYTES_PER_NODE * _COMPACTION_FACTOR, MIN_COMPACT_BYTES)


class SnapshotWriter:
    """Says which line each event adds; keeps what a compaction would write."""

    def __init__(self, previous: Snapshot, *, rejoin_after_leave: bool = False) -> None:
        self._alive = dict(previous.alive)
        self._clock = previous.clock
        self._event_clock = previous.event_clock
        self._query_clock = previous.query_clock
        self._rejoin_after_leave = rejoin_after_leave
        self._leaving = False

    @property
    def current(self) -> Snapshot:
        """What the lines written so far amount to."""
        return Snapshot(dict(self._alive), self._clock, self._event_clock, self._query_clock)

    def record(self, event: object) -> list[str]:
        """Lines that ``event`` adds; none once the node is leaving."""
        if self._leaving:
            return []
        lines: list[str] = []
        match event:
            case MemberJoined(members):
                for member in members:
                    if not member.name.isprintable():
                        continue  # a name with a line break in it would become a line of its own
                    self._alive[member.name] = member.address
                    lines.append(f"alive: {member.name} {member.address}")
            case MemberLeft(members) | MemberFailed(members):
                known = [member.name for member in members if self._alive.pop(member.name, None) is not None]
                lines += [f"not-alive: {name}" for name in known]
            case UserEventReceived(ltime=ltime) if ltime > self._event_clock:
                self._event_clock = ltime
                lines.append(f"event-clock: {ltime}")
            case QueryReceived(ltime=ltime) if ltime > self._query_clock:
                self._query_clock = ltime
                lines.append(f"query-clock: {ltime}")
            case _:
                pass
        return lines

    def clock_ticked(self, time: int) -> list[str]:
        """The member clock shows ``time``: the last one witnessed is one less."""
        if self._leaving or time - 1 <= self._clock:
            return []
        self._clock = time - 1
        return [f"clock: {self._clock}"]

    def leave(self) -> list[str]:
        """We leave on purpose: a restart must not join by itself, unless configured to."""
        if not self._rejoin_after_leave:
            self._alive.clear()
        self._leaving = True
        return ["leave"]
