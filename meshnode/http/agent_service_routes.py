"""``/v1/agent/service``: the services of this agent, their registration, maintenance and health."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.catalog.health import aggregate
from meshnode.catalog.model import CRITICAL, MAINTENANCE, PASSING, SIDECAR_SUFFIX, WARNING, Check, Service
from meshnode.catalog.wire import check_fields, place_fields
from meshnode.http.agent_check_routes import wanted_maintenance
from meshnode.http.authorize import authorizer_of, may_see_service, require_known_check_write
from meshnode.http.body import Fields, decode_object
from meshnode.http.content_hash import answer_by_hash
from meshnode.http.context import Context
from meshnode.http.effects import Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.filter.fields import AGENT_SERVICES
from meshnode.http.filtering import Rows, filtered
from meshnode.http.local_view import (
    DeregisterService,
    LocalView,
    RegisterService,
    SetMaintenance,
    local_of,
    view_of,
)
from meshnode.http.message import JSON, Request, Response
from meshnode.http.render import to_json
from meshnode.http.router import Answer, Outcome

__all__ = [
    "deregister",
    "health_by_id",
    "health_by_name",
    "maintenance",
    "register",
    "service",
    "service_as_json",
    "services",
]

_STATUS_CODES: Final = {PASSING: 200, WARNING: 429, CRITICAL: 503, MAINTENANCE: 503}
#: Worse statuses later; maintenance is chosen, so anything that happened by itself is worse.
_WORSE: Final = (PASSING, MAINTENANCE, WARNING, CRITICAL)


def service_as_json(service: Service) -> dict[str, Any]:
    """``api.AgentService`` of Consul 1.2.3, with ``Proxy`` of 1.3 where there is one."""
    body: dict[str, Any] = {"Kind": service.kind} if service.kind else {}
    body |= {
        "ID": service.id,
        "Service": service.name,
        "Tags": list(service.tags),
        "Meta": dict(service.meta),
        "Port": service.port,
        "Address": service.address,
        "Weights": {"Passing": service.weights.passing, "Warning": service.weights.warning},
        "EnableTagOverride": service.enable_tag_override,
        **place_fields(service),
        "CreateIndex": service.create_index,
        "ModifyIndex": service.modify_index,
    }
    if service.proxy_destination:
        body["ProxyDestination"] = service.proxy_destination
    if service.proxy is not None:
        body["Proxy"] = dict(service.proxy)
    if service.native or service.managed_proxy is not None:
        body["Connect"] = {"Native": service.native}
        if service.managed_proxy is not None:
            body["Connect"]["Proxy"] = dict(service.managed_proxy)
    return body


def services(context: Context, request: Request) -> Outcome:
    """GET /v1/agent/services: by id, those that the token may read; ``?filter=`` of Consul 1.5."""
    keep = filtered(request, AGENT_SERVICES)
    found = local_of(context).services()
    if view_of(context).acl_enabled:
        return _permitted(context, request, keep)
    if request.raw_query and request.query.get("filter"):
        return context.json(request, _by_id(found, keep))
    return context.json_of(request, "local.services", found, lambda: _by_id(found, keep))


def _permitted(context: Context, request: Request, keep: Callable[[Rows], Rows]) -> Steps[Answer]:
    authorizer = yield from authorizer_of(context, request)
    found = local_of(context).services()
    return context.json(request, _by_id((one for one in found if may_see_service(authorizer, one)), keep))


def _by_id(found: Iterable[Service], keep: Callable[[Rows], Rows]) -> dict[str, Any]:
    return {row["ID"]: row for row in keep([service_as_json(one) for one in found])}


def service(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/agent/service/:id; with ``?hash=`` it waits until the service is another one (Consul 1.3)."""
    service_id = request.param
    if not service_id:
        raise HttpError(400, "Missing service ID: GET /v1/agent/service/<id>")

    def look(local: LocalView, rights: Authorizer) -> tuple[str, Mapping[str, Any]]:
        found = local.service(service_id)
        if found is None:
            raise HttpError(404, f"unknown service ID: {service_id}")
        require(rights, Resource.SERVICE, found.name, Access.READ)
        content_hash = local.service_hash(service_id)
        return content_hash, service_as_json(found) | {"ContentHash": content_hash}

    return (yield from answer_by_hash(context, request, look))


