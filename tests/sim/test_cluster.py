"""What a cluster of memberlist cores promises, measured in virtual time beside what theory says."""

from __future__ import annotations

import pytest

from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.events import JoinFinished, LeaveFinished
from meshnode.gossip.memberlist.messages import State
from tests.sim.cluster import Cluster
from tests.sim.scenario import NODES, SEED, detection_time, report, spread_time
from tests.sim.world import Network

LOSSY = 0.3
CONFIG = MemberlistConfig.lan()
UP = (State.ALIVE, State.SUSPECT)


def lossy() -> Network:
    return Network(loss=LOSSY, duplication=0.01)


def test_fifty_nodes_find_each_other_by_join() -> None:
    cluster = Cluster(1, seed=SEED)
    first = cluster.nodes["node-0"]
    joined = cluster.join(49, through=[first])
    everyone = [first, *joined]
    took = cluster.world.run_until(lambda: cluster.knowing(everyone, State.ALIVE) == 1.0, limit=30)
    report("50 nodes join one", seconds=took, theory=spread_time(50, CONFIG, 0))
    assert all(JoinFinished(1, 1, ()) in host.events for host in joined)
    assert not cluster.false_deaths()


def test_a_large_lossy_cluster_learns_of_new_nodes() -> None:
    cluster = Cluster(NODES, seed=SEED, network=lossy())
    new = cluster.join(10, through=cluster.pick(3))
    took = cluster.world.run_until(lambda: cluster.knowing(new, *UP) == 1.0, limit=30)
    report(f"{NODES} nodes learn of 10", seconds=took, theory=spread_time(NODES, CONFIG, LOSSY))
    assert cluster.knowing(list(cluster.nodes.values())[:50], *UP, among=new) == 1.0
    assert not cluster.false_deaths()


def test_a_large_lossy_cluster_notices_crashes_and_declares_nobody_else_dead() -> None:
    cluster = Cluster(NODES, seed=SEED + 1, network=lossy())
    victims = cluster.pick(10)
    for victim in victims:
        cluster.world.kill(victim)
    earliest, latest = detection_time(NODES, CONFIG, LOSSY)
    took = cluster.world.run_until(lambda: cluster.knowing(victims, State.DEAD) == 1.0, limit=latest)
    report(f"{NODES} nodes notice 10 crashes", seconds=took, earliest=earliest, latest=latest)
    assert took >= earliest
    assert cluster.false_deaths() == []


def test_a_minority_that_was_cut_off_comes_back() -> None:
    cluster = Cluster(NODES, seed=SEED + 2, network=lossy())
    world = cluster.world
    minority = cluster.pick(max(2, NODES // 100))
    majority = [host for host in cluster.nodes.values() if host not in minority]
    world.split(minority)
    _, latest = detection_time(NODES, CONFIG, LOSSY)
    lost = world.run_until(lambda: cluster.knowing(minority, State.DEAD, among=majority) == 1.0, limit=latest)
    assert cluster.false_deaths(excused=minority) == []
    world.heal()
    # Serf's reconnect does this; memberlist alone would wait for a push/pull across the former border.
    for lost_host, helper in zip(minority, majority):
        world.call(helper, lambda now, m=helper.machine, to=lost_host.address: m.join(2, [to], now))
    back = world.run_until(lambda: cluster.knowing(minority, *UP, among=majority) == 1.0, limit=30)
    settled = back + world.run_until(lambda: cluster.knowing(majority, *UP, among=minority) == 1.0, limit=60)
    theory = 3 * spread_time(NODES, CONFIG, LOSSY)
    report(f"{len(minority)} of {NODES} cut off", lost=lost, back=back, settled=settled, theory=theory)


def test_keys_rotate_under_traffic_without_losing_anybody() -> None:
    old, new = bytes(range(32)), bytes(range(32, 64))
    cluster = Cluster(NODES, seed=SEED + 3, network=lossy(), keys=[old])
    world, rng = cluster.world, cluster.world.rng
    for step in ("add", "use", "remove"):
        # Each node takes the step within two seconds, so that old and new keys seal side by side.
        for host in cluster.nodes.values():
            keyring, key = host.machine.keyring, old if step == "remove" else new
            world.at(
                2 * rng.random(), host, lambda now, ring=keyring, k=key, s=step: getattr(ring, s)(k) or []
            )
        world.run(2.5)
    joined = cluster.join(2, through=cluster.pick(2))
    for host in joined:
        host.machine.keyring.add(new)
        host.machine.keyring.use(new)
    took = world.run_until(lambda: cluster.knowing(joined, *UP) == 1.0, limit=30)
    refused = sum(sum(host.machine.stats.refused.values()) for host in cluster.nodes.values())
    report(f"{NODES} nodes rotate their key", packets=world.packets, refused=refused, join_afterwards=took)
    assert refused == 0
    assert cluster.false_deaths() == []


def test_a_departure_is_no_failure() -> None:
    cluster = Cluster(50, seed=SEED, network=lossy())
    (leaver,) = cluster.pick(1)
    cluster.world.call(leaver, leaver.machine.leave)
    took = cluster.world.run_until(lambda: cluster.knowing([leaver], State.LEFT) == 1.0, limit=60)
    report("50 nodes learn of a departure", seconds=took, theory=spread_time(50, CONFIG, LOSSY))
    cluster.world.run(CONFIG.leave_timeout)
    assert LeaveFinished() in leaver.events
    assert {left[1:] for host in cluster.nodes.values() for left in host.machine._delegate.left} == {
        (leaver.machine.name, False)
    }


@pytest.mark.parametrize("keys", [(), (bytes(16),)], ids=["plain", "sealed"])
def test_the_same_seed_gives_the_same_run(keys: tuple[bytes, ...]) -> None:
    def run(seed: int) -> str:
        cluster = Cluster(60, seed=seed, network=lossy(), keys=keys)
        cluster.world.kill(cluster.pick(1)[0])
        if not keys:
            cluster.join(3, through=cluster.pick(1))
        cluster.world.run(8)
        return cluster.world.trace

    assert run(SEED) == run(SEED)
    assert run(SEED) != run(SEED + 1)
