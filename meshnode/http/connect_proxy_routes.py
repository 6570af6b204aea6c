"""``/v1/agent/connect``: what a proxy is told, what it reports, and the live connections of this node.

Source of the first: Consul 1.2.3, documentation of its API. The other two are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.http.authorize import authorizer_of, is_proxy_of
from meshnode.http.body import Fields, decode_object
from meshnode.http.connect_effects import GetEnvoys, GetReports, ReportProxy
from meshnode.http.content_hash import answer_by_hash
from meshnode.http.context import Context
from meshnode.http.effects import Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.local_view import LocalView, local_of
from meshnode.http.message import Request, Response
from meshnode.http.proxy_report import ProxyReport, Row, aged, parse_report
from meshnode.http.router import Answer

__all__ = ["config", "connections", "envoys", "report"]

#: An id in a path; longer ones are nobody's.
MAX_ID_CHARS: Final = 1024


def config(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/agent/connect/proxy/:id; with ``?hash=`` it waits until the configuration is another one."""
    proxy_id = request.param
    if not proxy_id:
        raise HttpError(400, "Missing proxy service ID: GET /v1/agent/connect/proxy/<id>")

    def look(local: LocalView, rights: Authorizer) -> tuple[str, Mapping[str, Any]]:
        found = local.proxy(proxy_id)
        if found is None:
            raise HttpError(404, f"unknown proxy service ID: {proxy_id}")
        if bool(request.proxy_id) and request.proxy_id.lower() == proxy_id.lower():
            return found["ContentHash"], _with_telemetry(found)
        require(rights, Resource.SERVICE, found["TargetServiceName"], Access.WRITE)
        return found["ContentHash"], found

    return (yield from answer_by_hash(context, request, look))


def _with_telemetry(found: Mapping[str, Any]) -> dict[str, Any]:
    """Where the proxy shall report to is for its own eyes; what the service says itself counts."""
    own = found["Config"].get("telemetry")
    prefix = {"metrics_prefix": f"consul.proxy.{found['TargetServiceID']}"}
    telemetry = {**prefix, **own} if isinstance(own, Mapping) else prefix
    return {**found, "Config": {**found["Config"], "telemetry": telemetry}}


def report(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/connect/report/:proxy_id: a proxy of a service tells what it does."""
    proxy_id = request.param
    if not 0 < len(proxy_id) <= MAX_ID_CHARS:
        raise HttpError(400, "Missing proxy ID: PUT /v1/agent/connect/report/<id>")
    found = parse_report(proxy_id, Fields(decode_object(request.body)))
    rights = yield from authorizer_of(context, request)
    if not is_proxy_of(context, request, found.service):
        require(rights, Resource.SERVICE, found.service, Access.WRITE)
    registered = local_of(context).proxy(proxy_id)
    if registered is not None and registered["TargetServiceName"] != found.service:
        raise HttpError(
            400,
            f'Service: {proxy_id} is a proxy of "{registered["TargetServiceName"]}", not of "{found.service}"',
        )
    yield from ask(ReportProxy(found))
    return Response()


def connections(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/agent/connect/connections, of services that the token may read; ``?proxy=``, ``?service=``, ``?id=``.

    What was refused of a connection's requests has an id of its own, and is among what the connection's id finds.
    """
    wanted = _wanted(request)
    rights = yield from authorizer_of(context, request)
    reports = yield from ask(GetReports())
    visible = [
        (one, age)
        for one, age in reports
        if request.query.get("proxy") in ("", one.proxy_id)
        and request.query.get("service") in ("", one.service)
        and rights.decide(Resource.SERVICE, one.service, Access.READ).allowed
    ]
    body = {
        "Proxies": [_proxy(one, age) for one, age in visible],
        "Connections": [row for one, age in visible for row in _rows(one, one.connections, age, wanted)],
        "Closed": [row for one, age in visible for row in _rows(one, one.closed, age, wanted)],
        "Refused": [row for one, age in visible for row in _rows(one, one.refused, age, wanted)],
        "Decisions": [row for one, age in visible for row in _rows(one, one.decisions, age, wanted)],
    }
    return context.json(request, body)


def envoys(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/agent/connect/envoys: those on the xDS port, of services that the token may read; ours."""
    rights = yield from authorizer_of(context, request)
    found = yield from ask(GetEnvoys())
    visible = [
        dict(row)
        for row in found
        if row["Service"] and rights.decide(Resource.SERVICE, row["Service"], Access.READ).allowed
    ]
    return context.json(request, visible)


def _wanted(request: Request) -> int | None:
    text = request.query.get("id")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise HttpError(400, f'Invalid value for ?id: "{text[:40]}": write the number of a connection')
    return int(text)


def _proxy(found: ProxyReport, age: float) -> dict[str, Any]:
    return {
        "ProxyID": found.proxy_id,
        "Service": found.service,
        "Identity": found.identity,
        "Serial": found.serial,
        "Roots": list(found.roots),
        "Listeners": [dict(row) for row in found.listeners],
        "Pid": found.pid,
        "Age": round(age, 3),
        "Counters": dict(found.counters),
        "Omitted": found.omitted,
    }


def _rows(
    found: ProxyReport, rows: Iterable[Row], age: float, wanted: int | None
) -> Iterable[dict[str, Any]]:
    for row in rows:
        if wanted is None or wanted in (row.get("ID"), row.get("Connection")):
            yield {**aged(row, age), "ProxyID": found.proxy_id, "Service": found.service}
