"""Sessions: what may be created, what ends them, what becomes of their keys, and the lock delay after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from meshnode.kv.sessions import MAX_LOCK_DELAY, LockDelays, Session, Sessions, session_fault
from meshnode.kv.store import KvStore, WatchKey

S1 = Session("S-1", "Node", checks=("serfHealth", "web"))
PASSING = {"serfhealth": "passing", "web": "warning"}


class Bench:
    def __init__(self) -> None:
        self.touched: set[WatchKey] = set()
        self.kv = KvStore(self.touched)
        self.sessions = Sessions(self.kv, self.touched)
        self.index = 0

    def create(self, session: Session, checks: Mapping[str, str] = PASSING, *, node: bool = True) -> str:
        self.index += 1
        return self.sessions.create(
            self.index, session, node_exists=node, status_of=lambda check: checks.get(check.lower())
        )

    def lock(self, key: str, session: str, at: float = 0.0) -> bool | str:
        self.index += 1
        outcome = self.sessions.acquire(self.index, key, b"v", 7, session, at)
        return outcome if isinstance(outcome, str) else outcome is not None


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    assert bench.create(S1) == ""
    return bench


# Creating


def test_a_new_session_has_its_index_and_is_found_every_way(bench: Bench) -> None:
    stored = replace(S1, create_index=1, modify_index=1)
    assert bench.sessions.get("s-1") == (1, stored)
    assert bench.sessions.every() == (1, [stored])
    assert bench.sessions.of_node("NODE") == (1, [stored])
    assert bench.touched == {("sessions",), ("session", "s-1"), ("sessions-of", "node")}


def test_without_sessions_the_index_is_one() -> None:
    sessions = Bench().sessions
    assert (sessions.get("x"), sessions.every(), sessions.of_node("n")) == ((1, None), (1, []), (1, []))


@pytest.mark.parametrize(
    ("session", "checks", "node", "fault"),
    [
        (replace(S1, id="S-2"), PASSING, False, "Missing node registration"),
        (replace(S1, id="S-2"), {"web": "passing"}, True, "Missing check 'serfHealth' registration"),
        (replace(S1, id="S-2"), PASSING | {"web": "critical"}, True, "Check 'web' is in critical state"),
        (replace(S1, id="s-1"), PASSING, True, "Session ID 's-1' is in use"),
        (replace(S1, id=""), PASSING, True, "Missing session ID"),
        (replace(S1, id="S-2", behavior="keep"), PASSING, True, "Invalid Behavior setting 'keep'"),
        (replace(S1, id="S-2", ttl="1 s"), PASSING, True, "Session TTL '1 s' invalid: "),
    ],
)
def test_a_session_that_can_not_be_is_refused_and_changes_nothing(
    bench: Bench, session: Session, checks: dict[str, str], node: bool, fault: str
) -> None:
    assert bench.create(session, checks, node=node).startswith(fault)
    assert bench.sessions.every()[0] == 1
    assert len(bench.sessions.every()[1]) == 1


@pytest.mark.parametrize(
    ("ttl", "minimum", "refused"),
    [
        ("", 10.0, False),
        ("0s", 10.0, False),
        ("10s", 10.0, False),
        ("9.999s", 10.0, True),
        ("24h", 10.0, False),
        ("24h1s", 10.0, True),
        ("2s", 1.0, False),
        ("-10s", 0.0, True),
    ],
)
def test_a_ttl_is_between_its_bounds(ttl: str, minimum: float, refused: bool) -> None:
    fault = session_fault(replace(S1, ttl=ttl), minimum)
    assert bool(fault) is refused
    if refused:
        assert fault.startswith(f"Invalid Session TTL '{ttl}', must be between [")


def test_a_session_needs_a_node_and_releases_unless_it_says_otherwise(bench: Bench) -> None:
    assert session_fault(replace(S1, node="")) == "Must provide Node"
    assert bench.create(replace(S1, id="s-2", behavior="")) == ""
    stored = bench.sessions.get("s-2")[1]
    assert stored is not None
    assert stored.behavior == "release"


# Locks


def test_the_matrix_of_acquire(bench: Bench) -> None:
    bench.create(replace(S1, id="s-2"))
    assert bench.lock("k", "") == "missing session"
    assert bench.lock("k", "s-9") == 'invalid session "s-9"'
    assert bench.lock("k", "S-1") is True
    assert bench.lock("k", "s-1") is True, "again by the holder, in any case of the id"
    assert bench.lock("k", "s-2") is False
    entry = bench.kv.entries["k"]
    assert (entry.lock_index, entry.session) == (1, "s-1")


def test_the_matrix_of_release(bench: Bench) -> None:
    bench.create(replace(S1, id="s-2"))
    assert bench.sessions.release(9, "k", b"", 0, "") == "missing session"
    assert bench.sessions.release(9, "k", b"", 0, "s-1") is None
    bench.lock("k", "s-1")
    assert bench.sessions.release(9, "k", b"", 0, "s-2") is None
    assert bench.sessions.release(9, "k", b"bye", 1, "S-1") is not None
    entry = bench.kv.entries["k"]
    assert (entry.session, entry.lock_index, entry.value, entry.flags) == ("", 1, b"bye", 1)


# Ending


@pytest.mark.parametrize("behavior", ["release", "delete"])
@pytest.mark.parametrize(
    ("delay", "blocked_at", "free_at"),
    [(15.0, 114.9, 115.0), (0.0, None, 100.0), (-1.0, None, 100.0), (500.0, 159.9, 100 + MAX_LOCK_DELAY)],
)
def test_the_end_of_a_session_frees_its_keys_after_the_lock_delay(
    behavior: str, delay: float, blocked_at: float | None, free_at: float
) -> None:
    bench = Bench()
    bench.create(replace(S1, behavior=behavior, lock_delay=delay))
    bench.create(replace(S1, id="s-2"))
    bench.kv.put(3, "free", b"")
    bench.lock("a", "s-1")
    bench.lock("b", "s-1")
    assert bench.sessions.destroy(9, "S-1", 100.0) is True
    for key in ("a", "b"):
        index, entry = bench.kv.get(key)
        assert index == 9
        if behavior == "delete":
            assert entry is None
            assert bench.kv.graveyard.stones[key] == 9
        else:
            assert entry is not None
            assert (entry.session, entry.value, entry.flags, entry.lock_index) == ("", b"v", 7, 1)
    if blocked_at is not None:
        assert bench.lock("a", "s-2", blocked_at) is False
    assert bench.lock("a", "s-2", free_at) is True
    assert bench.kv.get("free")[0] == 3


def test_a_lock_that_was_released_by_its_holder_has_no_delay(bench: Bench) -> None:
    bench.create(replace(S1, id="s-2"))
    bench.lock("k", "s-1")
    bench.sessions.release(5, "k", b"", 0, "s-1")
    bench.sessions.destroy(6, "s-1", 100.0)
    assert bench.lock("k", "s-2", 100.0) is True


def test_a_session_ends_with_its_check_or_its_node_and_others_stay(bench: Bench) -> None:
    bench.create(replace(S1, id="s-2", checks=("web",)))
    bench.create(replace(S1, id="s-3", checks=()))
    bench.create(replace(S1, id="s-4", node="other"))
    bench.sessions.end_of_checks(9, [("node", "serfhealth")], 1.0)
    assert [s.id for s in bench.sessions.every()[1]] == ["s-2", "s-3", "s-4"]
    bench.sessions.end_of_checks(10, [("node", "web"), ("node", "unknown")], 1.0)
    assert [s.id for s in bench.sessions.every()[1]] == ["s-3", "s-4"]
    bench.sessions.end_of_nodes(11, ["node", "unknown"], 1.0)
    assert [s.id for s in bench.sessions.every()[1]] == ["s-4"]
    assert bench.sessions.every()[0] == 11


def test_destroying_what_is_not_there_changes_nothing(bench: Bench) -> None:
    assert bench.sessions.destroy(9, "nope", 1.0) is False
    assert bench.sessions.every()[0] == 1


# Lock delays


def test_a_delay_blocks_up_to_its_end_and_is_forgotten_then() -> None:
    delays = LockDelays()
    delays.add("a", 10.0)
    delays.add("b", 20)
    assert [delays.blocks("a", at) for at in (0.0, 9.99, 10.0)] == [True, True, False]
    assert not delays.blocks("c", 0.0)
    delays.forget(9.99)
    assert list(delays) == [("a", 10.0), ("b", 20.0)]
    delays.forget(10.0)
    assert list(delays) == [("b", 20.0)]


@pytest.mark.parametrize("second", [5.0, 30.0])
def test_the_last_delay_of_a_key_counts(second: float) -> None:
    delays = LockDelays()
    delays.add("a", 10.0)
    delays.add("a", second)
    delays.forget(10.0)
    assert list(delays) == ([("a", 30.0)] if second == 30.0 else [])
