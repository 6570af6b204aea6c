"""Network coordinates of nodes (Vivaldi), for ``?near`` and ``/v1/coordinate``. One for each node and segment.

Source: Consul 1.2.3, agent/consul/state/coordinate.go; github.com/hashicorp/serf, coordinate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = ["DIMENSIONS", "Coordinate", "Coordinates", "NodeCoordinate", "distance"]

#: Dimensions of ``Coordinate.vector``; Serf's default, which Consul never changes.
DIMENSIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A place in the network. ``height`` and ``adjustment`` are seconds, ``error`` has no unit."""

    vector: tuple[float, ...] = (0.0,) * DIMENSIONS
    error: float = 1.5
    adjustment: float = 0.0
    height: float = 1e-5

    @property
    def valid(self) -> bool:
        """Of the right size, every number finite."""
        numbers = (*self.vector, self.error, self.adjustment, self.height)
        return len(self.vector) == DIMENSIONS and all(map(math.isfinite, numbers))


@dataclass(frozen=True, slots=True)
class NodeCoordinate:
    """The coordinate of ``node`` in a network segment (empty: the only one of the open-source Consul)."""

    node: str
    segment: str = ""
    coord: Coordinate = field(default_factory=Coordinate)


def distance(one: Coordinate, other: Coordinate) -> float:
    """Estimated round trip in seconds."""
    raw = math.dist(one.vector, other.vector) + one.height + other.height
    adjusted = raw + one.adjustment + other.adjustment
    return adjusted if adjusted > 0 else raw


class Coordinates:
    """The table. ``index`` is the last index at which it changed, 0 when it never did."""

    def __init__(self) -> None:
        self.index = 0
        self._rows: dict[str, dict[str, NodeCoordinate]] = {}

    def put(self, row: NodeCoordinate) -> None:
        """Insert or replace; names are compared without regard to case."""
        self._rows.setdefault(row.node.lower(), {})[row.segment.lower()] = row

    def drop(self, node: str) -> bool:
        """Forget a node; false when nothing was known of it."""
        return self._rows.pop(node.lower(), None) is not None

    def of_node(self, node: str) -> list[NodeCoordinate]:
        """The coordinates of one node, by segment."""
        return [row for _, row in sorted(self._rows.get(node.lower(), {}).items())]

    def __iter__(self) -> Iterator[NodeCoordinate]:
        for _, segments in sorted(self._rows.items()):
            for _, row in sorted(segments.items()):
                yield row
