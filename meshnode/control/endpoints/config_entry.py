"""``ConfigEntry.Apply``, ``Get``, ``List`` and ``Delete``, and ``DiscoveryChain.Get``.

Who may: services' entries are theirs (``service`` rules, and reading of the other services they name), intentions' are
``intentions`` rules on the destination, those of gateways and of all proxies are the operator's to write;
``proxy-defaults`` anybody may read. Source: Consul 1.10, documentation of ``/v1/config``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.base.errors import ConfigError
from meshnode.config_entries.chain import ChainError, Overrides, compile_chain
from meshnode.config_entries.chain_fields import chain_fields
from meshnode.config_entries.model import (
    INGRESS_GATEWAY,
    PROXY_DEFAULTS,
    SERVICE_INTENTIONS,
    TERMINATING_GATEWAY,
    ConfigEntry,
)
from meshnode.config_entries.parse import entry_fields, known_kind, parse_entry
from meshnode.config_entries.store import CONFIG_ENTRIES, watched_entry
from meshnode.connect.store import CONNECT_CONFIG
from meshnode.control.body import NANOSECONDS, Body, integer, mapping, text
from meshnode.control.command import Command, ConfigEntryDelete, ConfigEntrySet, IntentionsReplace
from meshnode.control.config_entry_intentions import intentions_entries, intentions_entry, replacing
from meshnode.control.endpoints.sight import Sight
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.watch import WatchKey
from meshnode.intentions.model import DEFAULT_NAMESPACE
from meshnode.intentions.store import INTENTIONS
from meshnode.rpc.method import RpcError

__all__ = ["METHODS", "OPERATIONS"]

#: ``Op`` of ``ConfigEntry.Apply`` and, those of deletion, of ``ConfigEntry.Delete``.
OPERATIONS: Final = ("upsert", "upsert-cas", "delete", "delete-cas")
_OPERATORS: Final = frozenset({PROXY_DEFAULTS, INGRESS_GATEWAY, TERMINATING_GATEWAY})


# Writing


def _apply(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    operation = text(body, "Op") or "upsert"
    if operation.startswith("delete"):
        return _delete(state, body, authorizer, moment)
    if operation not in OPERATIONS:
        raise RpcError(f"Unknown operation {operation[:40]!r}: use one of {', '.join(OPERATIONS)}")
    entry = _parsed(mapping(body, "Entry"))
    _require_write(authorizer, entry.kind, entry.name)
    for service in entry.references:
        require(authorizer, Resource.SERVICE, service, Access.READ)
    expected = _expected(body, operation)
    if entry.kind == SERVICE_INTENTIONS:
        return replacing(state.intentions, entry, moment, expected)
    return ConfigEntrySet(entry_fields(entry), expected)


def _delete(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    del state, moment
    operation = text(body, "Op") or "delete"
    if operation not in OPERATIONS or not operation.startswith("delete"):
        raise RpcError(f"Unknown operation {operation[:40]!r}: use delete or delete-cas")
    entry = mapping(body, "Entry")
    kind, name = _kind(text(entry, "Kind")), text(entry, "Name")
    if not name:
        raise RpcError("Name is required")
    _require_write(authorizer, kind, name)
    expected = _expected(body, operation)
    if kind == SERVICE_INTENTIONS:
        namespace = text(entry, "Namespace") or DEFAULT_NAMESPACE
        return IntentionsReplace(name, namespace, (), {}, expected)
    return ConfigEntryDelete(kind, name, expected)


def _expected(body: Body, operation: str) -> int | None:
    """The index of a condition: in the entry, as Consul has it."""
    return integer(mapping(body, "Entry"), "ModifyIndex") if operation.endswith("-cas") else None


def _parsed(fields: Body) -> ConfigEntry:
    try:
        return parse_entry(fields)
    except ConfigError as error:
        raise RpcError(str(error)) from None


def _kind(kind: str) -> str:
    try:
        return known_kind(kind)
    except ConfigError as error:
        raise RpcError(str(error)) from None


def _require_write(authorizer: Authorizer, kind: str, name: str) -> None:
    if kind in _OPERATORS:
        require(authorizer, Resource.OPERATOR, "", Access.WRITE)
    else:
        require(authorizer, _resource(kind), name, Access.WRITE)


def _resource(kind: str) -> Resource:
    return Resource.INTENTION if kind == SERVICE_INTENTIONS else Resource.SERVICE


def _applied(state: StateMachine, result: Result) -> bool:
    del state
    return bool(accepted(result))


# Reading


def _get(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    kind, name = _kind(text(body, "Kind")), text(body, "Name")
    if kind != PROXY_DEFAULTS:
        require(authorizer, _resource(kind), name, Access.READ)
    if kind == SERVICE_INTENTIONS:
        namespace = text(body, "Namespace") or DEFAULT_NAMESPACE
        found = intentions_entry(state.intentions, name, namespace)
        index = state.intentions.index or 1
    else:
        found, index = state.config.entries.get(kind, name), state.config.index or 1
    return index, {"Entry": entry_fields(found) if found is not None else None}


def _list(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    """Of one kind, or of every kind when none is named."""
    kind = text(body, "Kind")
    if kind:
        _kind(kind)
    found: Sequence[ConfigEntry]
    if kind == SERVICE_INTENTIONS:
        index, found = state.intentions.index or 1, intentions_entries(state.intentions)
    elif kind:
        index, found = state.config.of(kind)
    else:
        index = max(state.intentions.index, state.config.index) or 1
        found = [*state.config.every(), *intentions_entries(state.intentions)]
    sight = Sight(authorizer)
    seen = [
        entry_fields(row)
        for row in found
        if row.kind == PROXY_DEFAULTS or sight.reads(_resource(row.kind), row.name)
    ]
    return index, {"Kind": kind, "Entries": seen, "ResultsFilteredByACLs": len(seen) < len(found)}


def _chain(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    name, datacenter = text(body, "Name"), text(body, "EvaluateInDatacenter")
    if not name:
        raise RpcError("Must provide service name")
    require(authorizer, Resource.SERVICE, name, Access.READ)
    config = state.connect.ca.config
    overrides = Overrides(
        text(body, "OverrideProtocol").lower(),
        integer(body, "OverrideConnectTimeout") / NANOSECONDS,
        text(mapping(body, "OverrideMeshGateway"), "Mode"),
    )
    try:
        chain = compile_chain(
            state.config.entries,
            name,
            datacenter,
            trust_domain=config.trust_domain if config is not None else "",
            overrides=overrides,
        )
    except ChainError as error:
        raise RpcError(str(error)) from None
    return max(state.config.index, state.connect.index, 1), {"Chain": chain_fields(chain)}


def _watch_one(body: Body) -> tuple[WatchKey, ...]:
    kind = text(body, "Kind")
    return (INTENTIONS,) if kind == SERVICE_INTENTIONS else (watched_entry(kind, text(body, "Name")),)


def _watch_kind(body: Body) -> tuple[WatchKey, ...]:
    match text(body, "Kind"):
        case "":
            return CONFIG_ENTRIES, INTENTIONS
        case kind:
            return (INTENTIONS if kind == SERVICE_INTENTIONS else CONFIG_ENTRIES,)


def _watch_chain(body: Body) -> tuple[WatchKey, ...]:
    del body
    return CONFIG_ENTRIES, CONNECT_CONFIG  # whose trust domain is part of each SNI


METHODS: Final[Mapping[str, Method]] = {
    "ConfigEntry.Apply": WriteMethod(_apply, _applied),
    "ConfigEntry.Delete": WriteMethod(_delete, _applied),
    "ConfigEntry.Get": ReadMethod(_watch_one, _get),
    "ConfigEntry.List": ReadMethod(_watch_kind, _list),
    "DiscoveryChain.Get": ReadMethod(_watch_chain, _chain),
}
