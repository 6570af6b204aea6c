"""``Intention.Apply``, ``Get``, ``List``, ``Match`` and ``Check``.

Who may: ``intentions`` rules on the destination; a list holds what may be read. ``Match`` asks for reading what it is
asked about, be it source or destination. ``Check`` has Consul's ``Allowed`` and, beside it, why.
Source: Consul 1.2.3, agent/consul/intention_endpoint.go; documentation of ``/v1/connect/intentions``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.config_entries.graph import permissions_fault
from meshnode.control.body import Body, mapping, rows, text
from meshnode.control.command import Command, IntentionDelete, IntentionSet, IntentionUpsert
from meshnode.control.endpoints.intention_fields import intention_fields, intention_of, request_of, service_of
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.watch import WatchKey
from meshnode.intentions.decide import Decision, DefaultDecision, decide, default_decision
from meshnode.intentions.explain import explain
from meshnode.intentions.model import DEFAULT_NAMESPACE, SOURCE_CONSUL, Intention, ServiceName
from meshnode.intentions.request import HttpRequest
from meshnode.intentions.store import INTENTIONS, NOT_FOUND, watched_from, watched_to
from meshnode.intentions.validate import intention_fault
from meshnode.rpc.method import RpcError

__all__ = ["MATCH_TYPES", "MAX_MATCH_ENTRIES", "METHODS", "OPERATIONS", "intention_methods"]

#: ``Op`` of ``Intention.Apply``.
OPERATIONS: Final = ("create", "update", "upsert", "delete")
#: ``Type`` of ``Intention.Match``.
MATCH_TYPES: Final = ("source", "destination")
#: Names in one ``Intention.Match``.
MAX_MATCH_ENTRIES: Final = 128


def intention_methods(default: Callable[[], DefaultDecision]) -> dict[str, Method]:
    """The methods of a server; ``default`` is what holds where no intention does, see ``default_decision``."""

    def check(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
        return _check(state, body, authorizer, default())

    return {
        "Intention.Apply": WriteMethod(_apply, _applied),
        "Intention.Get": ReadMethod(_all, _get),
        "Intention.List": ReadMethod(_all, _list),
        "Intention.Match": ReadMethod(_matched, _match),
        "Intention.Check": ReadMethod(_checked, check),
    }


def _apply(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    operation, fields = text(body, "Op"), mapping(body, "Intention")
    intention_id = text(fields, "ID")
    match operation:
        case "create":
            if intention_id:
                raise RpcError("ID must be empty when creating a new intention")
            return IntentionSet(
                _valid(state, intention_of(fields, moment.new_id(), moment.at), authorizer), create=True
            )
        case "upsert":
            intention = _valid(state, intention_of(fields, moment.new_id(), moment.at), authorizer)
            existing = state.intentions.exact(intention.source, intention.destination)[1]
            if existing is not None:
                _require(authorizer, existing, Access.WRITE)
            return IntentionUpsert(intention)
        case "update" | "delete":
            existing = _existing(state, fields, intention_id)
            if existing is None and operation == "update":
                raise RpcError(NOT_FOUND)
            if existing is None:  # by name: what is to be gone is gone
                require(authorizer, Resource.INTENTION, text(fields, "DestinationName"), Access.WRITE)
                return IntentionDelete("")
            _require(authorizer, existing, Access.WRITE)
            if operation == "delete":
                return IntentionDelete(existing.id)
            changed = intention_of(fields, existing.id, moment.at)
            return IntentionSet(
                _valid(state, replace(changed, created_at=existing.created_at), authorizer), create=False
            )
    raise RpcError(f"Unknown intention operation: {operation!r}: use one of {', '.join(OPERATIONS)}")


def _existing(state: StateMachine, fields: Body, intention_id: str) -> Intention | None:
    """The one with the id, or without an id the one with just these names; ``None`` only for names."""
    if not intention_id and text(fields, "SourceName"):
        return state.intentions.exact(service_of(fields, "Source"), service_of(fields, "Destination"))[1]
    found = state.intentions.get(intention_id)[1]
    if found is None:
        raise RpcError(f"Cannot modify non-existent intention: '{intention_id}'")
    return found


def _valid(state: StateMachine, intention: Intention, authorizer: Authorizer) -> Intention:
    _require(authorizer, intention, Access.WRITE)
    fault = intention_fault(intention)
    if not fault and intention.permissions:
        fault = permissions_fault(state.config.entries, intention.destination_name)
    if fault:
        raise RpcError(f"Invalid intention: {fault}")
    return intention


def _applied(state: StateMachine, result: Result) -> str:
    del state
    return str(accepted(result))


def _get(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    exact = mapping(body, "Exact")
    if exact:
        index, found = state.intentions.exact(service_of(exact, "Source"), service_of(exact, "Destination"))
    else:
        index, found = state.intentions.get(text(body, "IntentionID"))
    if found is None:
        raise RpcError(NOT_FOUND)
    _require(authorizer, found, Access.READ)
    return index, {"Intentions": [intention_fields(found)]}


def _list(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    del body
    index, every = state.intentions.every()
    found = every
    if not authorizer.unrestricted:
        found = [
            row
            for row in every
            if authorizer.decide(Resource.INTENTION, row.destination_name, Access.READ).allowed
        ]
    return index, {
        "Intentions": [intention_fields(row) for row in found],
        "ResultsFilteredByACLs": len(found) < len(every),
    }


def _match(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    kind, services = _asked(body)
    for service in services:
        require(authorizer, Resource.INTENTION, service.name, Access.READ)
    store = state.intentions
    answers = [store.to(service) if kind == "destination" else store.from_(service) for service in services]
    matches = [[intention_fields(row) for row in found] for _, found in answers]
    return store.index or 1, {"Matches": matches}


def _asked(body: Body) -> tuple[str, list[ServiceName]]:
    match = mapping(body, "Match")
    kind, entries = text(match, "Type"), rows(match, "Entries")
    if kind not in MATCH_TYPES:
        raise RpcError(f"Match.Type {kind[:40]!r} is none: use one of {', '.join(MATCH_TYPES)}")
    if not 1 <= len(entries) <= MAX_MATCH_ENTRIES:
        raise RpcError(f"Match.Entries has {len(entries)} names: give 1 to {MAX_MATCH_ENTRIES}")
    services = [
        ServiceName(text(entry, "Name"), text(entry, "Namespace") or DEFAULT_NAMESPACE) for entry in entries
    ]
    if not all(service.name for service in services):
        raise RpcError("Match.Entries has an entry without a Name")
    return kind, services


def _check(
    state: StateMachine, body: Body, authorizer: Authorizer, default: DefaultDecision
) -> tuple[int, dict[str, Any]]:
    source, destination = _ends(body)
    require(authorizer, Resource.INTENTION, destination.name, Access.READ)
    index, found = state.intentions.to(destination)
    request = request_of(body)
    decision = decide(found, source, destination, default, request)
    explained = _explained(decision, source, destination, default, request)
    config = state.connect.ca.config
    trust_domain = config.trust_domain if config is not None else ""
    return index, {"Allowed": decision.allowed, "Explain": {**explained, "TrustDomain": trust_domain}}


def _explained(
    decision: Decision,
    source: ServiceName,
    destination: ServiceName,
    default: DefaultDecision,
    request: HttpRequest | None,
) -> dict[str, Any]:
    return {
        "Source": str(source),
        "Destination": str(destination),
        "Allowed": decision.allowed,
        "Audited": decision.audited,
        "Reason": decision.because,
        "IntentionID": decision.intention.id if decision.intention is not None else "",
        "Permission": decision.permission,
        "Candidates": [intention_fields(row) for row in decision.candidates],
        "Default": {"Allowed": default.allowed, "Reason": default.because},
        "Text": explain(decision, source, destination, default, request),
    }


def _ends(body: Body) -> tuple[ServiceName, ServiceName]:
    check = mapping(body, "Check")
    source, destination = service_of(check, "Source"), service_of(check, "Destination")
    for end, service in (("SourceName", source), ("DestinationName", destination)):
        if not service.name:
            raise RpcError(f"Check.{end} must be set")
    if text(check, "SourceType") not in {"", SOURCE_CONSUL}:
        raise RpcError(f"Check.SourceType must be '{SOURCE_CONSUL}'")
    return source, destination


def _require(authorizer: Authorizer, intention: Intention, access: Access) -> None:
    require(authorizer, Resource.INTENTION, intention.destination_name, access)


def _all(body: Body) -> tuple[WatchKey, ...]:
    del body
    return (INTENTIONS,)


def _matched(body: Body) -> tuple[WatchKey, ...]:
    kind, services = _asked(body)
    watched = watched_to if kind == "destination" else watched_from
    return tuple(key for service in services for key in watched(service))


def _checked(body: Body) -> tuple[WatchKey, ...]:
    return watched_to(_ends(body)[1])


#: Where nobody says otherwise, what no intention is about is allowed.
METHODS: Final[Mapping[str, Method]] = intention_methods(default_decision)
