"""The state machine against an obvious model, against its own snapshots, and as every reader sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshnode.base.errors import LocalProtocolError
from meshnode.catalog import queries
from meshnode.catalog.coordinates import NodeCoordinate
from meshnode.catalog.model import Check, Node, Service, serf_check
from meshnode.catalog.store import Registration
from meshnode.control import watch
from meshnode.control.command import (
    Command,
    Deregister,
    KvAcquire,
    KvPut,
    Lead,
    ReapTombstones,
    Register,
    SessionCreate,
    SessionDestroy,
    Txn,
    UpdateCoordinates,
    parse_command,
    serialize_command,
)
from meshnode.control.machine import Refusal, StateMachine
from meshnode.control.watch import WatchKey, WatchTable
from meshnode.kv.sessions import Session
from meshnode.kv.txn import TxnOp, TxnOutcome
from tests.support.state_commands import KEYS, NODES, SERVICES, SESSIONS, commands
from tests.support.state_model import REFUSED, StateModel

#: Long ones, since it takes several commands that meet to make a lock, and one more to break it.
Histories = st.lists(commands, min_size=25, max_size=80)
thorough = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def replay(history: list[Command], machine: StateMachine | None = None) -> StateMachine:
    machine = machine or StateMachine()
    for command in history:
        machine.apply(machine.last_index + 1, command)
    return machine


def written(machine: StateMachine) -> bytes:
    return b"".join(machine.snapshot())


def restored(machine: StateMachine) -> StateMachine:
    copy = StateMachine()
    copy.restore(written(machine))
    return copy


# Against a model


def plain(result: object) -> object:
    """A result as the model tells it."""
    if isinstance(result, Refusal):
        assert result.because
        return REFUSED
    if isinstance(result, TxnOutcome):
        return REFUSED if result.errors else [*result.results]
    return result


@thorough
@given(Histories)
def test_random_commands_have_the_effect_that_an_obvious_model_gives_them(history: list[Command]) -> None:
    machine, model = StateMachine(), StateModel()
    for index, command in enumerate(history, 1):
        assert plain(machine.apply(index, command)) == model.apply(index, command), command
        assert {entry.key: entry for entry in machine.kv.in_order()} == model.entries
        assert {session.id: session for session in machine.sessions.every()[1]} == model.sessions
        dump = queries.dump(machine.catalog)[1]
        assert {d.node.name.lower(): d.node for d in dump} == model.nodes
        assert {(d.node.name.lower(), s.id): s for d in dump for s in d.services} == model.services
        assert {(d.node.name.lower(), c.check_id.lower()): c for d in dump for c in d.checks} == model.checks
        held = {
            session: sorted(k for k, e in model.entries.items() if e.session == session)
            for session in SESSIONS
        }
        assert {session: machine.kv.held_by(session) for session in SESSIONS} == held
        assert machine.epoch == model.epoch


# Against itself


@thorough
@given(Histories, st.data())
def test_a_restart_from_a_snapshot_at_any_point_changes_nothing(
    history: list[Command], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(history)))
    steady = replay(history[:cut])
    restarted = restored(steady)
    assert written(restarted) == written(steady)
    for command in history[cut:]:
        index = steady.last_index + 1
        assert restarted.apply(index, command) == steady.apply(index, command)
    assert written(restarted) == written(steady)
    for (_, read), (_, other) in zip(readers(steady), readers(restarted), strict=True):
        assert read() == other()


@thorough
@given(Histories)
def test_the_same_history_gives_the_same_bytes_also_by_way_of_the_log(history: list[Command]) -> None:
    parsed = [parse_command(serialize_command(command)) for command in history]
    assert parsed == history
    assert written(replay(parsed)) == written(replay(history)) == written(replay(history))


# As readers see it


def readers(machine: StateMachine) -> Iterator[tuple[list[WatchKey], Callable[[], tuple[int, Any]]]]:
    """Every kind of read, with the keys that its blocking form watches. Looks the stores up at each read."""

    def kv(call: str, *args: str) -> Callable[[], tuple[int, Any]]:
        return lambda: getattr(machine.kv, call)(*args)

    def sessions(call: str, *args: str) -> Callable[[], tuple[int, Any]]:
        return lambda: getattr(machine.sessions, call)(*args)

    def catalog(
        query: Callable[..., tuple[int, Any]], *args: Any, **more: Any
    ) -> Callable[[], tuple[int, Any]]:
        return lambda: query(machine.catalog, *args, **more)

    for key in [*KEYS, "missing"]:
        yield [watch.key(key)], kv("get", key)
        yield [watch.prefix(key)], kv("under", key)
    for prefix in ("", "a/b/", "none/"):
        yield [watch.prefix(prefix)], kv("under", prefix)
        yield [watch.prefix(prefix)], kv("keys_under", prefix, "/")
    yield [watch.SESSIONS], sessions("every")
    for session in SESSIONS:
        yield [watch.session(session)], sessions("get", session)
    meta = {"rack": "1"}
    yield [watch.NODES], catalog(queries.nodes)
    yield [watch.NODES], catalog(queries.nodes, meta)
    yield [watch.SERVICES], catalog(queries.services)
    yield [watch.SERVICES, watch.NODES], catalog(queries.services, meta)
    yield [watch.COORDINATES], catalog(queries.all_coordinates)
    for node in {name.lower() for name in NODES}:
        yield [watch.sessions_of(node)], sessions("of_node", node)
        yield [watch.node(node)], catalog(queries.node_services, node)
        yield [watch.node(node)], catalog(queries.node_checks, node)
        yield [watch.node(node)], catalog(queries.dump, node)
        yield [watch.coordinate(node)], catalog(queries.node_coordinates, node)
    for service in [*SERVICES, "proxy", "none"]:
        yield [watch.service(service)], catalog(queries.service_instances, service)
        yield [watch.service(service)], catalog(queries.service_instances, service, passing=True)
        yield [watch.service(service)], catalog(queries.service_instances, service, checks=False, tag="v1")
        yield [watch.service(service)], catalog(queries.service_checks, service)
        yield [watch.service(service)], catalog(queries.service_checks, service, meta)
        yield [watch.connect(service)], catalog(queries.connect_instances, service)
        yield [watch.connect(service)], catalog(queries.connect_instances, service, checks=False)
    for state in ("any", "passing", "warning", "critical"):
        yield [watch.check_state(state)], catalog(queries.checks_in_state, state)
        yield [watch.check_state(state), watch.NODES], catalog(queries.checks_in_state, state, meta)
    yield [watch.NODES, watch.SERVICES, watch.check_state("any")], catalog(queries.dump)


@thorough
@given(Histories)
def test_no_reader_sees_an_index_go_back_or_sleeps_through_a_change(history: list[Command]) -> None:
    machine, table = StateMachine(), WatchTable()
    waiting = {table.register(keys): (keys, read) for keys, read in readers(machine)}
    seen = {waiter: read() for waiter, (_, read) in waiting.items()}
    assert {index for index, _ in seen.values()} == {1}
    for index, command in enumerate(history, 2):
        machine.apply(index, command)
        woken = table.touched(machine.take_touched())
        for waiter, (keys, read) in waiting.items():
            before, answer = seen[waiter], read()
            assert before[0] <= answer[0] <= index, (keys, command)
            if answer[1] != before[1]:
                assert answer[0] > before[0], f"{keys}: changed without moving: {command}"
                assert waiter in woken, f"{keys}: left asleep: {command}"
            seen[waiter] = answer


@thorough
@given(Histories, st.integers(0, 50))
def test_reaping_takes_no_reader_back(history: list[Command], through: int) -> None:
    machine = replay(history)
    before = [read() for _, read in readers(machine)]
    replay([ReapTombstones(through)], machine)
    for (index, value), (_, read) in zip(before, readers(machine), strict=True):
        after = read()
        assert after[0] >= index
        assert after[1] == value


# Single rules


N1 = Register(Registration(Node("n1", "10.0.0.1"), Service("web"), (serf_check("n1", alive=True),)), 1.0)


def test_an_index_is_applied_once_and_in_order() -> None:
    machine = StateMachine()
    machine.apply(5, KvPut("a", b""))
    before = written(machine)
    for index in (5, 4):
        with pytest.raises(LocalProtocolError, match="applied already: the state is at 5"):
            machine.apply(index, KvPut("b", b""))
    assert written(machine) == before
    assert machine.apply(7, KvPut("b", b"")) is True
    assert machine.last_index == 7


LEADERS: list[Callable[[int], Command]] = [
    lambda epoch: SessionDestroy("s1", 1.0, epoch),
    lambda epoch: Register(N1.registration, 1.0, epoch),
    lambda epoch: Deregister("n1", "", "", 1.0, epoch),
    lambda epoch: UpdateCoordinates((NodeCoordinate("n1"),), epoch),
    lambda epoch: ReapTombstones(2, epoch),
    lambda epoch: Lead("old", epoch),
]


@pytest.mark.parametrize("command", LEADERS)
def test_a_stale_epoch_is_refused_and_changes_nothing_but_the_index(
    command: Callable[[int], Command],
) -> None:
    history = [N1, SessionCreate(Session("s1", "n1")), KvPut("a", b""), Lead("new", 5)]
    machine = replay(history)
    machine.take_touched()
    result = machine.apply(9, command(4))
    assert result == Refusal("leadership epoch 4 is over: the present one is 5")
    assert not machine.take_touched()
    other = replay(history)
    other.last_index = 9
    assert written(machine) == written(other)
    assert machine.apply(10, command(5)) is True


def test_a_newer_epoch_counts_from_then_on_and_none_is_never_stale() -> None:
    machine = replay([Lead("a", 3), ReapTombstones(0, 7)])
    assert (machine.epoch, machine.leader) == (7, "a")
    assert isinstance(machine.apply(3, Lead("b", 6)), Refusal)
    assert machine.apply(4, N1) is True
    assert restored(machine).epoch == 7


@dataclass
class Lock:
    """A machine where s1 on n1 (check serfHealth) holds the key ``k``; 15 s of lock delay."""

    machine: StateMachine

    def holder(self) -> str:
        entry = self.machine.kv.get("k")[1]
        assert entry is not None
        return entry.session

    def acquire(self, at: float) -> object:
        return self.machine.apply(self.machine.last_index + 1, KvAcquire("k", b"2", 0, "s2", at))


@pytest.fixture
def lock() -> Lock:
    other = Register(Registration(Node("n2", "10.0.0.2")), 1.0)
    sessions = [SessionCreate(Session("s1", "n1")), SessionCreate(Session("s2", "n2", checks=()))]
    return Lock(replay([N1, other, *sessions, KvAcquire("k", b"1", 0, "s1", 1.0)]))


DEATHS: list[Command] = [
    SessionDestroy("s1", 100.0),
    Register(Registration(Node("n1", "10.0.0.1"), None, (serf_check("n1", alive=False),)), 100.0),
    Deregister("n1", "", "serfHealth", 100.0),
    Deregister("n1", "", "", 100.0),
]


@pytest.mark.parametrize("death", DEATHS, ids=["destroyed", "check critical", "check gone", "node gone"])
def test_whatever_ends_a_session_frees_its_lock_after_the_delay(lock: Lock, death: Command) -> None:
    assert lock.holder() == "s1"
    assert lock.acquire(50.0) is False
    assert replay([death], lock.machine).sessions.get("s1")[1] is None
    assert lock.holder() == ""
    assert lock.acquire(114.9) is False
    late = Txn((TxnOp("lock", "k", session="s2"),), 114.9)
    outcome = lock.machine.apply(lock.machine.last_index + 1, late)
    assert isinstance(outcome, TxnOutcome)
    assert outcome.errors[0].what == 'failed to lock key "k" due to lock delay'
    assert lock.acquire(115.0) is True


def test_a_lock_delay_outlives_a_restart(lock: Lock) -> None:
    lock.machine = restored(replay([DEATHS[0]], lock.machine))
    assert lock.acquire(114.9) is False
    assert lock.acquire(115.0) is True


def test_a_check_that_a_session_does_not_name_ends_nothing(lock: Lock) -> None:
    extra = Registration(Node("n1", "10.0.0.1"), None, (Check("n1", "disk", status="critical"),))
    replay([Register(extra, 100.0)], lock.machine)
    assert lock.holder() == "s1"


@pytest.mark.parametrize(
    ("command", "because"),
    [
        (KvPut("", b""), "Must provide key"),
        (KvAcquire("k", b"", 0, "", 1.0), "missing session"),
        (KvAcquire("k", b"", 0, "s9", 1.0), 'invalid session "s9"'),
        (SessionCreate(Session("s3", "nowhere")), "Missing node registration"),
        (SessionCreate(Session("s3", "n1", checks=("x",))), "Missing check 'x' registration"),
        (Register(Registration(Node("")), 1.0), "Must provide node"),
        (Deregister("", "", "", 1.0), "Must provide node"),
    ],
)
def test_what_is_wrong_with_a_command_is_a_sentence_not_an_exception(
    lock: Lock, command: Command, because: str
) -> None:
    assert lock.machine.apply(99, command) == Refusal(because)


def test_results_are_what_the_commands_say(lock: Lock) -> None:
    machine = lock.machine
    assert machine.apply(20, SessionCreate(Session("New-ID", "N1"))) == "New-ID"
    assert machine.apply(21, SessionDestroy("nope", 1.0)) is True
    assert machine.apply(22, Deregister("nope", "", "", 1.0)) is True
    assert machine.apply(23, Txn((TxnOp("set", "t"),), 1.0)) == TxnOutcome((machine.kv.entries["t"],))


def test_tombstones_of_the_future_are_not_reaped() -> None:
    machine = replay([KvPut("a/b", b""), ReapTombstones(10**9)])
    assert machine.kv.graveyard.floor == 0
    assert machine.take_touched() == {("key", "a/b")}
    assert machine.take_touched() == frozenset()
