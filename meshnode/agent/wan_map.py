"""Datacenters as the WAN pool knows them, nearest first. Source: Consul 1.2.3, agent/router."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from meshnode.agent.pool import Pool
from meshnode.gossip.serf.coordinate import Coordinate

__all__ = ["coordinate_fields", "datacenter_coordinates", "datacenters"]


def datacenters(wan: Pool | None, own: str) -> list[str]:
    """Every datacenter with a server that hasn't left, by the median round trip to its servers, then by name."""
    if wan is None:
        return [own]
    serf = wan.shell.serf
    here = serf.coordinate()
    times: dict[str, list[float]] = {own: [0.0]}
    for server in wan.servers:
        there = serf.coordinate_of(server.name)
        rtt = here.distance_to(there) if here is not None and there is not None else math.inf
        times.setdefault(server.datacenter, []).append(rtt)
    return sorted(times, key=lambda name: (0.0 if name == own else _median(times[name]), name))


def _median(times: Sequence[float]) -> float:
    # The module statistics would load decimals and fractions for it.
    ordered, middle = sorted(times), len(times) // 2
    return ordered[middle] if len(times) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def datacenter_coordinates(wan: Pool | None, own: str) -> list[dict[str, Any]]:
    """``Coordinate.ListDatacenters``: the servers of each datacenter, where they are."""
    found: dict[str, list[dict[str, Any]]] = {}
    if wan is not None:
        for server in wan.servers:
            coordinate = wan.shell.serf.coordinate_of(server.name)
            if coordinate is not None:
                row = {"Node": server.name, "Segment": "", "Coord": coordinate_fields(coordinate)}
                found.setdefault(server.datacenter, []).append(row)
    return [
        {"Datacenter": name, "AreaID": "wan", "Coordinates": found.get(name, [])}
        for name in datacenters(wan, own)
    ]


def coordinate_fields(coordinate: Coordinate) -> dict[str, Any]:
    """A coordinate in the shape of the API."""
    return {
        "Vec": list(coordinate.vec),
        "Error": coordinate.error,
        "Adjustment": coordinate.adjustment,
        "Height": coordinate.height,
    }
