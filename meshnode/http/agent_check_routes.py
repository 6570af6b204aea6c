"""``/v1/agent/check``: the checks of this agent, their registration and their reports; maintenance of the node."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from meshnode.acl.authorizer import Access, Resource, require
from meshnode.base.errors import ConfigError
from meshnode.base.goflags import parse_boolean
from meshnode.catalog.model import CRITICAL, PASSING, STATES, WARNING, Check
from meshnode.catalog.wire import check_fields
from meshnode.http.authorize import (
    authorizer_of,
    may_see_check,
    require_check_write,
    require_known_check_write,
)
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.effects import Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.filter.fields import AGENT_CHECKS
from meshnode.http.filtering import Rows, filtered
from meshnode.http.local_view import (
    DeregisterCheck,
    RegisterCheck,
    SetMaintenance,
    UpdateTtl,
    local_of,
    view_of,
)
from meshnode.http.message import Request, Response
from meshnode.http.router import Answer, Outcome

__all__ = [
    "checks",
    "deregister",
    "fail",
    "maintenance",
    "passing",
    "register",
    "update",
    "wanted_maintenance",
    "warn",
]


def checks(context: Context, request: Request) -> Outcome:
    """GET /v1/agent/checks: by id, those that the token may read; ``?filter=`` of Consul 1.5."""
    keep = filtered(request, AGENT_CHECKS)
    found = local_of(context).checks()
    if view_of(context).acl_enabled:
        return _permitted(context, request, keep)
    if request.raw_query and request.query.get("filter"):
        return context.json(request, _by_id(found, keep))
    return context.json_of(request, "local.checks", found, lambda: _by_id(found, keep))


def _permitted(context: Context, request: Request, keep: Callable[[Rows], Rows]) -> Steps[Answer]:
    authorizer = yield from authorizer_of(context, request)
    found = local_of(context).checks()
    return context.json(request, _by_id((one for one in found if may_see_check(authorizer, one)), keep))


def _by_id(found: Iterable[Check], keep: Callable[[Rows], Rows]) -> dict[str, Any]:
    return {row["CheckID"]: row for row in keep([check_fields(one) for one in found])}


def register(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/check/register."""
    body = decode_object(request.body)
    fields = Fields(body)
    name, service_id = fields.text("Name"), fields.text("ServiceID")
    if not name:
        raise HttpError(400, "Missing check name")
    if fields.text("Status") not in ("", *STATES):
        raise HttpError(400, f"Bad check status: write one of {', '.join(STATES)}")
    authorizer = yield from authorizer_of(context, request)
    owner = local_of(context).service(service_id) if service_id else None
    if service_id and owner is None:
        raise HttpError(500, f'ServiceID "{service_id}" does not exist')
    require_check_write(authorizer, owner.name if owner else "", context.view.node_name)
    require_known_check_write(context, authorizer, fields.text("ID") or fields.text("CheckID") or name)
    yield from ask(RegisterCheck(body, request.token))
    return Response()


def deregister(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/check/deregister/:id; a check that isn't there is gone already."""
    check_id = _check_id(request, "deregister")
    authorizer = yield from authorizer_of(context, request)
    if not require_known_check_write(context, authorizer, check_id) and not authorizer.unrestricted:
        raise HttpError(500, f'Unknown check "{check_id}"')
    yield from ask(DeregisterCheck(check_id))
    return Response()


def passing(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/check/pass/:id?note=..."""
    return _report(context, request, _check_id(request, "pass"), PASSING, request.query.get("note"))


def warn(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/check/warn/:id?note=..."""
    return _report(context, request, _check_id(request, "warn"), WARNING, request.query.get("note"))


def fail(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/check/fail/:id?note=..."""
    return _report(context, request, _check_id(request, "fail"), CRITICAL, request.query.get("note"))


def update(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/check/update/:id with ``{"Status": ..., "Output": ...}``."""
    check_id = _check_id(request, "update")
    fields = Fields(decode_object(request.body))
    status, output = fields.text("Status"), fields.text("Output")
    if status not in STATES:
        raise HttpError(400, f"Invalid check status: '{status[:40]}': write one of {', '.join(STATES)}")
    return _report(context, request, check_id, status, output)


def _report(context: Context, request: Request, check_id: str, status: str, output: str) -> Steps[Answer]:
    authorizer = yield from authorizer_of(context, request)
    if not require_known_check_write(context, authorizer, check_id) and not authorizer.unrestricted:
        raise HttpError(500, f'Unknown check "{check_id}"')
    yield from ask(UpdateTtl(check_id, status, output))
    return Response()


def maintenance(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/maintenance?enable=true|false&reason=..."""
    enable = wanted_maintenance(request)
    authorizer = yield from authorizer_of(context, request)
    require(authorizer, Resource.NODE, context.view.node_name, Access.WRITE)
    yield from ask(SetMaintenance(enable, request.query.get("reason"), request.token))
    return Response()


def wanted_maintenance(request: Request) -> bool:
    """``?enable=``, which must be there; raises :class:`HttpError` 400."""
    value = request.query.get("enable")
    if not value:
        raise HttpError(400, "Missing value for enable")
    try:
        return parse_boolean(value)
    except ConfigError:
        raise HttpError(400, f'Invalid value for enable: "{value[:40]}"') from None


def _check_id(request: Request, verb: str) -> str:
    if not request.param:
        raise HttpError(400, f"Missing check ID: PUT /v1/agent/check/{verb}/<id>")
    return request.param
