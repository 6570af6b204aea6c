"""``/v1/event``: firing user events and reading those that this agent has seen."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from meshnode.acl.authorizer import ALLOW_ALL, Access, Authorizer, Resource
from meshnode.base.errors import MeshError
from meshnode.control.user_event import UserEvent
from meshnode.http.authorize import authorizer_of
from meshnode.http.blocking import BlockingQuery, index_headers, parse_blocking
from meshnode.http.context import Context
from meshnode.http.effects import FireEvent, Steps, WaitForEvents, ask
from meshnode.http.errors import HttpError
from meshnode.http.local_view import view_of
from meshnode.http.message import Request, Response, StreamResponse
from meshnode.http.router import Answer, Outcome
from meshnode.http.user_events import check_filters, event_index

__all__ = ["event_as_json", "event_list", "fire"]


def event_as_json(event: UserEvent) -> dict[str, Any]:
    """The shape of Consul's API: the payload in base64, ``null`` when there is none."""
    return {
        "ID": event.event_id,
        "Name": event.name,
        "Payload": b64encode(event.payload).decode("ascii") if event.payload else None,
        "NodeFilter": event.node_filter,
        "ServiceFilter": event.service_filter,
        "TagFilter": event.tag_filter,
        "Version": event.version,
        "LTime": event.ltime,
    }


def fire(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/event/fire/:name; the body is the payload."""
    if not request.param:
        raise HttpError(400, "Missing name")
    query = request.query
    event = UserEvent(
        event_id="",
        name=request.param,
        payload=request.body,
        node_filter=query.get("node"),
        service_filter=query.get("service"),
        tag_filter=query.get("tag"),
    )
    try:
        check_filters(event)
    except MeshError as error:
        raise HttpError(400, str(error)) from None
    fired = yield from ask(FireEvent(event, query.get("dc"), request.token))
    return context.json(request, event_as_json(fired))


def event_list(context: Context, request: Request) -> Outcome:
    """GET /v1/event/list; blocks while the index *equals* the one that the client has."""
    if view_of(context).acl_enabled:
        return _visible_list(context, request)
    return _list(context, request)


def _visible_list(context: Context, request: Request) -> Steps[Answer]:
    authorizer = yield from authorizer_of(context, request)
    outcome = _list(context, request, authorizer)
    return outcome if isinstance(outcome, Response | StreamResponse) else (yield from outcome)


def _list(context: Context, request: Request, authorizer: Authorizer = ALLOW_ALL) -> Outcome:
    wanted = parse_blocking(request)
    name = request.query.get("name") if request.raw_query else ""
    if wanted.index and wanted.index == event_index(context.view.events.named(name)):
        return _wait_for_other(context, request, name, wanted, authorizer)
    return _listed(context, request, name, authorizer)


def _wait_for_other(
    context: Context, request: Request, name: str, wanted: BlockingQuery, authorizer: Authorizer
) -> Steps[Answer]:
    deadline = context.view.now + wanted.timeout(context.rng)
    while event_index(context.view.events.named(name)) == wanted.index:
        left = deadline - context.view.now
        if left <= 0:
            break
        yield from ask(WaitForEvents(context.view.events.generation, left))
    return _listed(context, request, name, authorizer)


def _listed(context: Context, request: Request, name: str, authorizer: Authorizer) -> Response:
    events = context.view.events.named(name)
    shown = [e for e in events if authorizer.decide(Resource.EVENT, e.name, Access.READ).allowed]
    return context.json(request, [event_as_json(e) for e in shown], index_headers(event_index(events)))
