"""Servers that come back after the log was compacted past them, that come new, and machines that are all new."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from meshnode.testing.history import Connection, Workload, ask
from tests.support import scenarios
from tests.support.chaos_lab import CLIENT, SECONDS, SERVERS, Lab, add_agent, judge, kept
from tests.support.mesh_agent import wait

#: Commands after which the leader has written two snapshots and dropped what came before the first.
MANY = 34_000


def write_many(host: str, count: int, threads: int = 16) -> None:
    def write(first: int) -> None:
        connection = Connection(host)
        for number in range(first, count, threads):
            assert connection.ask("PUT", f"/v1/kv/many/{number % 500}", b"%d" % number).status == 200
        connection.close()

    running = [threading.Thread(target=write, args=(first,)) for first in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def snapshots_of(lab: Lab, name: str) -> int:
    return lab.mesh[name].log.count("written as a snapshot")


def write_until_snapshot(lab: Lab, leader: str) -> None:
    before = snapshots_of(lab, leader)
    write_many(lab.host(leader), MANY // 2)
    wait(lambda: snapshots_of(lab, leader) > before, "a snapshot", 30)


def oldest_entry(lab: Lab) -> int:
    """The first index that the log in etcd has, as etcd's own tool shows it."""
    key = lab.etcd.etcdctl("get", "--prefix", "--keys-only", "--limit=1", "meshnode/dc1/entries/").strip()
    return int(key.rpartition("/")[2], 16)


def test_a_server_that_was_away_for_long_catches_up_by_snapshot(lab: Lab) -> None:
    leader = lab.leader()
    away = next(name for name in SERVERS if name != leader)
    agent = lab.mesh[away]
    restored = agent.log.count("state restored from the snapshot")
    assert oldest_entry(lab) == 1
    agent.signal(signal.SIGSTOP)
    try:
        write_until_snapshot(lab, leader)
        write_until_snapshot(lab, leader)
        wait(lambda: oldest_entry(lab) > MANY // 3, "the log is compacted", 30)
        for number in range(
            3
        ):  # what etcd had ready for it on an open connection is gone with the connection
            lab.etcd.kill(number)
            lab.launch_etcd(number)
            wait(lambda: ask(lab.host(leader), "/v1/kv/many/0", "PUT", b"x").status == 200, "it writes", 30)
    finally:
        agent.signal(signal.SIGCONT)
    expected = kept(lab.host(CLIENT), "many/")
    wait(lambda: kept(agent.host, "many/", "stale") == expected, f"{away} has caught up", 60)
    assert agent.log.count("state restored from the snapshot") > restored
    lab.mesh.wait_alive(*lab.names)
    with Workload(lab.hosts, "caught-up") as load:
        scenarios.settle(load, SECONDS)
    judge("a server that was away for 34 000 writes", load, lab.hosts, within=scenarios.BOUND)


def test_a_server_that_starts_after_the_log_was_compacted_begins_with_the_snapshot(lab: Lab) -> None:
    away = next(name for name in SERVERS if name != lab.leader())
    lab.mesh[away].kill()
    expected = kept(lab.host(CLIENT), "many/")
    lab.restart(away)
    wait(lambda: kept(lab.host(away), "many/", "stale") == expected, f"{away} has it all", 60)


def test_a_new_server_joins_and_answers_stale_reads(lab: Lab) -> None:
    with Workload(lab.hosts, "joined") as load:
        scenarios.settle(load, SECONDS)
        agent = add_agent(lab, "server4", 9)
        lab.launch("server4")
        lab.mesh.wait_alive(*lab.names, "server4")
        scenarios.settle(load, SECONDS)
    judge("a fourth server joins", load, [*lab.hosts, agent.host], within=scenarios.BOUND)
    answer = ask(agent.host, "/v1/kv/joined/ledger?recurse&stale")
    assert answer.status == 200
    wait(lambda: load.acknowledged.items() <= kept(agent.host, "joined", "stale").items(), "it has all", 20)
    assert agent.cli("leave").returncode == 0
    agent.kill()
    lab.mesh.wait_alive(*lab.names)


def test_a_snapshot_goes_to_new_machines(lab: Lab, tmp_path: Path) -> None:
    scenarios.snapshot_goes_to_new_machines(lab, tmp_path, keys=1000)
