"""Vivaldi network coordinates: round-trip times estimated from positions that nodes learn by pinging.

Sources: Dabek et al., "Vivaldi" (SIGCOMM 2004); Ledlie et al., "Network Coordinates in the Wild" (NSDI 2007)
for the latency filter and gravity; Lee et al. (ToN 18.1, 2010) for the adjustment term. Constants and wire form
are those of hashicorp/serf's coordinate package. All quantities are in seconds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.serf.wire import pack, unpack_map

__all__ = [
    "DIMENSIONS",
    "MAX_RTT",
    "PING_VERSION",
    "Coordinate",
    "CoordinateClient",
    "parse_ping",
    "serialize_ping",
]

DIMENSIONS = 8
ERROR_MAX = 1.5
ERROR_GAIN = 0.25
POSITION_GAIN = 0.25
ADJUSTMENT_WINDOW = 20
HEIGHT_MIN = 10.0e-6
LATENCY_FILTER_SIZE = 3
GRAVITY_RHO = 150.0
ZERO_THRESHOLD = 1.0e-6
#: Round trips above this are measurement faults, not distances.
MAX_RTT = 10.0
#: First byte of a ping's payload.
PING_VERSION = 1

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A position: Euclidean part, confidence, learned offset and height above the Euclidean space."""

    vec: Vector = (0.0,) * DIMENSIONS
    error: float = ERROR_MAX
    adjustment: float = 0.0
    height: float = HEIGHT_MIN

    @property
    def is_valid(self) -> bool:
        """Whether every component is a finite number."""
        return all(map(math.isfinite, (*self.vec, self.error, self.adjustment, self.height)))

    def raw_distance_to(self, other: Coordinate) -> float:
        """Estimated round trip without the adjustments."""
        return math.dist(self.vec, other.vec) + self.height + other.height

    def distance_to(self, other: Coordinate) -> float:
        """Estimated round trip in seconds, adjusted unless that would make it negative."""
        raw = self.raw_distance_to(other)
        adjusted = raw + self.adjustment + other.adjustment
        return adjusted if adjusted > 0.0 else raw

    def pushed(self, force: float, other: Coordinate, rng: random.Random) -> Coordinate:
        """This coordinate after ``force`` (seconds; negative pulls) was applied from ``other``'s direction."""
        unit, distance = _direction(self.vec, other.vec, rng)
        vec = tuple(a + b * force for a, b in zip(self.vec, unit, strict=True))
        height = self.height
        if distance > ZERO_THRESHOLD:
            height = max((height + other.height) * force / distance + height, HEIGHT_MIN)
        return replace(self, vec=vec, height=height)


def _direction(here: Vector, there: Vector, rng: random.Random) -> tuple[Vector, float]:
    """Unit vector from ``there`` to ``here`` and their distance; a random one when they coincide."""
    difference = tuple(a - b for a, b in zip(here, there, strict=True))
    distance = math.hypot(*difference)
    if distance > ZERO_THRESHOLD:
        return tuple(a / distance for a in difference), distance
    guess = tuple(rng.random() - 0.5 for _ in here)
    length = math.hypot(*guess)
    if length > ZERO_THRESHOLD:
        return tuple(a / length for a in guess), 0.0
    return (1.0, *(0.0 for _ in here[1:])), 0.0


_ORIGIN = Coordinate()


