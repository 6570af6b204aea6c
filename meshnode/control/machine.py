"""The replicated state: every server applies the same commands in the same order and has the same state after each.

The shell's part, in one step of the event loop for each entry of the log::

    results = [machine.apply(entry.index + i, parse_command(data)) for i, data in enumerate(entry.commands)]
    for waiter in watches.touched(machine.take_touched()):
        wake(waiter)

A read is a function of ``catalog.queries`` on ``machine.catalog``, or a method of ``machine.kv`` or
``machine.sessions``; each answers (index, value). A blocking read registers its watch keys first, reads, and waits
while its index isn't past the caller's. ``restore`` replaces the three stores, so nobody keeps them across steps.

No clock, no randomness: what depends on time depends on the ``at`` of commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from meshnode.acl.model import bootstrap_token
from meshnode.acl.store import AclStore
from meshnode.base.errors import LocalProtocolError, RemoteProtocolError
from meshnode.catalog.store import Catalog, Written
from meshnode.config_entries.store import ConfigEntryStore
from meshnode.connect.store import ConnectStore
from meshnode.control import snapshot
from meshnode.control.autopilot import AutopilotStore
from meshnode.control.command import (
    AclBootstrap,
    AclPolicyDelete,
    AclPolicySet,
    AclReapTokens,
    AclRoleDelete,
    AclRoleSet,
    AclTokenDelete,
    AclTokenSet,
    AutopilotSet,
    Command,
    ConfigEntryDelete,
    ConfigEntrySet,
    ConnectCaSet,
    ConnectReport,
    ConnectRevoke,
    Deregister,
    IntentionDelete,
    IntentionSet,
    IntentionsReplace,
    IntentionUpsert,
    KvAcquire,
    KvCas,
    KvDelete,
    KvDeleteCas,
    KvDeleteTree,
    KvPut,
    KvRelease,
    Lead,
    LeaderCommand,
    PrimaryRules,
    QueryDelete,
    QuerySet,
    ReapTombstones,
    Register,
    RestoreChunk,
    RestoreCommit,
    SessionCreate,
    SessionDestroy,
    Txn,
    UpdateCoordinates,
)
from meshnode.control.config_entry_state import apply_config_entry, apply_primary_rules
from meshnode.control.prepared.store import PreparedQueries
from meshnode.control.prepared.validate import query_fault
from meshnode.control.restoring import Restoring
from meshnode.control.watch import EVERYTHING, WatchKey
from meshnode.intentions.store import IntentionStore
from meshnode.intentions.validate import intention_fault
from meshnode.kv import txn
from meshnode.kv.sessions import Session, Sessions
from meshnode.kv.store import Entry, KvStore

__all__ = ["Refusal", "Result", "StateMachine"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The command changed nothing; ``because`` is a sentence for who sent it, Consul's where it has one."""

    because: str


#: Each command says in its docstring which it is.
Result: TypeAlias = bool | str | txn.TxnOutcome | Refusal

_NO_KEY: Final = Refusal("Must provide key")


