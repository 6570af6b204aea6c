from __future__ import annotations

import random

from meshnode.proxy.balance import (
    FIRST_BACK_OFF,
    MAX_ATTEMPTS,
    MAX_BACK_OFF,
    MAX_OUTLIERS,
    Balancer,
    Instance,
)


def instance(port: int, distance: float = 0.0, *, passing: bool = True, agent_lost: bool = False) -> Instance:
    uri = "spiffe://t.consul/ns/default/dc/dc1/svc/api"
    return Instance("10.0.0.1", port, uri, distance, passing and not agent_lost, agent_lost=agent_lost)


def balancer() -> Balancer:
    return Balancer(random.Random(7))


def test_only_passing_instances_are_tried() -> None:
    assert balancer().order([instance(1, passing=False), instance(2)], 0.0) == [instance(2)]
    assert balancer().order([instance(1, passing=False)], 0.0) == []
    assert balancer().order([], 0.0) == []


def test_instances_whose_agents_alone_are_lost_are_tried_when_none_is_passing() -> None:
    lost, failing = (
        [instance(1, 0.2, agent_lost=True), instance(2, 0.1, agent_lost=True)],
        instance(3, passing=False),
    )
    assert balancer().order([*lost, failing, instance(4, 0.9)], 0.0) == [instance(4, 0.9)]
    assert balancer().order([*lost, failing], 0.0) == [lost[1], lost[0]]
    assert balancer().order(lost[:1], 0.0) == lost[:1]


def test_one_whose_agent_is_lost_and_that_does_not_answer_is_left_out_until_its_time_is_over() -> None:
    balance, lost = balancer(), instance(1, agent_lost=True)
    balance.failed(lost, 100.0)
    assert balance.order([lost], 100.9) == []
    assert balance.order([instance(1)], 100.9) == [instance(1)], "its agent is back"
    assert balance.order([lost], 100.0 + FIRST_BACK_OFF) == [lost]


def test_the_nearest_is_first() -> None:
    tried = balancer().order([instance(1, 0.3), instance(2, 0.1), instance(3, 0.2)], 0.0)
    assert [each.port for each in tried] == [2, 3, 1]


def test_among_equally_near_ones_each_is_first_about_as_often() -> None:
    balance, firsts = balancer(), [0, 0, 0, 0]
    for _ in range(4000):
        firsts[balance.order([instance(port) for port in range(4)], 0.0)[0].port] += 1
    assert all(850 < count < 1150 for count in firsts), firsts


def test_no_more_than_a_few_are_tried_for_one_connection() -> None:
    assert len(balancer().order([instance(port) for port in range(50)], 0.0)) == MAX_ATTEMPTS


def test_one_that_failed_comes_last_until_its_time_is_over() -> None:
    balance = balancer()
    near, far = instance(1, 0.1), instance(2, 0.9)
    balance.failed(near, 100.0)
    assert balance.order([near, far], 100.0) == [far, near]
    assert balance.order([near, far], 100.0 + FIRST_BACK_OFF) == [near, far]


def test_each_further_failure_doubles_the_time_up_to_a_bound() -> None:
    balance = balancer()
    times = [balance.failed(instance(1), 0.0) for _ in range(7)]
    assert times == [1, 2, 4, 8, 16, MAX_BACK_OFF, MAX_BACK_OFF]


def test_a_success_forgives() -> None:
    balance = balancer()
    for _ in range(4):
        balance.failed(instance(1), 0.0)
    balance.succeeded(instance(1))
    assert not balance.is_set_aside(instance(1), 0.0)
    assert balance.failed(instance(1), 0.0) == FIRST_BACK_OFF


def test_when_all_have_failed_all_are_still_tried() -> None:
    balance = balancer()
    for port in (1, 2):
        balance.failed(instance(port), 0.0)
    assert {each.port for each in balance.order([instance(1), instance(2)], 0.0)} == {1, 2}


def test_memory_of_failures_is_bounded() -> None:
    balance = balancer()
    for port in range(MAX_OUTLIERS + 1):
        balance.failed(instance(port), 0.0)
    assert not balance.is_set_aside(instance(0), 0.0)
    assert balance.is_set_aside(instance(1), 0.0)
