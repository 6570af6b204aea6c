"""``/v1/coordinate``: where nodes are in the network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from meshnode.base.json_fields import json_type
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.discovery import named
from meshnode.http.effects import ReadServer, Steps, ask
from meshnode.http.message import Request, Response
from meshnode.http.router import Answer, Outcome
from meshnode.http.state import flag, read, write

__all__ = ["datacenters", "node", "nodes", "update"]


def datacenters(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/coordinate/datacenters: the servers of each datacenter."""
    found = yield from ask(ReadServer("Coordinate.ListDatacenters", {}, token=request.token))
    return context.json(request, found)


def nodes(context: Context, request: Request) -> Outcome:
    """GET /v1/coordinate/nodes, those in ``?segment=`` if it is given."""
    return read(context, request, "Coordinate.ListNodes", {}, lambda reply: _in_segment(request, reply))


def node(context: Context, request: Request) -> Outcome:
    """GET /v1/coordinate/node/:node; 404 when none is known."""
    body = {"Node": named(request, "node name")}
    return read(
        context, request, "Coordinate.Node", body, lambda reply: _in_segment(request, reply) or Response(404)
    )


def update(context: Context, request: Request) -> Outcome:
    """PUT /v1/coordinate/update: ``{"Node", "Segment", "Coord": {"Vec", "Error", "Adjustment", "Height"}}``."""
    fields = Fields(decode_object(request.body))
    coord = fields.object("Coord")
    if coord is None:
        fields.refuse("Coord", "is missing")
    body: dict[str, Any] = {
        "Datacenter": fields.text("Datacenter"),
        "Node": fields.text("Node"),
        "Segment": fields.text("Segment"),
        "Coord": {
            "Vec": _vector(coord),
            **{name: _number(coord, name, coord.value(name)) for name in ("Error", "Adjustment", "Height")},
        },
    }
    return write(context, request, "Coordinate.Update", body)


def _in_segment(request: Request, reply: Mapping[str, Any]) -> list[Any]:
    rows: list[Any] = reply["Coordinates"]
    if not flag(request, "segment"):
        return rows
    segment = request.query.get("segment")
    return [row for row in rows if row["Segment"] == segment]


def _vector(fields: Fields) -> list[float]:
    vector = fields.value("Vec")
    if not isinstance(vector, list):
        fields.refuse("Vec", f"expected list, got {json_type(vector)}")
    return [_number(fields, f"Vec[{position}]", value) for position, value in enumerate(vector)]


def _number(fields: Fields, name: str, value: object) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        fields.refuse(name, f"expected number, got {json_type(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        fields.refuse(name, "is too large a number")
    return number
