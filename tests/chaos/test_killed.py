"""Processes end without a goodbye, or stop for a while, under load."""

from __future__ import annotations

import signal
import time

from meshnode.testing.history import Workload, ask
from tests.support import scenarios
from tests.support.chaos_lab import CLIENT, SECONDS, SERVERS, Lab, judge
from tests.support.scenarios import BOUND, settle


def test_the_leader_is_killed(lab: Lab) -> None:
    scenarios.leader_is_killed(lab, SECONDS)


def test_each_server_is_killed_in_turn(lab: Lab) -> None:
    with Workload(lab.hosts, "turns") as load:
        for name in SERVERS:
            settle(load, SECONDS)
            lab.mesh[name].kill()
            lab.wait_leader(name)
            load.goes_on()
            lab.restart(name)
        settle(load, SECONDS)
    judge("kill -9 of each server in turn", load, lab.hosts, within=BOUND)


def test_two_servers_are_killed_and_the_third_goes_on_alone(lab: Lab) -> None:
    with Workload([lab.host(CLIENT), *lab.hosts], "two") as load:
        settle(load, SECONDS)
        first = lab.leader()
        lab.mesh[first].kill()
        second = lab.wait_leader(first)
        lab.mesh[second].kill()
        lab.wait_leader(first, second)
        settle(load, SECONDS)
        lab.restart(first, second)
        settle(load, SECONDS)
    judge("kill -9 of two leaders, one after the other", load, lab.hosts, within=BOUND)


def test_the_leader_of_etcd_is_killed(lab: Lab) -> None:
    scenarios.leader_of_etcd_is_killed(lab, SECONDS)


def test_a_member_of_etcd_and_the_leader_are_killed_together(lab: Lab) -> None:
    with Workload(lab.hosts, "both") as load:
        settle(load, SECONDS)
        first, number = lab.leader(), lab.etcd.leader()
        lab.mesh[first].kill()
        lab.etcd.kill(number)
        lab.wait_leader(first)
        settle(load, SECONDS)
        lab.launch_etcd(number)
        lab.restart(first)
        settle(load, SECONDS)
    judge("kill -9 of the leader and of etcd's leader at once", load, lab.hosts, within=2 * BOUND)


def test_a_leader_that_sleeps_writes_and_reads_nothing_stale_when_it_wakes(lab: Lab) -> None:
    with Workload(lab.hosts, "asleep", clients=6, writers=4) as load:
        settle(load, SECONDS)
        first = lab.leader()
        lab.mesh[first].signal(signal.SIGSTOP)
        slept = time.monotonic()
        lab.wait_leader(first)
        load.runs_for(max(0.0, slept + 10 - time.monotonic()))
        lab.mesh[first].signal(signal.SIGCONT)
        # Asked at once: it may not answer from the time before it slept.
        for number in range(50):
            ask(lab.host(first), f"/v1/kv/asleep/ledger/awake/{number}?consistent", timeout=5)
        settle(load, SECONDS)
        lab.mesh.wait_alive(*lab.names)
        lab.wait_leader()
    judge("SIGSTOP of the leader for 10 s", load, lab.hosts, within=2 * BOUND)


def test_all_nodes_are_killed_at_once_and_start_again(lab: Lab) -> None:
    scenarios.everything_is_killed(lab, SECONDS)
