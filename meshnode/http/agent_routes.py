"""``/v1/agent``: this agent itself, its pools, its life and its log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from meshnode.acl.authorizer import Access, Resource
from meshnode.http.authorize import authorizer_of
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.effects import ForceLeave, Join, Leave, Reload, SetAgentToken, Steps, StreamLog, ask
from meshnode.http.errors import HttpError
from meshnode.http.exposition import PROMETHEUS_TYPE, metrics_as_json, metrics_as_prometheus
from meshnode.http.local_view import view_of
from meshnode.http.message import Request, Response, StreamResponse
from meshnode.http.router import Answer, Outcome
from meshnode.http.view import MemberInfo

__all__ = ["agent_self", "force_leave", "join", "leave", "members", "metrics", "monitor", "reload", "token"]

#: The tokens that an agent has, by their names of 1.2.3 and of later releases.
TOKEN_NAMES: Final = (
    *("acl_token", "acl_agent_token", "acl_agent_master_token", "acl_replication_token"),
    *("default", "agent", "agent_master", "agent_recovery", "replication"),
)
ALL_SEGMENTS: Final = "_all"
#: Log levels and the names that Consul's own tools also send.
LOG_LEVELS: Final = {
    "TRACE": "TRACE",
    "DEBUG": "DEBUG",
    "INFO": "INFO",
    "WARN": "WARN",
    "WARNING": "WARN",
    "ERR": "ERR",
    "ERROR": "ERR",
}


def agent_self(context: Context, request: Request) -> Response:
    """GET /v1/agent/self."""
    parts = context.view.agent_self()
    shown: dict[str, Any] = {
        "Config": parts.config,
        "DebugConfig": parts.debug_config,
        "Coord": parts.coord,
        "Member": parts.member.as_json(),
        "Stats": parts.stats,
        "Meta": parts.meta,
        "Meshnode": parts.meshnode,
    }
    return context.json_members(request, "self", shown)


def members(context: Context, request: Request) -> Outcome:
    """GET /v1/agent/members; ``wan`` counts with any value, but not without one (Consul 1.2.3)."""
    wan, segment = False, ""
    if request.raw_query:
        wan, segment = bool(request.query.get("wan")), request.query.get("segment")
    if segment not in ("", ALL_SEGMENTS):
        if wan:
            raise HttpError(400, "Cannot provide a segment with wan=true")
        raise HttpError(500, "Network segments are not supported in this version of Consul")
    found = context.view.members(wan=wan)
    if view_of(context).acl_enabled:
        return _visible_members(context, request, found)
    slot = "members.wan" if wan else "members.lan"
    return context.json_of(request, slot, found, lambda: [member.as_json() for member in found])


def _visible_members(context: Context, request: Request, found: Sequence[MemberInfo]) -> Steps[Answer]:
    authorizer = yield from authorizer_of(context, request)
    seen = [m for m in found if authorizer.decide(Resource.NODE, m.name, Access.READ).allowed]
    return context.json(request, [member.as_json() for member in seen])


def token(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/token/:name with ``{"Token"}``: one of the agent's own tokens."""
    if not view_of(context).acl_enabled:
        raise HttpError(401, "ACL support disabled")
    if request.param not in TOKEN_NAMES:
        raise HttpError(404, f"Token {request.param!r} is unknown: use one of {', '.join(TOKEN_NAMES)}")
    value = Fields(decode_object(request.body)).text("Token")
    yield from ask(SetAgentToken(request.param, value))
    return Response()


def join(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/join/:address."""
    if not request.param:
        raise HttpError(400, "Missing address: PUT /v1/agent/join/<address>")
    yield from ask(Join((request.param,), bool(request.query.get("wan")), request.token))
    return Response()


def leave(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/leave."""
    yield from ask(Leave(request.token))
    return Response()


def force_leave(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/force-leave/:node."""
    if not request.param:
        raise HttpError(400, "Missing node name: PUT /v1/agent/force-leave/<node>")
    yield from ask(ForceLeave(request.param, "prune" in request.query, request.token))
    return Response()


def reload(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/agent/reload; a bad configuration is 500 with its text."""
    yield from ask(Reload(request.token))
    return Response()


def monitor(context: Context, request: Request) -> StreamResponse:
    """GET /v1/agent/monitor: log lines as they come."""
    wanted = request.query.get("loglevel") or "INFO"
    level = LOG_LEVELS.get(wanted.upper())
    if level is None:
        raise HttpError(400, f"Unknown log level: {wanted}")
    return StreamResponse(StreamLog(level))


def metrics(context: Context, request: Request) -> Response:
    """GET /v1/agent/metrics, as JSON or with ``?format=prometheus`` as text."""
    view = context.view
    now = view.now
    if request.query.get("format") == "prometheus":
        retention = view.settings.prometheus_retention
        if retention <= 0:
            raise HttpError(415, "Prometheus is not enabled since its retention time is not positive")
        text = metrics_as_prometheus(view.metrics, now, retention)
        return Response(200, text.encode("utf-8", "replace"), PROMETHEUS_TYPE)
    interval = view.metrics.latest(now)
    return context.json(request, metrics_as_json(interval, view.utc_text(interval.start)))
