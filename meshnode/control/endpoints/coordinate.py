"""``Coordinate.*``: where nodes are in the network. Source: Consul 1.2.3, agent/consul/coordinate_endpoint.go.

``Coordinate.ListDatacenters`` is answered by who knows the WAN pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource
from meshnode.catalog import queries
from meshnode.catalog.coordinates import DIMENSIONS, Coordinate, NodeCoordinate
from meshnode.catalog.wire import coordinate_fields
from meshnode.control import watch
from meshnode.control.body import Body, mapping, text
from meshnode.control.command import Command, UpdateCoordinates
from meshnode.control.endpoints.registration import require_node
from meshnode.control.endpoints.sight import Sight
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.watch import WatchKey
from meshnode.rpc.method import RpcError

__all__ = ["METHODS", "parse_coordinate"]


def parse_coordinate(body: Body) -> Coordinate:
    """``Coord``: ``Vec``, ``Error``, ``Adjustment``, ``Height``. Raises :class:`RpcError` if it isn't valid."""
    vector = body.get("Vec")
    if not isinstance(vector, list | tuple) or len(vector) != DIMENSIONS:
        raise RpcError(f"incompatible coordinate: Coord.Vec must be a list of {DIMENSIONS} numbers")
    coordinate = Coordinate(
        vector=tuple(_number(f"Vec[{i}]", value) for i, value in enumerate(vector)),
        error=_number("Error", body.get("Error")),
        adjustment=_number("Adjustment", body.get("Adjustment")),
        height=_number("Height", body.get("Height")),
    )
    if not coordinate.valid:
        raise RpcError("invalid coordinate: every number of Coord must be finite")
    return coordinate


def _number(name: str, value: object) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RpcError(f"Coord.{name} must be a number, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        raise RpcError(f"Coord.{name} is too large a number") from None


def _update(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    del moment
    node = text(body, "Node")
    if not node:
        raise RpcError("Must provide Node")
    require_node(state.catalog.tables, authorizer, Resource.NODE, node, Access.WRITE)
    coordinate = parse_coordinate(mapping(body, "Coord"))
    return UpdateCoordinates((NodeCoordinate(node, text(body, "Segment"), coordinate),))


def _updated(state: StateMachine, result: Result) -> dict[str, Any]:
    del state
    accepted(result)
    return {}


def _list_nodes(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    del body
    index, found = queries.all_coordinates(state.catalog)
    return index, {"Coordinates": [coordinate_fields(row) for row in Sight(authorizer).coordinates(found)]}


def _node(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    name = text(body, "Node")
    require_node(state.catalog.tables, authorizer, Resource.NODE, name, Access.READ)
    index, found = queries.node_coordinates(state.catalog, name)
    return index, {"Coordinates": [coordinate_fields(row) for row in found]}


def _all_watch(body: Body) -> tuple[WatchKey, ...]:
    del body
    return (watch.COORDINATES,)


def _node_watch(body: Body) -> tuple[WatchKey, ...]:
    return (watch.coordinate(text(body, "Node")),)


METHODS: Final[Mapping[str, Method]] = {
    "Coordinate.Update": WriteMethod(_update, _updated),
    "Coordinate.ListNodes": ReadMethod(_all_watch, _list_nodes),
    "Coordinate.Node": ReadMethod(_node_watch, _node),
}
