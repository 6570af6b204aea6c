"""Transactions: up to 64 operations on keys, all or none. Source: Consul 1.2.3, agent/consul/state/txn.go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from meshnode.kv.sessions import Sessions
from meshnode.kv.store import Entry, KvStore, RollbackError

__all__ = ["MAX_TXN_OPS", "READ_VERBS", "VERBS", "TxnError", "TxnOp", "TxnOutcome", "is_read_only", "run"]

#: Operations of one transaction. Source: Consul 1.2.3, agent/txn_endpoint.go.
MAX_TXN_OPS: Final = 64
#: The verbs that change nothing; a transaction of these needs no log entry.
READ_VERBS: Final = frozenset({"get", "get-tree", "check-index", "check-session", "check-not-exists"})
WRITE_VERBS: Final = frozenset({"set", "cas", "lock", "unlock", "delete", "delete-tree", "delete-cas"})
VERBS: Final = READ_VERBS | WRITE_VERBS


@dataclass(frozen=True, slots=True)
class TxnOp:
    """One operation; ``index`` is for cas, delete-cas and check-index, ``session`` for lock, unlock, check-session."""

    verb: str
    key: str
    value: bytes = b""
    flags: int = 0
    index: int = 0
    session: str = ""


@dataclass(frozen=True, slots=True)
class TxnError:
    """What went wrong with the operation at ``op_index`` (from 0)."""

    op_index: int
    what: str


@dataclass(frozen=True, slots=True)
class TxnOutcome:
    """Entries in the order of the operations (values only for get and get-tree), or every error and no change."""

    results: tuple[Entry, ...] = ()
    errors: tuple[TxnError, ...] = ()


def is_read_only(ops: Sequence[TxnOp]) -> bool:
    """Whether no operation can change anything."""
    return all(op.verb in READ_VERBS for op in ops)


def run(store: KvStore, sessions: Sessions, index: int, ops: Sequence[TxnOp], at: float) -> TxnOutcome:
    """Run ``ops`` in order; each sees what those before it did. With any error nothing is changed.

    ``index`` and ``at`` are not looked at when ``is_read_only(ops)``.
    """
    if len(ops) > MAX_TXN_OPS:
        what = f"Transaction contains too many operations ({len(ops)} > {MAX_TXN_OPS})"
        return TxnOutcome(errors=(TxnError(MAX_TXN_OPS, what),))
    refused = [TxnError(i, what) for i, op in enumerate(ops) if (what := _fault(sessions, op, at))]
    if refused:
        return TxnOutcome(errors=tuple(refused))
    results: list[Entry] = []
    errors: list[TxnError] = []
    with store.transaction():
        for i, op in enumerate(ops):
            done = _perform(store, sessions, index, op, at)
            if isinstance(done, str):
                errors.append(TxnError(i, done))
            else:
                results += done
        if errors:
            raise RollbackError
    return TxnOutcome(errors=tuple(errors)) if errors else TxnOutcome(tuple(results))


def _fault(sessions: Sessions, op: TxnOp, at: float) -> str:
    """What Consul's leader finds before anything is tried."""
    if not op.key and op.verb != "delete-tree":
        return "Must provide key"
    if op.verb == "lock" and sessions.delays.blocks(op.key, at):
        return f"failed to lock key {_quote(op.key)} due to lock delay"
    return ""


def _perform(store: KvStore, sessions: Sessions, index: int, op: TxnOp, at: float) -> list[Entry] | str:
    """The entries to show, or what went wrong."""
    if op.verb in READ_VERBS:
        return _read(store, op)
    entry: Entry | str | None = None
    match op.verb:
        case "set":
            entry = store.put(index, op.key, op.value, op.flags)
        case "cas":
            entry = store.cas(index, op.key, op.value, op.flags, op.index)
            entry = entry or f"failed to set key {_quote(op.key)}, index is stale"
        case "lock":
            entry = sessions.acquire(index, op.key, op.value, op.flags, op.session, at)
            entry = entry or f"failed to lock key {_quote(op.key)}, lock is already held"
        case "unlock":
            entry = sessions.release(index, op.key, op.value, op.flags, op.session)
            held = "lock isn't held, or is held by another session"
            entry = entry or f"failed to unlock key {_quote(op.key)}, {held}"
        case "delete":
            store.delete(index, op.key)
        case "delete-tree":
            store.delete_tree(index, op.key)
        case "delete-cas":
            if not store.delete_cas(index, op.key, op.index):
                entry = f"failed to delete key {_quote(op.key)}, index is stale"
        case _:
            entry = f"unknown KV verb {_quote(op.verb)}: use one of {', '.join(sorted(VERBS))}"
    if isinstance(entry, str):
        return entry
    return [replace(entry, value=b"")] if entry is not None else []


def _read(store: KvStore, op: TxnOp) -> list[Entry] | str:
    if op.verb == "get-tree":
        return store.under(op.key)[1]
    _, entry = store.get(op.key)
    if op.verb == "check-not-exists":
        return f"key {_quote(op.key)} exists" if entry is not None else []
    key = _quote(op.key)
    if op.verb == "get":
        return [entry] if entry is not None else f"key {key} doesn't exist"
    what = op.verb.removeprefix("check-")
    if entry is None:
        return f"failed to check {what}, key {key} doesn't exist"
    if op.verb == "check-session" and entry.session != op.session.lower():
        current = f"current session {_quote(entry.session)} != {_quote(op.session)}"
        return f"failed session check for key {key}, {current}"
    if op.verb == "check-index" and entry.modify_index != op.index:
        return f"failed index check for key {key}, current modify index {entry.modify_index} != {op.index}"
    return [replace(entry, value=b"")]


def _quote(text: str) -> str:
    return f'"{text}"'
