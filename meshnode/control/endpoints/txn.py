"""``Txn.*``: several operations on keys, all or none. Source: Consul 1.2.3, agent/consul/txn_endpoint.go.

Differences from Consul 1.2.3: an operation that the caller may not do fails the whole call with ``Permission denied``
(Consul lists it among the errors of operations), also a ``get`` (Consul leaves out its result, and so tells whether the
key is there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Decision, PermissionDeniedError, Resource
from meshnode.control.body import (
    Body,
    integer,
    mapping,
    octets,
    rows,
    text,
)
from meshnode.control.command import Command, Txn
from meshnode.control.endpoints.kv import entry_fields
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.watch import WatchKey
from meshnode.kv.store import Entry
from meshnode.kv.txn import READ_VERBS, TxnError, TxnOp, TxnOutcome, is_read_only, run
from meshnode.rpc.method import RpcError

__all__ = ["METHODS", "READ_VERBS", "parse_operations"]


def parse_operations(body: Body) -> tuple[TxnOp, ...]:
    """``Ops``: a list of ``{"KV": {"Verb", "DirEnt"}}``. Raises :class:`RpcError`, which names the operation."""
    return tuple(_operation(number, fields) for number, fields in enumerate(rows(body, "Ops")))


def _operation(number: int, fields: Body) -> TxnOp:
    if fields.get("KV") is None:
        kinds = ", ".join(sorted(name for name, value in fields.items() if value is not None)) or "nothing"
        raise RpcError(
            f"operation {number} of the transaction is on {kinds}: only KV is known, as in Consul 1.2.3"
        )
    try:
        operation = mapping(fields, "KV")
        entry = mapping(operation, "DirEnt")
        return TxnOp(
            verb=text(operation, "Verb"),
            key=text(entry, "Key"),
            value=octets(entry, "Value"),
            flags=integer(entry, "Flags"),
            index=integer(entry, "ModifyIndex"),
            session=text(entry, "Session"),
        )
    except RpcError as error:
        raise RpcError(f"operation {number} of the transaction: {error}") from None


def _apply(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    del state
    operations = parse_operations(body)
    _vet(operations, authorizer)
    return Txn(operations, moment.at)


def _applied(state: StateMachine, result: Result) -> dict[str, Any]:
    del state
    outcome = accepted(result)
    assert isinstance(outcome, TxnOutcome)
    return _shown(outcome.results, outcome.errors)


def _read(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    operations = parse_operations(body)
    if not is_read_only(operations):
        raise RpcError("Transaction contains write operations: send it to Txn.Apply")
    _vet(operations, authorizer)
    outcome = run(state.kv, state.sessions, state.last_index, operations, at=0.0)
    results = outcome.results
    if not authorizer.unrestricted:
        results = tuple(entry for entry in results if _may(authorizer, entry.key, Access.READ).allowed)
    return max(state.last_index, 1), _shown(results, outcome.errors)


def _shown(results: Sequence[Entry], errors: Sequence[TxnError]) -> dict[str, Any]:
    return {
        "Results": [{"KV": entry_fields(entry)} for entry in results],
        "Errors": [{"OpIndex": error.op_index, "What": error.what} for error in errors],
    }


def _vet(operations: Sequence[TxnOp], authorizer: Authorizer) -> None:
    if authorizer.unrestricted:
        return
    for number, operation in enumerate(operations):
        decision = _decision(operation, authorizer)
        if decision is not None and not decision.allowed:
            what = f"{operation.verb} {operation.key!r}"
            raise PermissionDeniedError(f"Permission denied: operation {number}, {what}: {decision.because}")


def _decision(operation: TxnOp, authorizer: Authorizer) -> Decision | None:
    """``None``: what it shows is filtered."""
    match operation.verb:
        case "delete-tree":
            return authorizer.decide_tree(operation.key)
        case "get-tree":
            return None
    wanted = Access.READ if operation.verb in READ_VERBS else Access.WRITE
    return _may(authorizer, operation.key, wanted)


def _may(authorizer: Authorizer, key: str, access: Access) -> Decision:
    return authorizer.decide(Resource.KEY, key, access)


def _never(body: Body) -> tuple[WatchKey, ...]:
    del body
    return ()


METHODS: Final[Mapping[str, Method]] = {
    "Txn.Apply": WriteMethod(_apply, _applied),
    "Txn.Read": ReadMethod(_never, _read),
}
