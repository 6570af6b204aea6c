"""``/v1/query``: prepared queries. Source: Consul 1.2.3, documentation of its API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import parse_boolean
from meshnode.control.endpoints.prepared_query import NOT_FOUND
from meshnode.control.near import OWN_AGENT
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.discovery import caller_address
from meshnode.http.errors import HttpError
from meshnode.http.message import Request
from meshnode.http.router import Outcome
from meshnode.http.state import or_404, read, write

__all__ = ["create", "delete", "execute", "explain", "get", "list_all", "update"]

_MAX_LIMIT: Final = 2**31 - 1


def create(context: Context, request: Request) -> Outcome:
    """POST /v1/query."""
    body = {"Op": "create", "Query": _query(request)}
    return write(context, request, "PreparedQuery.Apply", body, lambda reply: {"ID": reply})


def list_all(context: Context, request: Request) -> Outcome:
    """GET /v1/query."""
    return read(context, request, "PreparedQuery.List", {}, lambda reply: reply["Queries"])


def get(context: Context, request: Request) -> Outcome:
    """GET /v1/query/:uuid: a list of one, or 404."""
    body = {"QueryID": _named(request)}
    return or_404(
        lambda: read(context, request, "PreparedQuery.Get", body, lambda reply: reply["Queries"]), NOT_FOUND
    )


def update(context: Context, request: Request) -> Outcome:
    """PUT /v1/query/:uuid: the id of the path counts, not one in the body."""
    body = {"Op": "update", "Query": {**_query(request), "ID": _named(request)}}
    return write(context, request, "PreparedQuery.Apply", body)


def delete(context: Context, request: Request) -> Outcome:
    """DELETE /v1/query/:uuid."""
    body = {"Op": "delete", "Query": {"ID": _named(request)}}
    return write(context, request, "PreparedQuery.Apply", body)


def execute(context: Context, request: Request) -> Outcome:
    """GET /v1/query/:uuid/execute with ``near``, ``limit`` and ``connect``; by id or name, 404 when there is none."""
    body = _asked(context, request)
    connect = request.query.get("connect")
    if connect:
        try:
            body["Connect"] = parse_boolean(connect)
        except ConfigError:
            raise HttpError(
                400, f"Error parsing 'connect' value {connect!r}: must be true or false"
            ) from None
    return or_404(lambda: read(context, request, "PreparedQuery.Execute", body, _execution), NOT_FOUND)


def explain(context: Context, request: Request) -> Outcome:
    """GET /v1/query/:uuid/explain: the query that would be executed, 404 when there is none."""
    body = _asked(context, request)
    return or_404(lambda: read(context, request, "PreparedQuery.Explain", body, _explanation), NOT_FOUND)


def _asked(context: Context, request: Request) -> dict[str, Any]:
    """A ``PreparedQueryExecuteRequest``."""
    view, near = context.view, request.query.get("near")
    source = {"Datacenter": view.datacenter, "Node": view.node_name if near == OWN_AGENT else near}
    return {
        "QueryIDOrName": _named(request),
        "Limit": _limit(request.query.get("limit")),
        "Source": {**source, "Ip": caller_address(request)},
        "Agent": {"Datacenter": view.datacenter, "Node": view.node_name},
    }


def _limit(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_LIMIT):
        raise HttpError(400, f"Bad limit: {text[:40]!r} must be a whole number, 0 for all nodes")
    return int(text)


def _query(request: Request) -> dict[str, Any]:
    """The definition in the body, with Consul's names and the right types."""
    fields = Fields(decode_object(request.body))
    template = fields.object("Template") or Fields({}, "Template")
    service = fields.object("Service") or Fields({}, "Service")
    failover = service.object("Failover") or Fields({}, "Service.Failover")
    dns = fields.object("DNS") or Fields({}, "DNS")
    return {
        **{name: fields.text(name) for name in ("ID", "Name", "Session", "Token")},
        "Template": {
            "Type": template.text("Type"),
            "Regexp": template.text("Regexp"),
            "RemoveEmptyTags": template.boolean("RemoveEmptyTags"),
        },
        "Service": {
            "Service": service.text("Service"),
            "Failover": {
                "NearestN": failover.integer("NearestN"),
                "Datacenters": failover.strings("Datacenters"),
            },
            "OnlyPassing": service.boolean("OnlyPassing"),
            "IgnoreCheckIDs": service.strings("IgnoreCheckIDs"),
            "Near": service.text("Near"),
            "Tags": service.strings("Tags"),
            "NodeMeta": service.text_map("NodeMeta"),
            "ServiceMeta": service.text_map("ServiceMeta"),
            "Connect": service.boolean("Connect"),
        },
        "DNS": {"TTL": dns.text("TTL")},
    }


def _execution(reply: Mapping[str, Any]) -> dict[str, Any]:
    names = ("Service", "Nodes", "DNS", "Datacenter", "Failovers")
    return {**{name: reply[name] for name in names}, **_meta(reply)}


def _explanation(reply: Mapping[str, Any]) -> dict[str, Any]:
    return {"Query": reply["Query"], **_meta(reply)}


def _meta(reply: Mapping[str, Any]) -> dict[str, Any]:
    """``QueryMeta``, which Consul embeds in these two answers; they don't block, so there is no index."""
    return {
        "Index": 0,
        "LastContact": reply.get("LastContact", 0),
        "KnownLeader": bool(reply.get("KnownLeader", False)),
        "ConsistencyLevel": "",
    }


def _named(request: Request) -> str:
    if not request.param:
        raise HttpError(400, "Missing query ID: write /v1/query/<id>")
    try:
        request.param.encode()
    except UnicodeEncodeError:
        raise HttpError(400, "The query in the path is not UTF-8") from None
    return request.param
