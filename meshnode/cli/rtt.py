"""``rtt``: the round trip between two nodes, estimated from their network coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]

Coordinate: TypeAlias = dict[str, Any]


def run(args: list[str]) -> int:
    """Print the estimate; fails when a node has no coordinate that can be compared."""
    flags = FlagSet(
        "rtt",
        "Usage: consul rtt [options] NODE1 [NODE2]",
        "Estimates the round trip between two nodes; the second one is the agent's own when left out. Names are as "
        "in consul members. With -wan, both are servers, written name.datacenter.",
    )
    wan = flags.boolean("wan", "Compare servers across datacenters.")
    client_flags = ClientFlags(flags)
    parsed = flags.parse(args)
    nodes = list(parsed.positionals)
    if not 1 <= len(nodes) <= 2:
        hint = f": {parsed.misplaced()[0]} must come before NODE1" if parsed.misplaced() else ""
        raise FlagError(f"One or two node names must be specified{hint}")
    if len(nodes) == 1:
        me = client_flags.client(parsed, "Unable to look up agent info").get_json("/v1/agent/self")["Config"]
        nodes.append(f"{me['NodeName']}.{me['Datacenter']}" if parsed[wan] else me["NodeName"])
    client = client_flags.client(parsed, "Error getting coordinates")
    if parsed[wan]:
        if any(node.count(".") != 1 for node in nodes):
            raise FlagError("Node names must be specified as <node name>.<datacenter> with -wan")
        tables = [_wan_table(client.get_json("/v1/coordinate/datacenters") or (), node) for node in nodes]
    else:
        rows = client.get_json("/v1/coordinate/nodes") or ()
        tables = [
            {row.get("Segment", ""): row["Coord"] for row in rows if row["Node"].lower() == node.lower()}
            for node in nodes
        ]
    # Coordinates can be compared within one segment or area only.
    shared = [area for area in tables[0] if area in tables[1]]
    if not shared:
        missing = nodes[1] if tables[0] and not tables[1] else nodes[0]
        raise MeshError(f'Could not find a coordinate for node "{missing}"')
    seconds = _distance(tables[0][shared[0]], tables[1][shared[0]])
    source = "WAN" if parsed[wan] else "LAN"
    print(f"Estimated {nodes[0]} <-> {nodes[1]} rtt: {seconds * 1000:.3f} ms (using {source} coordinates)")
    return 0


def _wan_table(datacenters: Iterable[dict[str, Any]], node: str) -> dict[str, Coordinate]:
    name, _, datacenter = node.partition(".")
    return {
        row.get("AreaID", ""): entry["Coord"]
        for row in datacenters
        if row["Datacenter"] == datacenter
        for entry in row.get("Coordinates") or ()
        if entry["Node"].lower() == name.lower()
    }


def _distance(one: Coordinate, other: Coordinate) -> float:
    """Seconds, as Serf computes them: the adjustments count unless they make it negative."""
    if len(one["Vec"]) != len(other["Vec"]):
        raise MeshError("the coordinates of the two nodes have different dimensions: can't compare them")
    raw = math.dist(one["Vec"], other["Vec"]) + float(one["Height"]) + float(other["Height"])
    adjusted = raw + float(one["Adjustment"]) + float(other["Adjustment"])
    return adjusted if adjusted > 0 else raw
