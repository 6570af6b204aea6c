"""``KVS.*``: reading and writing keys. Source: Consul 1.2.3, agent/consul/kvs_endpoint.go, agent/structs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, PermissionDeniedError, Resource, require
from meshnode.control import watch
from meshnode.control.body import Body, integer, mapping, octets, text
from meshnode.control.command import (
    Command,
    KvAcquire,
    KvCas,
    KvDelete,
    KvDeleteCas,
    KvDeleteTree,
    KvPut,
    KvRelease,
)
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.watch import WatchKey
from meshnode.kv.store import Entry
from meshnode.rpc.method import RpcError

__all__ = ["METHODS", "OPERATIONS", "entry_fields"]

#: ``Op`` of ``KVS.Apply``.
OPERATIONS: Final = ("set", "delete", "delete-cas", "delete-tree", "cas", "lock", "unlock")


def entry_fields(entry: Entry) -> dict[str, Any]:
    """An entry as Consul's ``DirEntry``; ``Value`` is bytes."""
    fields = {
        "LockIndex": entry.lock_index,
        "Key": entry.key,
        "Flags": entry.flags,
        "Value": entry.value,
        "CreateIndex": entry.create_index,
        "ModifyIndex": entry.modify_index,
    }
    if entry.session:
        fields["Session"] = entry.session
    return fields


def _get(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    key = text(body, "Key")
    require(authorizer, Resource.KEY, key, Access.READ)
    index, entry = state.kv.get(key)
    return index, {"Entries": [entry_fields(entry)] if entry is not None else []}


def _list(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    prefix = text(body, "Key")
    require(authorizer, Resource.KEY, prefix, Access.LIST)
    index, entries = state.kv.under(prefix)
    if not authorizer.unrestricted:
        entries = [entry for entry in entries if _readable(authorizer, entry.key)]
    return index, {"Entries": [entry_fields(entry) for entry in entries]}


def _list_keys(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    require(authorizer, Resource.KEY, text(body, "Prefix"), Access.LIST)
    # ``Seperator`` is how Consul's own struct spells it.
    index, keys = state.kv.keys_under(text(body, "Prefix"), text(body, "Seperator"))
    if not authorizer.unrestricted:
        keys = [key for key in keys if _readable(authorizer, key)]
    return index, {"Keys": keys}


def _readable(authorizer: Authorizer, key: str) -> bool:
    return authorizer.decide(Resource.KEY, key, Access.READ).allowed


def _apply(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    del state
    operation, entry = text(body, "Op"), mapping(body, "DirEnt")
    key, index = text(entry, "Key"), integer(entry, "ModifyIndex")
    if not key and operation != "delete-tree":
        raise RpcError("Must provide key")
    if operation == "delete-tree":
        decision = authorizer.decide_tree(key)
        if not decision.allowed:
            raise PermissionDeniedError(f"Permission denied: {decision.because}")
        return KvDeleteTree(key)
    require(authorizer, Resource.KEY, key, Access.WRITE)
    value, flags, session = octets(entry, "Value"), integer(entry, "Flags"), text(entry, "Session")
    match operation:
        case "set":
            return KvPut(key, value, flags)
        case "cas":
            return KvCas(key, value, flags, index)
        case "lock":
            return KvAcquire(key, value, flags, session, moment.at)
        case "unlock":
            return KvRelease(key, value, flags, session)
        case "delete":
            return KvDelete(key)
        case "delete-cas":
            return KvDeleteCas(key, index)
    raise RpcError(f"Op {operation!r} is not an operation on a key: use one of {', '.join(OPERATIONS)}")


def _applied(state: StateMachine, result: Result) -> bool:
    del state
    return bool(accepted(result))


def _key(body: Body) -> tuple[WatchKey, ...]:
    return (watch.key(text(body, "Key")),)


def _prefix(body: Body) -> tuple[WatchKey, ...]:
    return (watch.prefix(text(body, "Key")),)


def _listed_prefix(body: Body) -> tuple[WatchKey, ...]:
    return (watch.prefix(text(body, "Prefix")),)


METHODS: Final[Mapping[str, Method]] = {
    "KVS.Get": ReadMethod(_key, _get),
    "KVS.List": ReadMethod(_prefix, _list),
    "KVS.ListKeys": ReadMethod(_listed_prefix, _list_keys),
    "KVS.Apply": WriteMethod(_apply, _applied),
}
