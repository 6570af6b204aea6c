"""The replicated state as a beginner would write it: dictionaries and loops over everything, no index, no cleverness.

For comparison with ``control.machine``: the same commands must give the same results and the same state. Names in the
commands that it is given differ only in what the tests make them differ; ids are lower case.
"""

from __future__ import annotations

import copy
from dataclasses import replace

from meshnode.catalog.model import CRITICAL, Check, Node, Service
from meshnode.control.command import (
    Command,
    Deregister,
    KvAcquire,
    KvCas,
    KvDelete,
    KvDeleteCas,
    KvDeleteTree,
    KvPut,
    KvRelease,
    Lead,
    ReapTombstones,
    Register,
    SessionCreate,
    SessionDestroy,
    Txn,
    UpdateCoordinates,
)
from meshnode.kv.sessions import Session
from meshnode.kv.store import Entry
from meshnode.kv.txn import TxnOp

__all__ = ["REFUSED", "StateModel"]

#: The model doesn't know the sentences.
REFUSED = "refused"


class StateModel:
    """Everything by its name."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.sessions: dict[str, Session] = {}
        self.delays: dict[str, float] = {}
        self.nodes: dict[str, Node] = {}
        self.services: dict[tuple[str, str], Service] = {}
        self.checks: dict[tuple[str, str], Check] = {}
        self.epoch = 0

    def apply(self, index: int, command: Command) -> object:
        """True, false, a session id, a list of (entry without value) or ``REFUSED``."""
        epoch = getattr(command, "epoch", 0)
        if 0 < epoch < self.epoch:
            return REFUSED
        self.epoch = max(epoch, self.epoch)
        match command:
            case KvPut() | KvCas() | KvAcquire() | KvRelease() | KvDelete() | KvDeleteCas():
                return self._kv(index, command) if command.key else REFUSED
            case KvDeleteTree(prefix):
                self._delete([key for key in self.entries if key.startswith(prefix)])
            case Txn(ops, at):
                return self._txn(index, ops, at)
            case SessionCreate(session):
                return self._create(index, session)
            case SessionDestroy(session_id, at):
                self._end([session_id], index, at)
            case Register():
                return self._register(index, command)
            case Deregister():
                self._deregister(index, command)
            case UpdateCoordinates() | ReapTombstones() | Lead():
                pass
        return True

    # Keys

    def _kv(self, index: int, command: Command) -> object:
        old = self.entries.get(getattr(command, "key", ""))
        match command:
            case KvPut(key, value, flags):
                self._put(index, key, value, flags)
                return True
            case KvCas(key, value, flags, expected):
                if expected != (old.modify_index if old else 0):
                    return False
                self._put(index, key, value, flags)
                return True
            case KvAcquire(key, value, flags, session, at):
                if session not in self.sessions:
                    return REFUSED
                if self.delays.get(key, at) > at or (old and old.session not in {"", session}):
                    return False
                count = old.lock_index if old else 0
                again = old is not None and old.session == session
                self._put(index, key, value, flags)
                entry = self.entries[key]
                self.entries[key] = replace(entry, session=session, lock_index=count + (not again))
                return True
            case KvRelease(key, value, flags, session):
                if not session:
                    return REFUSED
                if old is None or old.session != session:
                    return False
                self._put(index, key, value, flags)
                self.entries[key] = replace(self.entries[key], session="")
                return True
            case KvDelete(key):
                self._delete([key])
                return True
            case KvDeleteCas(key, expected):
                if old is not None and old.modify_index != expected:
                    return False
                self._delete([key])
                return True
        raise AssertionError(command)

    def _put(self, index: int, key: str, value: bytes, flags: int) -> None:
        old = self.entries.get(key, Entry(key, b"", create_index=index))
        self.entries[key] = replace(old, value=value, flags=flags, modify_index=index)

    def _delete(self, keys: list[str]) -> None:
        for key in keys:
            self.entries.pop(key, None)

    def _txn(self, index: int, ops: tuple[TxnOp, ...], at: float) -> object:
        before = copy.copy(self.entries)
        shown: list[Entry] = []
        for op in ops:
            if not self._op(index, op, at, shown):
                self.entries = before
                return REFUSED
        return shown

    def _op(self, index: int, op: TxnOp, at: float, shown: list[Entry]) -> bool:
        if not op.key and op.verb != "delete-tree":
            return False
        old = self.entries.get(op.key)
        equal = {
            "get": old is not None,
            "check-index": old is not None and old.modify_index == op.index,
            "check-session": old is not None and old.session == op.session,
            "check-not-exists": old is None,
            "get-tree": True,
            "delete-tree": True,
        }
        if op.verb in equal:
            if op.verb == "delete-tree":
                self._delete([key for key in self.entries if key.startswith(op.key)])
            elif op.verb == "get-tree":
                shown += [self.entries[key] for key in sorted(self.entries) if key.startswith(op.key)]
            elif equal[op.verb] and old is not None:
                shown.append(old if op.verb == "get" else replace(old, value=b""))
            return equal[op.verb]
        commands: dict[str, Command] = {
            "set": KvPut(op.key, op.value, op.flags),
            "cas": KvCas(op.key, op.value, op.flags, op.index),
            "lock": KvAcquire(op.key, op.value, op.flags, op.session, at),
            "unlock": KvRelease(op.key, op.value, op.flags, op.session),
            "delete": KvDelete(op.key),
            "delete-cas": KvDeleteCas(op.key, op.index),
        }
        if self._kv(index, commands[op.verb]) is not True:
            return False
        if not op.verb.startswith("delete"):
            shown.append(replace(self.entries[op.key], value=b""))
        return True

    # Sessions

    def _create(self, index: int, session: Session) -> object:
        known = {
            check_id: check for (node, check_id), check in self.checks.items() if node == session.node.lower()
        }
        healthy = all(
            check.lower() in known and known[check.lower()].status != CRITICAL for check in session.checks
        )
        if session.node.lower() not in self.nodes or not healthy or session.id in self.sessions:
            return REFUSED
        self.sessions[session.id] = replace(session, create_index=index, modify_index=index)
        return session.id

    def _end(self, ids: list[str], index: int, at: float) -> None:
        for session in [self.sessions.pop(one) for one in ids if one in self.sessions]:
            for key in [key for key, entry in self.entries.items() if entry.session == session.id]:
                if session.behavior == "delete":
                    del self.entries[key]
                else:
                    self.entries[key] = replace(self.entries[key], session="", modify_index=index)
                if session.lock_delay > 0:
                    self.delays[key] = at + session.lock_delay

    def _end_unhealthy(self, index: int, at: float) -> None:
        for session in list(self.sessions.values()):
            checks = [self.checks.get((session.node.lower(), check.lower())) for check in session.checks]
            if any(check is None or check.status == CRITICAL for check in checks):
                self._end([session.id], index, at)

    # Catalog

    def _register(self, index: int, command: Register) -> object:
        wanted, at = command.registration, command.at
        node, key = wanted.node, wanted.node.name.lower()
        holder = self.nodes.get(key)
        node = replace(node, id=node.id or (holder.id if holder else ""))
        update = holder is None or not (wanted.skip_node_update or holder.same_as(node))
        same_id = [name for name, other in self.nodes.items() if node.id and other.id == node.id]
        renamed = [name for name in same_id if self.nodes[name].name != node.name] if update else []
        if update and holder is not None and node.id and holder.id != node.id and (holder.id or same_id):
            return REFUSED
        on_node = {service_id for name, service_id in self.services if name == key and name not in renamed}
        on_node |= {wanted.service.id} if wanted.service else set()
        if any(check.service_id and check.service_id not in on_node for check in wanted.checks):
            return REFUSED
        if update:
            first = self.nodes[renamed[0]] if renamed else holder
            for name in renamed:
                self._drop_node(name, index, at)
            created = first.create_index if first else index
            self.nodes[key] = replace(node, create_index=created, modify_index=index)
        if wanted.service is not None:
            self._put_service(index, key, wanted.service)
        for check in wanted.checks:
            self._put_check(index, key, check)
        self._end_unhealthy(index, at)
        return True

    def _put_service(self, index: int, node: str, service: Service) -> None:
        old = self.services.get((node, service.id))
        if old is not None and old.same_as(service):
            return
        created = old.create_index if old else index
        self.services[node, service.id] = replace(service, create_index=created, modify_index=index)
        for (name, _), check in list(self.checks.items()):
            if name == node and check.service_id == service.id:
                self._put_check(index, node, check)

    def _put_check(self, index: int, node: str, check: Check) -> None:
        if check.service_id:
            service = self.services[node, check.service_id]
            check = replace(check, service_name=service.name, service_tags=service.tags)
        old = self.checks.get((node, check.check_id.lower()))
        if old is None or not old.same_as(check):
            created = old.create_index if old else index
            self.checks[node, check.check_id.lower()] = replace(
                check, create_index=created, modify_index=index
            )

    def _deregister(self, index: int, command: Deregister) -> None:
        node = command.node.lower()
        if command.service_id:
            if self.services.pop((node, command.service_id), None) is not None:
                self.checks = {
                    key: check
                    for key, check in self.checks.items()
                    if not (key[0] == node and check.service_id == command.service_id)
                }
        elif command.check_id:
            self.checks.pop((node, command.check_id.lower()), None)
        else:
            self._drop_node(node, index, command.at)
        self._end_unhealthy(index, command.at)

    def _drop_node(self, name: str, index: int, at: float) -> None:
        self.nodes.pop(name, None)
        self.services = {key: service for key, service in self.services.items() if key[0] != name}
        self.checks = {key: check for key, check in self.checks.items() if key[0] != name}
        self._end([s.id for s in self.sessions.values() if s.node.lower() == name], index, at)