class CoordinateClient:
    """Learns the local coordinate from observed round trips and keeps the last one heard of each peer."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self._name = name
        self._rng = rng
        self._own = Coordinate()
        self._offsets = [0.0] * ADJUSTMENT_WINDOW
        self._next_offset = 0
        self._latencies: dict[str, list[float]] = {}
        self._known: dict[str, Coordinate] = {}
        self.resets = 0

    @property
    def own(self) -> Coordinate:
        """Where this node is."""
        return self._own

    def of(self, name: str) -> Coordinate | None:
        """The last coordinate heard of ``name``, the local node included."""
        return self._own if name == self._name else self._known.get(name)

    def forget(self, name: str) -> None:
        """Drop what is kept about a node that left for good."""
        self._latencies.pop(name, None)
        self._known.pop(name, None)

    def update(self, name: str, other: Coordinate, rtt: float) -> Coordinate:
        """Learn from one ping of ``name`` that took ``rtt`` seconds; return the new own coordinate.

        Raises :class:`RemoteProtocolError`, state unchanged, when either is out of range.
        """
        if len(other.vec) != DIMENSIONS:
            raise RemoteProtocolError(f"coordinate has {len(other.vec)} dimensions instead of {DIMENSIONS}")
        if not other.is_valid:
            raise RemoteProtocolError("coordinate holds a number that is not finite")
        if not 0.0 <= rtt <= MAX_RTT:
            raise RemoteProtocolError(f"round trip of {rtt} s is not between 0 and {MAX_RTT} s")
        filtered = self._filter(name, rtt)
        self._move(other, filtered)
        self._adjust(other, filtered)
        self._gravitate()
        if not self._own.is_valid:
            self.resets += 1
            self._own = Coordinate()
        self._known[name] = other
        return self._own

    def _filter(self, name: str, rtt: float) -> float:
        samples = self._latencies.setdefault(name, [])
        samples.append(rtt)
        del samples[:-LATENCY_FILTER_SIZE]
        # The upper median, as Serf has it; the module statistics would load decimals and fractions for it.
        return sorted(samples)[len(samples) // 2]

    def _move(self, other: Coordinate, rtt: float) -> None:
        distance = self._own.distance_to(other)
        rtt = max(rtt, ZERO_THRESHOLD)
        wrongness = abs(distance - rtt) / rtt
        weight = self._own.error / max(self._own.error + other.error, ZERO_THRESHOLD)
        error = ERROR_GAIN * weight * wrongness + self._own.error * (1.0 - ERROR_GAIN * weight)
        moved = replace(self._own, error=min(error, ERROR_MAX))
        self._own = moved.pushed(POSITION_GAIN * weight * (rtt - distance), other, self._rng)

    def _adjust(self, other: Coordinate, rtt: float) -> None:
        self._offsets[self._next_offset] = rtt - self._own.raw_distance_to(other)
        self._next_offset = (self._next_offset + 1) % ADJUSTMENT_WINDOW
        self._own = replace(self._own, adjustment=sum(self._offsets) / (2.0 * ADJUSTMENT_WINDOW))

    def _gravitate(self) -> None:
        """Pull towards the origin a little: otherwise the whole system drifts."""
        distance = _ORIGIN.distance_to(self._own)
        try:
            force = -((distance / GRAVITY_RHO) ** 2.0)
        except OverflowError:
            force = -math.inf  # a peer's finite but absurd coordinate; the result is invalid and is reset
        self._own = self._own.pushed(force, _ORIGIN, self._rng)


def serialize_ping(coordinate: Coordinate) -> bytes:
    """The payload of a ping's acknowledgement."""
    return bytes([PING_VERSION]) + pack(
        {
            "Adjustment": coordinate.adjustment,
            "Error": coordinate.error,
            "Height": coordinate.height,
            "Vec": list(coordinate.vec),
        }
    )


def parse_ping(payload: bytes) -> Coordinate:
    """Read a coordinate from a ping's payload; raises :class:`RemoteProtocolError` on anything else."""
    if not payload or payload[0] != PING_VERSION:
        found: Sequence[int] | str = payload[:1].hex() or "nothing"
        raise RemoteProtocolError(f"ping payload has version {found} instead of {PING_VERSION:02x}")
    fields = unpack_map(payload[1:], "coordinate")
    return Coordinate(
        vec=fields.numbers("Vec"),
        error=fields.number("Error"),
        adjustment=fields.number("Adjustment"),
        height=fields.number("Height"),
    )
