"""When the next leaf is asked for."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from meshnode.connect.leaf_schedule import (
    MAX_RETRY,
    MAX_ROOT_SPREAD,
    MIN_RETRY,
    RENEW_AT,
    RENEW_JITTER,
    LeafSchedule,
)

seeds = st.integers(0, 2**32)
lives = st.floats(1.0, 3.2e7)


@given(seed=seeds, life=lives)
def test_a_leaf_is_renewed_at_two_thirds_of_its_life_or_a_little_before(seed: int, life: float) -> None:
    schedule = LeafSchedule(random.Random(seed))
    schedule.issued("r", 1000.0, 1000.0 + life)
    assert (RENEW_AT - RENEW_JITTER) * life <= schedule.due - 1000.0 + 1e-6
    assert schedule.due - 1000.0 <= RENEW_AT * life + 1e-6


def test_many_leaves_of_one_moment_come_due_at_different_ones() -> None:
    rng, due = random.Random(1), set()
    for _ in range(100):
        schedule = LeafSchedule(rng)
        schedule.issued("r", 0.0, 300.0)
        due.add(round(schedule.due))
    assert len(due) > 20


@given(seed=seeds, life=lives, at=st.floats(0, 1))
def test_another_root_brings_it_forward_within_a_short_spread(seed: int, life: float, at: float) -> None:
    schedule = LeafSchedule(random.Random(seed))
    schedule.issued("r", 0.0, life)
    due = schedule.due
    schedule.root_changed("r", at)
    assert schedule.due == due
    schedule.root_changed("other", at * due)
    assert schedule.due <= min(due, at * due + min(MAX_ROOT_SPREAD, life * 0.05))


@given(seed=seeds, failures=st.integers(1, 40), life=lives)
def test_pauses_after_failures_grow_and_stay_short_against_what_is_left(
    seed: int, failures: int, life: float
) -> None:
    schedule, now = LeafSchedule(random.Random(seed)), 0.0
    schedule.issued("r", now, life)
    for _ in range(failures):
        now = schedule.due
        schedule.failed(now)
        pause = schedule.due - now
        assert 0.49 <= pause <= MAX_RETRY
        left = life - now
        if left > 10:
            assert pause <= left * 0.1 + 1e-6


def test_whoever_waits_hurries_it_but_not_into_a_storm() -> None:
    schedule = LeafSchedule(random.Random(1))
    for _ in range(20):
        schedule.failed(100.0)
    schedule.hurry(100.2)
    assert schedule.due == 100.0 + MIN_RETRY
    schedule.failed(200.0)
    schedule.hurry(250.0)
    assert schedule.due <= 250.0


def test_at_first_it_is_due_at_once() -> None:
    assert LeafSchedule(random.Random(1)).due == 0.0
