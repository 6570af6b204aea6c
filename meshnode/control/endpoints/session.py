"""``Session.*``: creating, ending and reading sessions. Source: Consul 1.2.3, agent/consul/session_endpoint.go.

``Session.Renew`` is answered by the leader, who counts the TTLs in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.control import watch
from meshnode.control.body import (
    NANOSECONDS,
    Body,
    duration,
    mapping,
    text,
    texts,
)
from meshnode.control.command import Command, SessionCreate, SessionDestroy
from meshnode.control.endpoints.registration import require_node
from meshnode.control.endpoints.sight import Sight
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.watch import WatchKey
from meshnode.kv.sessions import MIN_TTL, RELEASE, Session, session_fault
from meshnode.rpc.method import RpcError

__all__ = [
    "DEFAULT_CHECKS",
    "DEFAULT_LOCK_DELAY",
    "METHODS",
    "OPERATIONS",
    "session_fields",
    "session_methods",
]

#: ``Op`` of ``Session.Apply``.
OPERATIONS: Final = ("create", "destroy")
#: What a session relies on when it doesn't say.
DEFAULT_CHECKS: Final = ("serfHealth",)
#: Seconds.
DEFAULT_LOCK_DELAY: Final = 15.0


def session_fields(session: Session) -> dict[str, Any]:
    """A session as Consul's API shows it; ``LockDelay`` is nanoseconds."""
    return {
        "ID": session.id,
        "Name": session.name,
        "Node": session.node,
        "Checks": list(session.checks),
        "LockDelay": round(session.lock_delay * NANOSECONDS),
        "Behavior": session.behavior,
        "TTL": session.ttl,
        "CreateIndex": session.create_index,
        "ModifyIndex": session.modify_index,
    }


def _apply(
    min_ttl: float, state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment
) -> Command:
    operation, session = text(body, "Op"), mapping(body, "Session")
    if operation == "create":
        return _create(min_ttl, state, session, authorizer, moment)
    if operation == "destroy":
        return _destroy(state, text(session, "ID"), authorizer, moment)
    raise RpcError(f'Invalid session operation "{operation}": use one of {", ".join(OPERATIONS)}')


def _create(
    min_ttl: float, state: StateMachine, fields: Body, authorizer: Authorizer, moment: Moment
) -> Command:
    """Checks and lock delay are the defaults when the field is missing; empty ones are meant so."""
    node = text(fields, "Node")
    if not node:
        raise RpcError("Must provide Node")
    require_node(state.catalog.tables, authorizer, Resource.SESSION, node, Access.WRITE)
    session = Session(
        id=moment.new_id(),
        node=node,
        name=text(fields, "Name"),
        checks=texts(fields, "Checks") if fields.get("Checks") is not None else DEFAULT_CHECKS,
        lock_delay=DEFAULT_LOCK_DELAY if fields.get("LockDelay") is None else duration(fields, "LockDelay"),
        behavior=text(fields, "Behavior") or RELEASE,
        ttl=text(fields, "TTL"),
    )
    if fault := session_fault(session, min_ttl):
        raise RpcError(fault)
    return SessionCreate(session)


def _destroy(state: StateMachine, session_id: str, authorizer: Authorizer, moment: Moment) -> Command:
    if not session_id:
        raise RpcError("Must provide ID")
    if not authorizer.unrestricted:
        _, existing = state.sessions.get(session_id)
        if existing is None:
            raise RpcError(f'Unknown session "{session_id}"')
        require(authorizer, Resource.SESSION, existing.node, Access.WRITE)
    return SessionDestroy(session_id, moment.at)


def _applied(state: StateMachine, result: Result) -> str:
    """The id of a new session; empty when one was destroyed."""
    del state
    done = accepted(result)
    return done if isinstance(done, str) else ""


def _get(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    index, session = state.sessions.get(text(body, "Session"))
    return index, _shown([session] if session is not None else [], authorizer)


def _list(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    del body
    index, sessions = state.sessions.every()
    return index, _shown(sessions, authorizer)


def _of_node(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    index, sessions = state.sessions.of_node(text(body, "Node"))
    return index, _shown(sessions, authorizer)


def _shown(sessions: list[Session], authorizer: Authorizer) -> dict[str, Any]:
    return {"Sessions": [session_fields(session) for session in Sight(authorizer).sessions(sessions)]}


def _one_watch(body: Body) -> tuple[WatchKey, ...]:
    return (watch.session(text(body, "Session")),)


def _all_watch(body: Body) -> tuple[WatchKey, ...]:
    del body
    return (watch.SESSIONS,)


def _node_watch(body: Body) -> tuple[WatchKey, ...]:
    return (watch.sessions_of(text(body, "Node")),)


def session_methods(min_ttl: float) -> dict[str, Method]:
    """The methods that depend on ``session_ttl_min``, in seconds."""
    return {"Session.Apply": WriteMethod(partial(_apply, min_ttl), _applied)}


METHODS: Final[Mapping[str, Method]] = {
    **session_methods(MIN_TTL),
    "Session.Get": ReadMethod(_one_watch, _get),
    "Session.List": ReadMethod(_all_watch, _list),
    "Session.NodeSessions": ReadMethod(_node_watch, _of_node),
}
