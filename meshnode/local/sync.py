"""Anti-entropy: making the catalog's view of this node equal to the local state, as a pure difference.

A full sync is :func:`compare`, which marks what differs, and then the steps; a partial one is the steps alone. Each
step is a call of a server; its outcome goes to :func:`apply`. The catalog may hold what isn't ours to touch: the check
that the leader keeps for gossip, and the service that it keeps for servers.
Source: Consul 1.2.3, agent/ae and agent/local.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from meshnode.catalog.model import SERF_CHECK_ID, Check, Node, Service
from meshnode.local.definitions import CheckDefinition, ServiceDefinition
from meshnode.local.entries import CheckEntry, ServiceEntry
from meshnode.local.state import LocalState
from meshnode.local.wire import deregistration, registration

__all__ = [
    "CONSUL_SERVICE_ID",
    "FULL_SYNC_INTERVAL",
    "RETRY_INTERVAL",
    "RegisterCheck",
    "RegisterNode",
    "RegisterService",
    "RemoveCheck",
    "RemoveService",
    "Step",
    "apply",
    "call_of",
    "compare",
    "describe",
    "full_sync_delay",
    "is_denied",
    "retry_delay",
    "steps",
]

#: The service that the leader registers for every server.
CONSUL_SERVICE_ID: Final = "consul"
#: Seconds between full syncs in a small cluster.
FULL_SYNC_INTERVAL: Final = 60.0
#: Members up to which it stays so; from there on every doubling adds one interval.
SCALE_THRESHOLD: Final = 128
#: Seconds before a sync that failed is tried again.
RETRY_INTERVAL: Final = 15.0
_DENIED: Final = ("Permission denied", "ACL not found")
#: What a server says of a removal when there is nothing to remove and the token isn't one for the whole node.
_UNKNOWN: Final = ("Unknown service", "Unknown check")


@dataclass(frozen=True, slots=True)
class RegisterService:
    """A service, with those of its checks that wait and have the same token."""

    node: Node
    service: Service
    checks: tuple[Check, ...]
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegisterCheck:
    """A check, with the service that it belongs to: the catalog refuses it without."""

    node: Node
    service: Service | None
    check: Check
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegisterNode:
    """The node alone: its address, id or metadata changed."""

    node: Node


@dataclass(frozen=True, slots=True)
class RemoveService:
    """A service with its checks."""

    service_id: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RemoveCheck:
    """A check."""

    check_id: str
    token: str = field(repr=False)


Step = RegisterService | RegisterCheck | RegisterNode | RemoveService | RemoveCheck


def full_sync_delay(members: int, rng: random.Random, interval: float = FULL_SYNC_INTERVAL) -> float:
    """Seconds to the next full sync in a pool of so many members: scaled, and up to twice that at random."""
    scaled = interval
    if members > SCALE_THRESHOLD:
        scaled *= math.ceil(math.log2(members) - math.log2(SCALE_THRESHOLD)) + 1
    return scaled * (1 + rng.random())


def retry_delay(rng: random.Random) -> float:
    """Seconds until a sync that failed is tried again."""
    return RETRY_INTERVAL * (1 + rng.random())


# What differs


def compare(
    state: LocalState, node: Node | None, services: Iterable[Service], checks: Iterable[Check]
) -> None:
    """Mark what differs from the catalog's ``node`` (``None``: it has none), ``services`` and ``checks`` of it."""
    state.node_in_sync = node is not None and _same_node(state.node, node)
    _compare_services(state, services)
    _compare_checks(state, checks)


def _same_node(ours: Node, theirs: Node) -> bool:
    return (ours.name, ours.id.lower(), ours.address, dict(ours.tagged_addresses), dict(ours.meta)) == (
        theirs.name, theirs.id.lower(), theirs.address, dict(theirs.tagged_addresses), dict(theirs.meta),
    )  # fmt: skip


def _compare_services(state: LocalState, services: Iterable[Service]) -> None:
    theirs = {service.id.lower(): service for service in services}
    entries = state.service_entries
    for key, service in theirs.items():
        entry = entries.get(key)
        if entry is None:
            if key != CONSUL_SERVICE_ID:
                definition = ServiceDefinition(id=service.id, name=service.name)
                entries[key] = ServiceEntry(definition, service, in_sync=False, deleted=True)
        elif entry.deleted:
            entry.in_sync = False
        else:
            if entry.service.enable_tag_override and entry.service.tags != service.tags:
                _take_tags(state, entry, service.tags)
            entry.in_sync = entry.service.same_as(service)
    for key in [key for key in entries if key not in theirs]:
        if entries[key].deleted:
            del entries[key]
        else:
            entries[key].in_sync = False


def _take_tags(state: LocalState, entry: ServiceEntry, tags: tuple[str, ...]) -> None:
    """Tags of a service with EnableTagOverride are the catalog's."""
    entry.service = replace(entry.service, tags=tags)
    for check in state.checks_of(entry.service.id):
        check.check = replace(check.check, service_tags=tags)
    state.generation += 1


def _compare_checks(state: LocalState, checks: Iterable[Check]) -> None:
    theirs = {check.check_id.lower(): check for check in checks}
    entries = state.check_entries
    for key, check in theirs.items():
        entry = entries.get(key)
        if entry is None:
            if check.check_id != SERF_CHECK_ID:
                definition = CheckDefinition(
                    check.check_id, check.name, run=None, service_id=check.service_id
                )
                entries[key] = CheckEntry(definition, check, in_sync=False, deleted=True)
        elif entry.deleted:
            # It may hang on another service there, and then it doesn't go away with ours.
            entry.check, entry.in_sync = check, False
        else:
            waits = entry.deferred_until is not None
            entry.in_sync = _comparable(entry.check, waits).same_as(_comparable(check, waits))
    for key in [key for key in entries if key not in theirs]:
        if entries[key].deleted:
            del entries[key]
        else:
            entries[key].in_sync = False


