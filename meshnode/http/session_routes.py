"""``/v1/session``: what holds locks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.control.body import NANOSECONDS
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.discovery import named
from meshnode.http.message import Request, Response
from meshnode.http.router import Outcome
from meshnode.http.state import read, write

__all__ = ["create", "destroy", "info", "node", "renew", "session_list"]

#: A lock delay that is a smaller number is meant in seconds, not in nanoseconds.
#: Source: Consul 1.2.3, agent/session_endpoint.go.
MIN_NANOSECONDS_DELAY: Final = 1000


def create(context: Context, request: Request) -> Outcome:
    """PUT /v1/session/create; the body may be missing; the node is this one unless it names another."""
    fields = Fields(decode_object(request.body) if request.body.strip() else {})
    session: dict[str, Any] = {
        "Name": fields.text("Name"),
        "Node": fields.text("Node") or context.view.node_name,
        "Behavior": fields.text("Behavior"),
        "TTL": fields.text("TTL"),
    }
    if fields.has("Checks"):
        session["Checks"] = list(fields.strings("Checks"))
    if fields.has("LockDelay"):
        session["LockDelay"] = _lock_delay(fields)
    body = {"Op": "create", "Session": session}
    return write(context, request, "Session.Apply", body, lambda reply: {"ID": reply})


def destroy(context: Context, request: Request) -> Outcome:
    """PUT /v1/session/destroy/:uuid."""
    body = {"Op": "destroy", "Session": {"ID": named(request, "session")}}
    return write(context, request, "Session.Apply", body, lambda _reply: True)


def renew(context: Context, request: Request) -> Outcome:
    """PUT /v1/session/renew/:uuid; 404 when there is no such session."""
    session_id = named(request, "session")

    def shown(reply: Mapping[str, Any]) -> Any:
        return reply["Sessions"] or Response.text(404, f"Session id '{session_id}' not found")

    return write(context, request, "Session.Renew", {"Session": session_id}, shown)


def info(context: Context, request: Request) -> Outcome:
    """GET /v1/session/info/:uuid: a list of one session, or of none."""
    return read(context, request, "Session.Get", {"Session": named(request, "session")}, _sessions)


def node(context: Context, request: Request) -> Outcome:
    """GET /v1/session/node/:node."""
    return read(context, request, "Session.NodeSessions", {"Node": named(request, "node name")}, _sessions)


def session_list(context: Context, request: Request) -> Outcome:
    """GET /v1/session/list."""
    return read(context, request, "Session.List", {}, _sessions)


def _sessions(reply: Mapping[str, Any]) -> Any:
    return reply["Sessions"]


def _lock_delay(fields: Fields) -> int:
    """Nanoseconds; text is a duration, a number below 1000 is seconds."""
    number = fields.value("LockDelay")
    if isinstance(number, int | float) and not isinstance(number, bool) and number < MIN_NANOSECONDS_DELAY:
        delay = number * NANOSECONDS
    else:
        delay = fields.duration("LockDelay") * NANOSECONDS
    if delay < 0:
        fields.refuse("LockDelay", "must not be negative")
    return round(delay)
