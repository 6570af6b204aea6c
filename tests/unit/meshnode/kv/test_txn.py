"""Transactions: each verb going well and badly, all or nothing, operations that see each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshnode.kv.sessions import Session, Sessions
from meshnode.kv.store import Entry, KvStore
from meshnode.kv.txn import MAX_TXN_OPS, VERBS, TxnError, TxnOp, TxnOutcome, is_read_only, run

A = Entry("a", b"1", 5, 0, "", 1, 1)
LOCKED = Entry("l", b"2", 6, 1, "s1", 2, 2)


class Bench:
    def __init__(self) -> None:
        self.kv = KvStore(set())
        self.sessions = Sessions(self.kv, set())
        for session in ("s1", "s2"):
            self.sessions.load(Session(session, "n", checks=()))
        self.kv.load([A, LOCKED])
        self.kv.index = 2

    def run(self, *ops: TxnOp, at: float = 0.0) -> TxnOutcome:
        return run(self.kv, self.sessions, 9, ops, at)

    def state(self) -> object:
        yard = self.kv.graveyard
        return list(self.kv.in_order()), self.kv.index, dict(yard.stones), dict(yard.trees)


@pytest.fixture
def bench() -> Bench:
    return Bench()


NEW = Entry("a", b"", 8, 0, "", 1, 9)
GOOD: list[tuple[TxnOp, list[Entry]]] = [
    (TxnOp("set", "a", b"x", 8), [NEW]),
    (TxnOp("set", "new", b"x"), [Entry("new", b"", 0, 0, "", 9, 9)]),
    (TxnOp("cas", "a", b"x", 8, index=1), [NEW]),
    (TxnOp("cas", "new", b"x", index=0), [Entry("new", b"", 0, 0, "", 9, 9)]),
    (TxnOp("lock", "a", b"x", 8, session="s2"), [replace(NEW, lock_index=1, session="s2")]),
    (TxnOp("lock", "l", b"x", session="S1"), [Entry("l", b"", 0, 1, "s1", 2, 9)]),
    (TxnOp("unlock", "l", b"x", session="s1"), [Entry("l", b"", 0, 1, "", 2, 9)]),
    (TxnOp("get", "a"), [A]),
    (TxnOp("get-tree", "a"), [A]),
    (TxnOp("get-tree", "none"), []),
    (TxnOp("check-index", "a", index=1), [replace(A, value=b"")]),
    (TxnOp("check-session", "l", session="S1"), [replace(LOCKED, value=b"")]),
    (TxnOp("check-session", "a", session=""), [replace(A, value=b"")]),
    (TxnOp("check-not-exists", "new"), []),
    (TxnOp("delete", "a"), []),
    (TxnOp("delete", "none"), []),
    (TxnOp("delete-tree", ""), []),
    (TxnOp("delete-cas", "a", index=1), []),
    (TxnOp("delete-cas", "none", index=7), []),
]
BAD: list[tuple[TxnOp, str]] = [
    (TxnOp("cas", "a", b"x", index=2), 'failed to set key "a", index is stale'),
    (TxnOp("cas", "a", b"x", index=0), 'failed to set key "a", index is stale'),
    (TxnOp("lock", "l", b"x", session="s2"), 'failed to lock key "l", lock is already held'),
    (TxnOp("lock", "l", b"x", session="s9"), 'invalid session "s9"'),
    (TxnOp("lock", "l", b"x"), "missing session"),
    (
        TxnOp("unlock", "l", b"x", session="s2"),
        'failed to unlock key "l", lock isn\'t held, or is held by another session',
    ),
    (TxnOp("unlock", "l", b"x"), "missing session"),
    (TxnOp("get", "none"), 'key "none" doesn\'t exist'),
    (TxnOp("check-index", "none", index=1), 'failed to check index, key "none" doesn\'t exist'),
    (TxnOp("check-index", "a", index=3), 'failed index check for key "a", current modify index 1 != 3'),
    (TxnOp("check-session", "none"), 'failed to check session, key "none" doesn\'t exist'),
    (
        TxnOp("check-session", "l", session="s2"),
        'failed session check for key "l", current session "s1" != "s2"',
    ),
    (TxnOp("check-not-exists", "a"), 'key "a" exists'),
    (TxnOp("delete-cas", "a", index=9), 'failed to delete key "a", index is stale'),
    (TxnOp("set", ""), "Must provide key"),
    (TxnOp("get-tree", ""), "Must provide key"),
]


@pytest.mark.parametrize(("op", "results"), GOOD, ids=lambda v: v.verb if isinstance(v, TxnOp) else "")
def test_a_verb_that_goes_well_shows_its_entry_and_a_value_only_for_reads(
    bench: Bench, op: TxnOp, results: list[Entry]
) -> None:
    assert bench.run(op) == TxnOutcome(tuple(results))


@pytest.mark.parametrize(("op", "what"), BAD, ids=lambda v: v.verb if isinstance(v, TxnOp) else "")
def test_a_verb_that_fails_says_why_and_takes_everything_back(bench: Bench, op: TxnOp, what: str) -> None:
    before = bench.state()
    outcome = bench.run(TxnOp("set", "first"), op, TxnOp("set", "last"))
    assert outcome == TxnOutcome(errors=(TxnError(1, what),))
    assert bench.state() == Bench().state() == before


def test_every_verb_is_tried_both_ways_where_it_can_fail() -> None:
    assert {op.verb for op, _ in GOOD} == VERBS
    assert {op.verb for op, _ in BAD} >= VERBS - {"delete", "delete-tree"}


def test_an_unknown_verb_is_an_error_of_its_operation(bench: Bench) -> None:
    outcome = bench.run(TxnOp("get", "a"), TxnOp("frob", "a"))
    assert [error.op_index for error in outcome.errors] == [1]
    assert outcome.errors[0].what.startswith('unknown KV verb "frob"')


def test_operations_see_what_those_before_them_did(bench: Bench) -> None:
    outcome = bench.run(
        TxnOp("delete", "a"),
        TxnOp("check-not-exists", "a"),
        TxnOp("lock", "a", b"x", session="s2"),
        TxnOp("check-session", "a", session="s2"),
        TxnOp("get", "a"),
    )
    assert outcome.errors == ()
    assert outcome.results[-1] == Entry("a", b"x", 0, 1, "s2", 9, 9)


def test_every_error_is_told_not_only_the_first(bench: Bench) -> None:
    before = bench.state()
    outcome = bench.run(TxnOp("get", "none"), TxnOp("set", "a", b"x"), TxnOp("cas", "l", index=0))
    assert [error.op_index for error in outcome.errors] == [0, 2]
    assert outcome.results == ()
    assert bench.state() == before


def test_a_lock_delay_stops_the_transaction_before_anything_is_tried(bench: Bench) -> None:
    bench.sessions.delays.add("a", 10.0)
    ops = (TxnOp("get", "none"), TxnOp("lock", "a", session="s2"))
    assert bench.run(*ops, at=9.0).errors == (TxnError(1, 'failed to lock key "a" due to lock delay'),)
    assert [error.op_index for error in bench.run(*ops, at=10.0).errors] == [0]


def test_sixty_four_operations_are_taken_and_one_more_is_not(bench: Bench) -> None:
    ops = [TxnOp("set", f"k{i}") for i in range(MAX_TXN_OPS + 1)]
    assert bench.run(*ops).errors[0].what == "Transaction contains too many operations (65 > 64)"
    assert "k0" not in bench.kv.entries
    assert len(bench.run(*ops[:-1]).results) == 64


def test_an_empty_transaction_does_nothing(bench: Bench) -> None:
    assert bench.run() == TxnOutcome()


def test_only_gets_and_checks_are_read_only() -> None:
    assert {verb for verb in VERBS if is_read_only([TxnOp(verb, "k")])} == {
        "get",
        "get-tree",
        "check-index",
        "check-session",
        "check-not-exists",
    }
    assert not is_read_only([TxnOp("get", "k"), TxnOp("set", "k")])
