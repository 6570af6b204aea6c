"""The schedule of a chaos run is a pure function of its seed, and never takes a majority away."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._chaos import (
    CALM,
    CATALOGUE,
    DURATION,
    ETCD,
    MAX_MINUTES,
    QUIET,
    ChaosError,
    Step,
    check_faults,
    digest,
    schedule,
)
from hypothesis import given
from hypothesis import strategies as st

SERVERS, CLIENTS = ["server1", "server2", "server3"], ["client1", "client2"]
FAULTS = st.lists(st.sampled_from(sorted(CATALOGUE)), min_size=1, unique=True)
SEEDS = st.text(max_size=20)


def steps(
    seed: str, faults: list[str], minutes: float = 10, servers: list[str] = SERVERS, *, etcd: bool = True
) -> list[Step]:
    return schedule(seed, minutes, faults, servers, CLIENTS, etcd=etcd)


@given(SEEDS, FAULTS, st.randoms(use_true_random=False))
def test_the_same_seed_gives_the_same_schedule_whatever_order_names_come_in(
    seed: str, faults: list[str], rng: object
) -> None:
    once = steps(seed, faults)
    again = steps(seed, sorted(faults, reverse=True), servers=SERVERS[::-1])
    assert once == again
    assert digest(once) == digest(again)


def test_a_schedule_of_today_is_that_of_tomorrow() -> None:
    # Changes with VERSION and with what is drawn from: raise VERSION then.
    assert digest(steps("7", sorted(CATALOGUE), 5)) == "00f947eea1fb"


def test_other_seeds_give_other_schedules() -> None:
    assert len({digest(steps(str(seed), sorted(CATALOGUE))) for seed in range(50)}) == 50


@given(SEEDS, FAULTS, st.floats(0.1, 30))
def test_one_fault_at_a_time_with_room_to_heal_and_all_within_the_time(
    seed: str, faults: list[str], minutes: float
) -> None:
    drawn = steps(seed, faults, minutes)
    assert [step.number for step in drawn] == list(range(1, len(drawn) + 1))
    for step in drawn:
        assert step.start >= CALM
        assert DURATION[0] <= step.duration <= DURATION[1]
        assert step.end + QUIET[0] <= minutes * 60 + 0.1
    for before, after in itertools.pairwise(drawn):
        assert after.start >= before.end + QUIET[0] - 0.1


@given(SEEDS, FAULTS)
def test_every_fault_comes_once_before_one_comes_twice(seed: str, faults: list[str]) -> None:
    drawn = [step.fault for step in steps(seed, faults, 30)]
    for first in range(0, len(drawn), len(faults)):
        part = drawn[first : first + len(faults)]
        assert len(set(part)) == len(part)
    assert set(drawn) == set(faults)


@given(SEEDS, FAULTS, st.booleans())
def test_a_fault_hits_only_what_is_there(seed: str, faults: list[str], etcd: bool) -> None:
    for step in steps(seed, faults, etcd=etcd):
        kind = CATALOGUE[step.fault]
        assert step.service in kind.services
        assert step.node in SERVERS + CLIENTS
        assert etcd or step.service != ETCD
        if step.service == ETCD or kind.servers_only:
            assert step.node in SERVERS
        assert step.amount == kind.amount


def test_too_little_time_is_no_fault_and_no_faults_are_no_steps() -> None:
    assert steps("1", ["kill"], 0.2) == []
    assert steps("1", [], servers=["server1"]) == []


@pytest.mark.parametrize("minutes", [0, -1, MAX_MINUTES + 1, float("nan"), float("inf")])
def test_a_time_that_is_not_possible_is_refused(minutes: float) -> None:
    with pytest.raises(ChaosError, match="chaos_minutes"):
        steps("1", ["kill"], minutes)


def test_fewer_than_three_servers_are_refused_since_no_bound_could_be_kept() -> None:
    with pytest.raises(ChaosError, match=r"has 2 servers: .* use three"):
        steps("1", ["kill"], servers=SERVERS[:2])


def test_an_unknown_fault_is_named_with_what_there_is() -> None:
    with pytest.raises(
        ChaosError, match="chaos_faults: 'meteor' is not known: write some of kill, pause, cut"
    ):
        check_faults(["kill", "meteor"])
