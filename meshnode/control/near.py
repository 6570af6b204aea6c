"""``?near=``: rows sorted by the estimated round trip from a node, for the catalog, health and coordinate reads.

A read carries whom it is asked for in ``Source`` (structs.QuerySource: ``Datacenter``, ``Segment``, ``Node``, ``Ip``).
The API writes the agent's node there for ``_agent``. ``_ip`` is resolved here: the node whose address the caller has.
Source: Consul 1.2.3, documentation of ``near`` in its API; agent/consul/rtt.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from meshnode.catalog.coordinates import Coordinates, distance
from meshnode.catalog.model import Check, Instance, Node
from meshnode.control.body import Body, mapping, text

if TYPE_CHECKING:
    from meshnode.catalog.store import Catalog

__all__ = [
    "CALLER",
    "OWN_AGENT",
    "apart",
    "check_node",
    "instance_node",
    "nearest_first",
    "node_name",
    "node_with_address",
    "sorted_near",
]

#: ``?near=``: the node of the agent that was asked; the API puts its name in its place.
OWN_AGENT: Final = "_agent"
#: ``?near=``: the node with the address in ``Source.Ip``.
CALLER: Final = "_ip"

R = TypeVar("R")


def nearest_first(
    coordinates: Coordinates, source: str, rows: Iterable[R], node_of: Callable[[R], str]
) -> list[R]:
    """``rows`` by distance of their node from the node ``source``, equal ones in their order, unknown ones last.

    With ``source`` empty, or a node without coordinates, the order stays.
    """
    listed = list(rows)
    if not source or not coordinates.of_node(source):
        return listed
    known: dict[str, float] = {}
    for row in listed:
        name = node_of(row)
        if name not in known:
            known[name] = apart(coordinates, source, name)
    return sorted(listed, key=lambda row: known[node_of(row)])


def apart(coordinates: Coordinates, one: str, other: str) -> float:
    """Seconds between two nodes, in the network segment in which they are nearest; infinite when it isn't known."""
    theirs = {row.segment: row.coord for row in coordinates.of_node(other)}
    return min(
        (
            distance(row.coord, theirs[row.segment])
            for row in coordinates.of_node(one)
            if row.segment in theirs
        ),
        default=math.inf,
    )


def sorted_near(catalog: Catalog, body: Body, rows: Iterable[R], node_of: Callable[[R], str]) -> list[R]:
    """``rows`` as the ``Source`` of a read wants them; in their order when it says nothing.

    A source in another datacenter than the ``Datacenter`` that is read changes nothing: distances are known inside one.
    """
    source = mapping(body, "Source")
    name, asked = text(source, "Node"), text(body, "Datacenter")
    if not name or (asked and text(source, "Datacenter") not in {"", asked}):
        return list(rows)
    if name == CALLER:
        name = node_with_address(catalog, text(source, "Ip"))
    return nearest_first(catalog.tables.coordinates, name, rows, node_of)


def node_with_address(catalog: Catalog, address: str) -> str:
    """The name of the first node, by name, with this address; empty when there is none."""
    rows = catalog.tables.rows() if address else ()
    return next((row.node.name for row in rows if row.node.address == address), "")


def node_name(node: Node) -> str:
    """For lists of nodes."""
    return node.name


def instance_node(instance: Instance) -> str:
    """For lists of instances."""
    return instance.node.name


def check_node(check: Check) -> str:
    """For lists of checks, and of whatever else has a ``node``."""
    return check.node
