"""Cables that are cut between some nodes, and cables that lose and delay packets, under load."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from meshnode.prove.linearizability import Kind, Operation, Outcome, violations
from meshnode.testing.history import Answer, Workload, ask
from tests.support.chaos_lab import CLIENT, SECONDS, SERVERS, Lab, judge, lab_in_network
from tests.support.mesh_agent import wait
from tests.support.network import Network, can_make_networks
from tests.support.programs import excuse

pytestmark = excuse("namespaces", unless=can_make_networks())
ETCD = ("etcd0", "etcd1", "etcd2")
#: Seconds within which an error comes: twice ``rpc_hold_timeout``, which the server waits for the leader too.
CLEAR = 16.0
#: Seconds that a cable is cut for: longer than a call waits for a leader, so that every error shows.
CUT = max(SECONDS, 15.0)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_in_network(tmp_path_factory.mktemp("partitions"), *SERVERS, CLIENT) as made:
        yield made


def network_of(lab: Lab) -> Network:
    assert lab.network is not None
    return lab.network


def heal(lab: Lab) -> None:
    network_of(lab).heal()
    for wire in network_of(lab).wires.values():
        wire.delay = 0.0
    lab.mesh.wait_alive(*lab.names)
    lab.wait_leader()


def refused_clearly(host: str) -> Answer:
    began = time.monotonic()
    answer = ask(host, "/v1/kv/refused", "PUT", b"x", timeout=CLEAR * 2)
    took = time.monotonic() - began
    print(f"  error after {took:.2f} s: {answer.status} {answer.body.decode()[:160]}")
    assert answer.status == 500
    assert len(answer.body) > 10
    assert took < CLEAR
    return answer


def test_the_leader_is_cut_off_from_etcd(lab: Lab) -> None:
    with Workload(lab.hosts, "no-etcd", writers=4) as load:
        load.runs_for(SECONDS / 2)
        first = lab.leader()
        network_of(lab).cut(first, *ETCD)
        lab.wait_leader(first)
        load.goes_on()
        load.runs_for(CUT)
        heal(lab)
        load.goes_on()
        load.runs_for(SECONDS / 2)
    judge("the leader can't reach etcd", load, lab.hosts, within=CLEAR)


def test_a_follower_that_is_cut_off_from_etcd_answers_stale_reads_and_says_how_old(lab: Lab) -> None:
    leader = lab.leader()
    follower = next(name for name in SERVERS if name != leader)
    host = lab.host(follower)
    assert ask(host, "/v1/kv/before", "PUT", b"x").status == 200
    wait(lambda: ask(host, "/v1/kv/before?stale").status == 200, "the follower has it")
    with Workload([lab.host(leader)], "follower") as load:
        network_of(lab).cut(follower, *ETCD)
        load.runs_for(CUT)
        answer = ask(host, "/v1/kv/before?stale")
        assert answer.status == 200
        assert answer.contact > (CUT - 5) * 1000, "it doesn't say how old it may be"
        stale_reads_are_found_out(lab.host(leader), host)
        heal(lab)
        load.goes_on()
    judge("a follower can't reach etcd", load, lab.hosts, within=CLEAR)


def stale_reads_are_found_out(leader: str, follower: str) -> None:
    """The control: the judge isn't blind."""
    moments = [time.monotonic()]
    history = []
    for host, kind, how in ((leader, Kind.PUT, ""), (follower, Kind.GET, "?stale")):
        answer = ask(host, f"/v1/kv/blind{how}", kind.name, b"new" if kind is Kind.PUT else b"")
        moments.append(time.monotonic())
        value = "new" if kind is Kind.PUT or answer.status == 200 else None
        # A hair later than the answer before: what touches in time is taken to be at once.
        history.append(Operation(0, kind, "blind", value, Outcome.OK, moments[-2] + 1e-6, moments[-1]))
    (found,) = violations(history)
    print(f"\ncontrol, with a stale read: {found}")


def test_the_leader_is_cut_off_from_the_other_servers(lab: Lab) -> None:
    with Workload([lab.host(name) for name in SERVERS], "split", clients=6, writers=6) as load:
        load.runs_for(SECONDS / 2)
        first = lab.leader()
        others = [name for name in SERVERS if name != first]
        network_of(lab).cut(first, *others)
        load.runs_for(CUT)
        load.goes_on()
        heal(lab)
        load.goes_on()
        load.runs_for(SECONDS / 2)
    judge("the leader can't reach the other servers", load, lab.hosts, within=CLEAR)


def test_the_leader_is_cut_off_from_everything(lab: Lab) -> None:
    with Workload(lab.hosts, "alone", writers=6) as load:
        load.runs_for(SECONDS / 2)
        first = lab.leader()
        network_of(lab).cut(first, *ETCD, *(name for name in lab.names if name != first))
        lab.wait_leader(first)
        load.goes_on()
        refused_clearly(lab.host(first))
        stale = ask(lab.host(first), "/v1/kv/?keys&stale")
        assert stale.status == 200
        heal(lab)
        load.goes_on()
        load.runs_for(SECONDS / 2)
    judge("the leader can't reach anybody", load, lab.hosts, within=CLEAR)


def test_a_client_agent_is_cut_off_from_all_servers(lab: Lab) -> None:
    with Workload([lab.host(name) for name in SERVERS], "client") as load:
        network_of(lab).cut(CLIENT, *SERVERS)
        refused_clearly(lab.host(CLIENT))
        wait(
            lambda: b"No known" in ask(lab.host(CLIENT), "/v1/kv/x").body,
            "it knows that no server is alive",
            60,
        )
        refused_clearly(lab.host(CLIENT))
        heal(lab)
        began = time.monotonic()
        wait(lambda: ask(lab.host(CLIENT), "/v1/kv/back", "PUT", b"x").status == 200, "it writes again", 30)
        print(f"  writes through it go on {time.monotonic() - began:.2f} s after the cable is whole")
    judge("a client agent can't reach the servers", load, lab.hosts, within=CLEAR)


def test_packets_are_lost_and_late(lab: Lab) -> None:
    network = network_of(lab)
    with Workload(lab.hosts, "bad") as load:
        load.runs_for(SECONDS / 2)
        for name in (lab.leader(), CLIENT):
            network.lose(name, 0.2)
            network.wires[name].delay = 0.1
        load.runs_for(SECONDS * 2)
        load.goes_on()
        heal(lab)
        load.goes_on()
        load.runs_for(SECONDS / 2)
    judge("20 % loss and 100 ms delay each way at the leader and a client", load, lab.hosts, within=CLEAR)
