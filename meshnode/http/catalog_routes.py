"""``/v1/catalog``: nodes and the services on them, as registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshnode.catalog.wire import registration_fields
from meshnode.catalog.wire_parse import parse_registration
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.discovery import named, nodes_query, read_rows, service_query
from meshnode.http.effects import CallServer, ReadServer, Steps, ask
from meshnode.http.filter.fields import (
    CATALOG_NODE_SERVICES,
    CATALOG_NODES,
    CATALOG_SERVICE,
    GATEWAY_SERVICES,
)
from meshnode.http.filtering import filtered
from meshnode.http.message import Request
from meshnode.http.router import Answer, Outcome
from meshnode.http.state import read

__all__ = [
    "connect",
    "datacenters",
    "deregister",
    "gateway_services",
    "node",
    "node_services",
    "nodes",
    "register",
    "service",
    "services",
]


def register(context: Context, request: Request) -> Outcome:
    """PUT /v1/catalog/register; the datacenter is the one in the body."""
    body = registration_fields(parse_registration(_fields(request)))
    return _write(context, request, "Catalog.Register", body)


def deregister(context: Context, request: Request) -> Outcome:
    """PUT /v1/catalog/deregister: a service, else a check, else the node."""
    fields = _fields(request)
    body = {name: fields.text(name) for name in ("Datacenter", "Node", "ServiceID", "CheckID")}
    return _write(context, request, "Catalog.Deregister", body)


def nodes(context: Context, request: Request) -> Outcome:
    """GET /v1/catalog/nodes."""
    body = nodes_query(context, request)
    return read_rows(context, request, "Catalog.ListNodes", body, "Nodes", CATALOG_NODES)


def services(context: Context, request: Request) -> Outcome:
    """GET /v1/catalog/services: names and tags."""
    body = nodes_query(context, request)
    return read(
        context, request, "Catalog.ListServices", body, lambda reply: reply["Services"], discovery=True
    )


def service(context: Context, request: Request) -> Outcome:
    """GET /v1/catalog/service/:service."""
    body = service_query(context, request, connect=False)
    return read_rows(context, request, "Catalog.ServiceNodes", body, "ServiceNodes", CATALOG_SERVICE)


def connect(context: Context, request: Request) -> Outcome:
    """GET /v1/catalog/connect/:service: its proxies and its native instances."""
    body = service_query(context, request, connect=True)
    return read_rows(context, request, "Catalog.ServiceNodes", body, "ServiceNodes", CATALOG_SERVICE)


def gateway_services(context: Context, request: Request) -> Outcome:
    """GET /v1/catalog/gateway-services/:gateway, from Consul 1.8: the services behind an ingress or terminating one."""
    body = {"ServiceName": named(request, "gateway name")}
    return read_rows(context, request, "Catalog.GatewayServices", body, "Services", GATEWAY_SERVICES)


def node(context: Context, request: Request) -> Outcome:
    """GET /v1/catalog/node/:node; null when there is none."""
    keep = filtered(request, CATALOG_NODE_SERVICES)

    def shown(reply: Mapping[str, Any]) -> Any:
        found = reply["NodeServices"]
        if found is None:
            return None
        return {"Node": found["Node"], "Services": {row["ID"]: row for row in keep(_rows(found))}}

    return _one_node(context, request, shown)


def node_services(context: Context, request: Request) -> Outcome:
    """GET /v1/catalog/node-services/:node, from Consul 1.10: the services as a list."""
    keep = filtered(request, CATALOG_NODE_SERVICES)

    def shown(reply: Mapping[str, Any]) -> Any:
        found = reply["NodeServices"]
        if found is None:
            return {"Node": None, "Services": []}
        return {"Node": found["Node"], "Services": keep(_rows(found))}

    return _one_node(context, request, shown)


def _one_node(context: Context, request: Request, shown: Any) -> Outcome:
    body = {"Node": named(request, "node name")}
    return read(context, request, "Catalog.NodeServices", body, shown, discovery=True)


def _rows(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(found["Services"].values())


def _fields(request: Request) -> Fields:
    return Fields(decode_object(request.body))


def _write(context: Context, request: Request, method: str, body: dict[str, Any]) -> Steps[Answer]:
    wanted = body["Datacenter"]
    body["Datacenter"] = wanted or context.view.datacenter
    yield from ask(CallServer(method, body, wanted, request.token))
    return context.json(request, value=True)


def datacenters(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/catalog/datacenters: their names, nearest first."""
    found = yield from ask(ReadServer("Catalog.ListDatacenters", {}, token=request.token))
    return context.json(request, found)