def register(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/service/register, with ``?replace-existing-checks`` of Consul 1.8."""
    body = decode_object(request.body)
    fields = Fields(body)
    name = fields.text("Name")
    if not name.strip():
        raise HttpError(400, "Missing service name")
    authorizer = yield from authorizer_of(context, request)
    require(authorizer, Resource.SERVICE, name, Access.WRITE)
    _require_write(context, authorizer, fields.text("ID") or name)
    for check_id in _check_ids(fields, fields.text("ID") or name):
        require_known_check_write(context, authorizer, check_id)
    connect = fields.object("Connect")
    sidecar = connect.object("SidecarService") if connect is not None else None
    if sidecar is not None:
        # It is a service of its own, under a name of its own.
        require(authorizer, Resource.SERVICE, sidecar.text("Name") or name + SIDECAR_SUFFIX, Access.WRITE)
        sidecar_id = (fields.text("ID") or name) + SIDECAR_SUFFIX
        _require_write(context, authorizer, sidecar_id)
        for check_id in _check_ids(sidecar, sidecar_id):
            require_known_check_write(context, authorizer, check_id)
    replaces = _flag(request, "replace-existing-checks")
    yield from ask(RegisterService(body, request.token, replaces))
    return Response()


def _check_ids(fields: Fields, service_id: str) -> Iterable[str]:
    """The ids that the checks in a registration may get: none of them may be taken from another service."""
    single = fields.object("Check")
    parts = [*([single] if single is not None else []), *fields.objects("Checks")]
    for number, part in enumerate(parts, 1):
        own = part.text("ID") or part.text("CheckID")
        yield from [own] if own else [f"service:{service_id}", f"service:{service_id}:{number}"]


def deregister(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/service/deregister/:id; a service that isn't there is gone already."""
    if not request.param:
        raise HttpError(400, "Missing service ID: PUT /v1/agent/service/deregister/<id>")
    authorizer = yield from authorizer_of(context, request)
    if not _require_write(context, authorizer, request.param) and not authorizer.unrestricted:
        raise HttpError(500, f'Unknown service "{request.param}"')
    yield from ask(DeregisterService(request.param))
    return Response()


def maintenance(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/service/maintenance/:id?enable=true|false&reason=..."""
    if not request.param:
        raise HttpError(400, "Missing service ID")
    enable = wanted_maintenance(request)
    authorizer = yield from authorizer_of(context, request)
    if not _require_write(context, authorizer, request.param):
        raise HttpError(404, f'No service registered with ID "{request.param}"')
    reason = request.query.get("reason")
    yield from ask(SetMaintenance(enable, reason, request.token, request.param))
    return Response()


def _require_write(context: Context, authorizer: Authorizer, service_id: str) -> bool:
    """Raise unless the service of this id may be changed; whether there is one."""
    found = local_of(context).service(service_id)
    if found is not None:
        require(authorizer, Resource.SERVICE, found.name, Access.WRITE)
    return found is not None


def _flag(request: Request, name: str) -> bool:
    """``?name``, ``?name=true`` and ``?name=1`` are yes."""
    if not request.raw_query or name not in request.query:
        return False
    value = request.query.get(name).lower()
    if value not in ("", "true", "t", "1", "false", "f", "0"):
        raise HttpError(400, f'Invalid value for ?{name}: "{value[:40]}": write true or false')
    return value in ("", "true", "t", "1")


def health_by_id(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/agent/health/service/id/:id, with ``?format=text`` (Consul 1.5): the status is in the code too."""
    service_id = request.param
    if not service_id:
        raise HttpError(400, "Missing serviceID")
    authorizer = yield from authorizer_of(context, request)
    found = local_of(context).service(service_id)
    if found is None:
        missing = {"AggregatedStatus": CRITICAL, "Service": None, "Checks": None}
        return _health(context, request, 404, f"ServiceId {service_id} not found", missing)
    require(authorizer, Resource.SERVICE, found.name, Access.READ)
    status, body = _health_of(found, local_of(context).checks())
    return _health(context, request, _STATUS_CODES[status], status, body)


def health_by_name(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/agent/health/service/name/:name: all instances here; the code is that of the worst."""
    name = request.param
    if not name:
        raise HttpError(400, "Missing service Name")
    authorizer = yield from authorizer_of(context, request)
    require(authorizer, Resource.SERVICE, name, Access.READ)
    local = local_of(context)
    results = [_health_of(one, local.checks()) for one in local.services() if one.name == name]
    if not results:
        return _health(context, request, 404, f"ServiceName {name} Not Found", [])
    status = max((status for status, _ in results), key=_WORSE.index)
    return _health(context, request, _STATUS_CODES[status], status, [body for _, body in results])


def _health_of(found: Service, checks: Sequence[Check]) -> tuple[str, dict[str, Any]]:
    """Of the checks of the node and of the service."""
    relevant = [check for check in checks if check.service_id.lower() in ("", found.id.lower())]
    status = aggregate(relevant)
    return status, {
        "AggregatedStatus": status,
        "Service": service_as_json(found),
        "Checks": [check_fields(check) for check in relevant],
    }


def _health(context: Context, request: Request, code: int, text: str, body: Any) -> Response:
    if request.query.get("format") == "text":
        return Response.text(code, text)
    return Response(code, to_json(body, pretty=context.pretty(request)), JSON)
