"""Ten leaf lifetimes and three root rotations in seconds: the production code of CA, rotation and leaf cache, and a
virtual clock. Nodes stop and come back, servers go away, clocks jump, all from a seed that is printed.

At every look a node that has a leaf must verify at every node that trusts anything at all, and no leaf that has expired
is ever handed out. ``MESH_SIM_SEED`` chooses the first seed, ``MESH_SIM_SEEDS`` how many of them.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import time
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from meshnode.agent.leaf_cache import LeafCache
from meshnode.base.errors import MeshError
from meshnode.connect.leaf import Leaf, TrustBundle
from meshnode.connect.rotation import Phase
from tests.support.connect_cluster import ConnectCluster
from tests.support.virtual_time import run

HOUR = 3600.0
#: Short against Consul's 72 hours: an agent looks at the wall clock every half a minute, which costs real time.
TTL = 6 * HOUR
LIFETIMES = 10
ROTATIONS = 3
NODES = 4
SERVICES = ("web", "db")
FIRST_SEED = int(os.environ.get("MESH_SIM_SEED", "1"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("MESH_SIM_SEEDS", "2")))


def verifies(leaf: Leaf, bundle: TrustBundle, at: float) -> bool:
    """Whether a peer that trusts ``bundle`` takes the leaf at ``at``, with what comes beside it in its chain."""
    chain = _parsed(leaf.certificate_pem)
    roots = [certificate for root in bundle.roots for certificate in _parsed(root.certificate_pem)]
    for position, certificate in enumerate(chain):
        if (
            not certificate.not_valid_before_utc.timestamp()
            <= at
            < certificate.not_valid_after_utc.timestamp()
        ):
            return False
        if any(_signed_by(certificate, root) for root in roots):
            return True
        if position + 1 == len(chain) or not _signed_by(certificate, chain[position + 1]):
            return False
    return False


@functools.cache
def _parsed(pem: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem.encode())


@functools.cache
def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass
class Story:
    """What happened, for the line that is printed."""

    serials: set[str] = field(default_factory=set)
    roots: set[str] = field(default_factory=set)
    looks: int = 0
    outages: int = 0
    restarts: int = 0
    without: int = 0


class World:
    """A cluster of :data:`NODES` nodes with two services each."""

    def __init__(self, cluster: ConnectCluster, rng: random.Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.story = Story()
        self.epoch = 1
        self.caches: dict[str, LeafCache] = {}
        for number in range(NODES):
            self.switch_on(f"n{number}")

    def switch_on(self, node: str) -> None:
        self.caches[node] = self.cluster.cache(node)
        self.cluster.alive.add(node)

    async def switch_off(self, node: str) -> None:
        self.cluster.alive.discard(node)
        await self.caches.pop(node).stop()

    def elect(self) -> None:
        self.epoch += 1
        self.cluster.elect(self.epoch)

    async def look(self) -> None:
        """Every leaf that is handed out verifies at every other node that has roots."""
        at, story = self.cluster.wall(), self.story
        story.looks += 1
        leaves: list[Leaf] = []
        for cache in self.caches.values():
            for service in SERVICES:
                try:
                    leaves.append((await cache.leaf(service))[0])
                except MeshError:
                    story.without += 1
        at = self.cluster.wall()
        bundles = [cache.bundle for cache in self.caches.values() if cache.bundle is not None]
        for leaf in leaves:
            assert leaf.is_valid(at), f"an expired leaf of {leaf.service} was handed out"
            for bundle in bundles:
                assert verifies(leaf, bundle, at), f"{leaf.uri} of {leaf.root_id} at {bundle.ids}, {at}"
            story.serials.add(leaf.serial)
            story.roots.add(leaf.root_id)

    async def trouble(self) -> None:
        """One of the things that happen."""
        match self.rng.randrange(4):
            case 0:
                # Far shorter than a third of a leaf's life: whoever has a leaf goes on with it.
                self.cluster.down = True
                self.story.outages += 1
                await asyncio.sleep(self.rng.choice((60.0, 600.0, HOUR)))
                await self.look_at_what_is_there()
                self.cluster.down = False
            case 1:
                node = self.rng.choice(sorted(self.caches))
                self.story.restarts += 1
                await self.switch_off(node)
                await asyncio.sleep(self.rng.uniform(1, TTL / 10))
                self.switch_on(node)
            case 2:
                self.elect()
                self.story.restarts += 1
            case 3:
                await asyncio.sleep(self.rng.uniform(1, TTL / 10))

    async def look_at_what_is_there(self) -> None:
        """While servers are away: nothing is asked for, and what is in memory verifies."""
        at = self.cluster.wall()
        bundles = [cache.bundle for cache in self.caches.values() if cache.bundle is not None]
        for cache in self.caches.values():
            for leaf in cache.leaves():
                assert all(verifies(leaf, bundle, at) for bundle in bundles)

    async def stop(self) -> None:
        for node in sorted(self.caches):
            await self.switch_off(node)
        await self.cluster.ca.stop()


async def begun(seed: int) -> World:
    rng = random.Random(seed)
    cluster = ConnectCluster(ttl="6h", seed=seed)
    cluster.alive.clear()
    cluster.ca.lead(1)
    await asyncio.sleep(0.1)
    return World(cluster, rng)


async def live(world: World) -> None:
    """Ten lifetimes, three rotations at moments of chance, trouble in between."""
    cluster, rng = world.cluster, world.rng
    begin = cluster.wall()
    rotations = sorted(rng.uniform(0.5, LIFETIMES - 3.0) * TTL for _ in range(ROTATIONS))
    while cluster.wall() < begin + LIFETIMES * TTL:
        if rotations and cluster.wall() >= begin + rotations[0] and not cluster.down:
            rotation = cluster.store.ca.rotation
            if rotation is None or rotation.phase == Phase.REISSUE:
                rotations.pop(0)
                await cluster.call("ConnectCA.RotationSet", {"Action": "start"})
        await world.look()
        if rng.random() < 0.2:
            await world.trouble()
        await asyncio.sleep(rng.choice((1.0, 30.0, TTL / 40, TTL / 15)))
    assert not rotations
    # Whatever was under way comes to its end.
    await asyncio.sleep(3 * TTL)
    await world.look()
    assert cluster.store.ca.rotation is None
    assert [root.active for root in cluster.store.ca.roots] == [True]


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_lifetimes_and_three_rotations_with_trouble_in_between(seed: int) -> None:
    async def scenario() -> Story:
        world = await begun(seed)
        await live(world)
        story = world.story
        assert len(story.roots) == ROTATIONS + 1
        await world.stop()
        return story

    began = time.monotonic()
    story = run(scenario())
    print(
        f"\nseed {seed}: {LIFETIMES} lifetimes in {time.monotonic() - began:.1f} s, {story.looks} looks, "
        f"{len(story.serials)} leaves of {len(story.roots)} roots, {story.outages} outages of the servers, "
        f"{story.restarts} restarts; nobody was refused, {story.without} times there was no leaf yet"
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("off", [4 * TTL, 11 * 365 * 24 * HOUR], ids=["leaves", "leaves and roots"])
def test_when_everything_expired_while_all_was_off_every_node_comes_back(seed: int, off: float) -> None:
    """In the midst of a rotation too: all of it stops where it is, for longer than anything is valid."""

    async def scenario() -> float:
        world = await begun(seed)
        cluster = world.cluster
        await world.look()
        if seed % 2:
            # Somebody doesn't report, so that the rotation is held before the switch.
            cluster.alive.add("n99")
            await cluster.call("ConnectCA.Report", {"Node": "n99", "Roots": [], "LeafRoots": []})
            await cluster.call("ConnectCA.RotationSet", {"Action": "start"})
            assert cluster.store.ca.rotation is not None
            cluster.alive.discard("n99")
        before = set(world.story.serials)
        for node in sorted(world.caches):
            await world.switch_off(node)
        cluster.ca.lead(0)
        await asyncio.sleep(1)
        cluster.skew += off
        back = cluster.wall()
        for number in range(NODES):
            # Agents are there before the servers have a leader.
            world.switch_on(f"n{number}")
            await asyncio.sleep(world.rng.uniform(0, 5))
        world.elect()
        for _ in range(100):
            await asyncio.sleep(1)
            await world.look()
            if all(len(cache.leaves()) == len(SERVICES) for cache in world.caches.values()):
                break
        took = cluster.wall() - back
        for cache in world.caches.values():
            assert len(cache.leaves()) == len(SERVICES)
            assert not before & {leaf.serial for leaf in cache.leaves()}
        await asyncio.sleep(3 * TTL)
        await world.look()
        assert cluster.store.ca.rotation is None
        await world.stop()
        return took

    print(
        f"\nseed {seed}: all off for {off / HOUR / 24:.0f} days; all leaves were back after {run(scenario()):.0f} s"
    )