def _comparable(check: Check, output_waits: bool) -> Check:
    """Without the output while a change of it is held back."""
    return replace(check, output="") if output_waits else check


# What to do about it


def steps(state: LocalState) -> Iterator[Step]:
    """What to send, in order. Apply each outcome before taking the next step: it may do away with later ones."""
    for key in sorted(state.service_entries):
        entry = state.service_entries.get(key)
        if entry is not None and entry.deleted and not entry.in_sync:
            yield RemoveService(entry.service.id, entry.token)
        elif entry is not None and not entry.in_sync:
            waiting = [
                c for c in state.checks_of(entry.service.id) if not c.in_sync and c.token == entry.token
            ]
            yield RegisterService(state.node, entry.service, tuple(c.check for c in waiting), entry.token)
    for key in sorted(state.check_entries):
        check = state.check_entries.get(key)
        if check is not None and check.deleted and not check.in_sync:
            yield RemoveCheck(check.check.check_id, _removal_token(state, check))
        elif check is not None and not check.in_sync:
            owner = state.service(check.check.service_id)
            service = owner.service if owner is not None else None
            yield RegisterCheck(state.node, service, check.check, check.token)
    if not state.node_in_sync:
        yield RegisterNode(state.node)


def _removal_token(state: LocalState, check: CheckEntry) -> str:
    owner = state.service_entries.get(check.check.service_id.lower())
    return check.token or (owner.token if owner is not None else "")


def call_of(state: LocalState, step: Step, default_token: str) -> tuple[str, dict[str, Any]]:
    """Method and body of a step; ``default_token`` is the agent's, for what was registered without one."""
    skip = state.node_in_sync
    match step:
        case RegisterService(node, service, checks, token):
            body = registration(node, service, checks, token or default_token, skip_node_update=skip)
        case RegisterCheck(node, owner, check, token):
            body = registration(node, owner, (check,), token or default_token, skip_node_update=skip)
        case RegisterNode(node):
            body = registration(node, None, (), default_token, skip_node_update=False)
        case RemoveService(service_id, token):
            body = deregistration(state.node, token or default_token, service_id=service_id)
            return "Catalog.Deregister", body
        case RemoveCheck(check_id, token):
            body = deregistration(state.node, token or default_token, check_id=check_id)
            return "Catalog.Deregister", body
    return "Catalog.Register", body


def is_denied(refusal: str) -> bool:
    """Whether a server's sentence means that the token doesn't allow it."""
    return any(sentence in refusal for sentence in _DENIED)


def apply(state: LocalState, step: Step, refusal: str = "") -> bool:
    """Note how a step went, and whether it is done; ``refusal`` is the server's sentence, empty for success.

    A step that access control denies counts as done, so that it isn't repeated before the next full sync; after any
    other refusal nothing changes and the sync has failed.
    """
    denied = is_denied(refusal)
    gone = isinstance(step, RemoveService | RemoveCheck) and any(text in refusal for text in _UNKNOWN)
    if refusal and not denied and not gone:
        return False
    match step:
        case RegisterService(_, service, checks):
            _mark_service(state, service)
            for check in checks:
                _mark_check(state, check)
        case RegisterCheck(_, owner, check):
            if owner is not None and not denied:
                _mark_service(state, owner)
            _mark_check(state, check)
        case RegisterNode(node):
            state.node_in_sync = state.node is node
        case RemoveService(service_id):
            _forget_service(state, service_id, denied=denied)
        case RemoveCheck(check_id):
            _forget_check(state, check_id, denied=denied)
    if not denied and isinstance(step, RegisterService | RegisterCheck):
        # The node went with it.
        state.node_in_sync = state.node is step.node
    return True


def _mark_service(state: LocalState, service: Service) -> None:
    """In sync, unless it has changed since it was sent."""
    entry = state.service_entries.get(service.id.lower())
    if entry is not None and entry.service is service and not entry.deleted:
        entry.in_sync = True


def _mark_check(state: LocalState, check: Check) -> None:
    """In sync, unless it has changed since it was sent."""
    entry = state.check_entries.get(check.check_id.lower())
    if entry is not None and entry.check is check and not entry.deleted:
        entry.in_sync, entry.deferred_until = True, None


def _forget_service(state: LocalState, service_id: str, *, denied: bool) -> None:
    key = service_id.lower()
    entry = state.service_entries.get(key)
    # One that was registered again meanwhile waits to be sent anyway.
    if entry is None or not entry.deleted:
        return
    if denied:
        entry.in_sync = True
        return
    del state.service_entries[key]
    gone = [k for k, c in state.check_entries.items() if c.deleted and c.check.service_id.lower() == key]
    for check_key in gone:
        del state.check_entries[check_key]


def _forget_check(state: LocalState, check_id: str, *, denied: bool) -> None:
    entry = state.check_entries.get(check_id.lower())
    if entry is None or not entry.deleted:
        return
    if denied:
        entry.in_sync = True
    else:
        del state.check_entries[check_id.lower()]


def describe(step: Step) -> str:
    """A step in words, for the log."""
    match step:
        case RegisterService(_, service):
            return f'registration of service "{service.id}"'
        case RegisterCheck(_, _, check):
            return f'registration of check "{check.check_id}"'
        case RegisterNode(node):
            return f'registration of node "{node.name}"'
        case RemoveService(service_id):
            return f'deregistration of service "{service_id}"'
        case RemoveCheck(check_id):
            return f'deregistration of check "{check_id}"'