class StateMachine:
    """The whole state. ``last_index`` is that of the last command; ``leader`` is the last ``Lead``'s node id.

    ``offset`` is what indexes here are past those of the log: a state that was restored from another cluster's
    snapshot goes on from its indexes, so that none is ever given twice.
    """

    def __init__(self) -> None:
        self.last_index = 0
        self.offset = 0
        self._restoring = Restoring()
        self.epoch = 0
        self.leader = ""
        self._touched: Final[set[WatchKey]] = set()
        self.catalog = Catalog(self._touched)
        self.kv = KvStore(self._touched)
        self.sessions = Sessions(self.kv, self._touched)
        self.acl = AclStore(self._touched)
        self.queries = PreparedQueries(self._touched)
        self.autopilot = AutopilotStore(self._touched)
        self.connect = ConnectStore(self._touched)
        self.intentions = IntentionStore(self._touched)
        self.config = ConfigEntryStore(self._touched)

    def apply(self, index: int, command: Command) -> Result:
        """Carry out the command that the log has at ``index``; whatever is wrong with it ends in a ``Refusal``.

        The index that the state gives it is ``index + offset``.

        Raises :class:`LocalProtocolError`, with nothing changed, when ``index`` isn't past ``last_index``.
        """
        index += self.offset
        if index <= self.last_index:
            raise LocalProtocolError(f"index {index} is applied already: the state is at {self.last_index}")
        self.last_index = index
        match command:
            case KvPut() | KvCas() | KvAcquire() | KvRelease() | KvDelete() | KvDeleteCas() | KvDeleteTree():
                return self._apply_kv(index, command)
            case Txn(ops, at):
                return txn.run(self.kv, self.sessions, index, ops, at)
            case SessionCreate(session):
                return self._create_session(index, session)
            case QuerySet() | QueryDelete():
                return self._apply_query(index, command)
            case IntentionSet() | IntentionUpsert() | IntentionDelete():
                return self._apply_intention(index, command)
            case ConfigEntrySet() | ConfigEntryDelete() | IntentionsReplace():
                done = apply_config_entry(self.config, self.intentions, index, command)
                return Refusal(done) if isinstance(done, str) else done
            case AclBootstrap() | AclTokenSet() | AclTokenDelete() | AclPolicySet() | AclPolicyDelete():
                return self._apply_acl(index, command)
            case AclRoleSet() | AclRoleDelete():
                return self._apply_acl(index, command)
            case ConnectReport() | ConnectRevoke():
                return self._apply_connect(index, command)
        return self._apply_leaders(index, command)

    def _apply_leaders(self, index: int, command: LeaderCommand) -> Result:
        """A command that may carry an epoch: nothing happens when that is over."""
        if 0 < command.epoch < self.epoch:
            return Refusal(f"leadership epoch {command.epoch} is over: the present one is {self.epoch}")
        self.epoch = max(self.epoch, command.epoch)
        match command:
            case Register(registration, at):
                return self._written(index, self.catalog.register(index, registration), at)
            case Deregister(node, service_id, check_id, at):
                return self._written(index, self.catalog.deregister(index, node, service_id, check_id), at)
            case SessionDestroy(session_id, at):
                self.sessions.destroy(index, session_id, at)
                self._end_queries(index)
            case UpdateCoordinates(coordinates):
                self.catalog.update_coordinates(index, coordinates)
            case ReapTombstones(through):
                self.kv.graveyard.reap(min(through, index))
            case AclReapTokens(at):
                self.acl.reap_tokens(index, at)
            case RestoreChunk(restore_id, position, data):
                self._restoring.add(restore_id, position, data)
            case RestoreCommit(restore_id, chunks):
                return self._become(index, self._restoring.take(restore_id, chunks))
            case AutopilotSet(config, expected):
                return self.autopilot.set(index, config, expected)
            case ConnectCaSet(ca, expected):
                return self.connect.set(index, ca, expected)
            case PrimaryRules():
                fault = apply_primary_rules(self.config, self.intentions, index, command)
                return Refusal(fault) if fault else True
            case Lead(node_id):
                self.leader = node_id
                self._restoring.clear()
            case _:
                assert_never(command)
        return True

    @property
    def is_restoring(self) -> bool:
        """Whether pieces of a snapshot have come and their end hasn't: no snapshot may be taken meanwhile."""
        return bool(self._restoring)

    def _become(self, index: int, data: bytes | None) -> bool | Refusal:
        """Take over the state of another snapshot, and its indexes where they are past ours."""
        if data is None:
            return Refusal("the snapshot didn't arrive whole")
        mine = self.epoch, self.leader, self.offset
        try:
            self.restore(data)
        except RemoteProtocolError as error:
            return Refusal(str(error))
        ahead = max(0, self.last_index - index)
        self.epoch, self.leader, offset = mine
        self.offset, self.last_index = offset + ahead, index + ahead
        return True

    def take_touched(self) -> frozenset[WatchKey]:
        """The watch keys touched since the last call; see ``WatchTable.touched``."""
        touched = frozenset(self._touched)
        self._touched.clear()
        return touched

    def snapshot(self) -> Iterator[bytes]:
        """The state as chunks, to be joined. Taken at once; the chunks are made as they are asked for, later or in
        another thread, whatever is applied meanwhile. Equal states give equal bytes."""
        return snapshot.chunks(
            snapshot.capture(
                self.catalog,
                self.kv,
                self.sessions,
                self.last_index,
                self.epoch,
                self.leader,
                offset=self.offset,
                acl=self.acl,
                queries=self.queries,
                autopilot=self.autopilot,
                connect=self.connect,
                intentions=self.intentions,
                config=self.config,
            )
        )

    def restore(self, data: bytes) -> None:
        """Become the state of a snapshot, its chunks joined. Raises :class:`RemoteProtocolError`, with nothing
        changed, when it isn't one. Touches ``EVERYTHING``."""
        touched: set[WatchKey] = self._touched
        catalog, kv = Catalog(touched), KvStore(touched)
        sessions = Sessions(kv, touched)
        acl, queries, autopilot = AclStore(touched), PreparedQueries(touched), AutopilotStore(touched)
        connect, intentions = ConnectStore(touched), IntentionStore(touched)
        config = ConfigEntryStore(touched)
        self.last_index, self.epoch, self.leader, self.offset = snapshot.load(
            data,
            catalog,
            kv,
            sessions,
            acl=acl,
            queries=queries,
            autopilot=autopilot,
            connect=connect,
            intentions=intentions,
            config=config,
        )
        self.catalog, self.kv, self.sessions, self.acl = catalog, kv, sessions, acl
        self.queries, self.autopilot, self.connect = queries, autopilot, connect
        self.intentions, self.config = intentions, config
        touched.add(EVERYTHING)

    def _apply_kv(
        self,
        index: int,
        command: KvPut | KvCas | KvAcquire | KvRelease | KvDelete | KvDeleteCas | KvDeleteTree,
    ) -> bool | Refusal:
        kv = self.kv
        if isinstance(command, KvDeleteTree):
            kv.delete_tree(index, command.prefix)
            return True
        if not command.key:
            return _NO_KEY
        match command:
            case KvPut(key, value, flags):
                kv.put(index, key, value, flags)
                return True
            case KvCas(key, value, flags, expected):
                return kv.cas(index, key, value, flags, expected) is not None
            case KvAcquire(key, value, flags, session, at):
                return _locked(self.sessions.acquire(index, key, value, flags, session, at))
            case KvRelease(key, value, flags, session):
                return _locked(self.sessions.release(index, key, value, flags, session))
            case KvDelete(key):
                kv.delete(index, key)
                return True
            case KvDeleteCas(key, expected):
                return kv.delete_cas(index, key, expected)

    def _apply_acl(
        self,
        index: int,
        command: AclBootstrap
        | AclTokenSet
        | AclTokenDelete
        | AclPolicySet
        | AclPolicyDelete
        | AclRoleSet
        | AclRoleDelete,
    ) -> bool | str | Refusal:
        acl = self.acl
        done: bool | str = True
        match command:
            case AclBootstrap(accessor_id, secret_id, at, reset_index):
                fault, done = (
                    acl.bootstrap(index, bootstrap_token(accessor_id, secret_id, at), reset_index),
                    accessor_id,
                )
            case AclTokenSet(token, create):
                fault, done = acl.set_token(index, token, create=create), token.accessor_id
            case AclTokenDelete(accessor_id):
                fault = acl.delete_token(index, accessor_id)
            case AclPolicySet(policy, create):
                fault, done = acl.set_policy(index, policy, create=create), policy.id
            case AclPolicyDelete(policy_id):
                fault = acl.delete_policy(index, policy_id)
            case AclRoleSet(role, create):
                fault, done = acl.set_role(index, role, create=create), role.id
            case AclRoleDelete(role_id):
                fault = acl.delete_role(index, role_id)
        return Refusal(fault) if fault else done

    def _apply_query(self, index: int, command: QuerySet | QueryDelete) -> str | Refusal:
        if isinstance(command, QueryDelete):
            self.queries.delete(index, command.query_id)
            return command.query_id
        query = command.query
        fault = query_fault(query) or self.queries.put(
            index, query, create=command.create, session_exists=self._session_exists
        )
        return Refusal(fault) if fault else query.id

    def _apply_intention(
        self, index: int, command: IntentionSet | IntentionUpsert | IntentionDelete
    ) -> str | Refusal:
        if isinstance(command, IntentionDelete):
            self.intentions.delete(index, command.intention_id)
            return command.intention_id
        intention = command.intention
        if fault := intention_fault(intention):
            return Refusal(fault)
        if isinstance(command, IntentionUpsert):
            return self.intentions.upsert(index, intention)
        fault = self.intentions.put(index, intention, create=command.create)
        return Refusal(fault) if fault else intention.id

    def _apply_connect(self, index: int, command: ConnectReport | ConnectRevoke) -> bool | Refusal:
        if isinstance(command, ConnectReport):
            self.connect.report(index, command.trust)
            return True
        fault = self.connect.revoke(index, command.revoked)
        return Refusal(fault) if fault else True

    def _session_exists(self, session_id: str) -> bool:
        return self.sessions.get(session_id)[1] is not None

    def _end_queries(self, index: int) -> None:
        """Prepared queries end with their session, however it ended."""
        if self.sessions.index == index:
            self.queries.end_of_sessions(index, self._session_exists)

    def _create_session(self, index: int, session: Session) -> str | Refusal:
        row = self.catalog.tables.nodes.get(session.node.lower())

        def status_of(check_id: str) -> str | None:
            check = row.checks.get(check_id.lower()) if row is not None else None
            return check.status if check is not None else None

        fault = self.sessions.create(index, session, node_exists=row is not None, status_of=status_of)
        return Refusal(fault) if fault else session.id

    def _written(self, index: int, written: Written, at: float) -> bool | Refusal:
        if written.fault:
            return Refusal(written.fault)
        self.sessions.end_of_checks(index, written.lost_checks, at)
        self.sessions.end_of_nodes(index, written.lost_nodes, at)
        self.connect.end_of_nodes(index, written.lost_nodes)
        self._end_queries(index)
        return True


def _locked(outcome: Entry | str | None) -> bool | Refusal:
    return Refusal(outcome) if isinstance(outcome, str) else outcome is not None
