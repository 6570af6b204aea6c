"""The root of Connect has expired already: servers were off for years, nobody led, an operator's root had its end.

Production code of CA, rotation and leaf cache on a virtual clock. In each story the next root signs within seconds,
whoever is dead, and every node that is up has a leaf of it that the others take.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from meshnode.agent.connect_secondary import SecondaryCa
from meshnode.agent.leaf_cache import LeafCache
from meshnode.agent.primary_follow import follow
from meshnode.base.errors import MeshError
from meshnode.base.spiffe import ServiceId
from meshnode.connect.leaf import Leaf
from meshnode.connect.model import NodeTrust
from meshnode.control.command import ConnectReport
from meshnode.pki import connect_ca, keys
from meshnode.rpc.method import RpcError
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.sim.test_connect import verifies
from tests.support.connect_cluster import ConnectCluster
from tests.support.own_root import own_root
from tests.support.virtual_time import run

DAY = 86_400.0
TEN_YEARS = 3650 * DAY
#: Seconds from when a leader can act until every node that is up has a leaf of the next root.
SOON = 20.0


def led(scenario: Callable[[ConnectCluster], Awaitable[None]], **given: Any) -> None:
    async def whole() -> None:
        cluster = ConnectCluster(**given)
        cluster.ca.lead(1)
        await asyncio.sleep(0.1)
        await scenario(cluster)
        await cluster.ca.stop()

    run(whole())


async def served(cluster: ConnectCluster, *caches: LeafCache) -> list[Leaf]:
    """The leaves of ``web``, each of which every other node takes."""
    leaves = [(await cache.leaf("web"))[0] for cache in caches]
    at = cluster.wall()
    for leaf in leaves:
        for cache in caches:
            assert cache.bundle is not None
            assert verifies(leaf, cache.bundle, at)
    return leaves


async def watch(cache: LeafCache) -> None:
    """What a sidecar does: its leaf is asked for as long as it runs."""
    async for _leaf, _bundle in cache.watch("web"):
        pass


def given(cluster: ConnectCluster, *, starts: float, ends: float) -> dict[str, str]:
    """Settings with an operator's own root, whose life is in seconds from now."""
    return own_root(datetime.fromtimestamp(cluster.wall(), UTC), starts=starts, ends=ends)


async def configure(cluster: ConnectCluster, **config: Any) -> Any:
    return await cluster.ca.configure({"Config": {"Provider": "consul", "Config": config}}, "")


def names(cluster: ConnectCluster) -> list[tuple[str, bool]]:
    return [(root.name, root.active) for root in cluster.store.ca.roots]


def test_servers_that_were_off_for_longer_than_the_roots_life_make_the_next_one_and_wait_for_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        old = cluster.store.ca.active
        cluster.alive |= {"n1", "n2", "n3", "hung"}
        caches = [cluster.cache("n1"), cluster.cache("n2")]
        await served(cluster, *caches)
        sidecars = [spawn(watch(cache), name="sidecar") for cache in caches]
        for node in ("dead", "hung"):
            await cluster._submit(ConnectReport(NodeTrust(node, (old.id,), (old.id,))))
        await cluster.ca.stop()
        cluster.down = True
        cluster.skew += TEN_YEARS
        # An agent that starts now has tried in vain for so long that it would wait for a minute.
        caches.append(cluster.cache("n3"))
        sidecars.append(spawn(watch(caches[-1]), name="sidecar"))
        await asyncio.sleep(300)
        for cache in caches:
            assert cache.leaves() == []
        cluster.down = False
        cluster.elect(2)
        await asyncio.sleep(SOON)
        assert names(cluster) == [("Consul CA 2", True)]
        leaves = [leaf for cache in caches for leaf in cache.leaves()]
        assert {leaf.root_id for leaf in leaves} == {cluster.store.ca.active.id}
        assert len(await served(cluster, *caches)) == len(leaves) == 3
        await cancel_and_wait(*sidecars)
        for cache in caches:
            await cache.stop()
        told = [record.message for record in caplog.records if "Consul CA 1 ended at 203" in record.message]
        assert len(told) == 1
        assert "the Connect root Consul CA 2 signs in place of Consul CA 1" in caplog.messages

    caplog.set_level("INFO", "meshnode.connect")
    led(scenario)


def test_an_expired_root_signs_nothing_and_the_error_names_it() -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        await cluster.ca.stop()
        cluster.skew += TEN_YEARS
        domain = cluster.store.ca.config.trust_domain
        request = connect_ca.create_leaf_request(keys.generate_key(), ServiceId(domain, "dc1", "web"))
        with pytest.raises(
            MeshError, match=r"the Connect root Consul CA 1 ended at 20.*: it can sign nothing"
        ):
            await cluster.ca.sign({"CSR": request}, "")

    led(scenario)


@pytest.mark.parametrize("phase", ["distribute", "reissue"])
def test_a_root_that_expires_while_its_rotation_is_paused_is_replaced_the_moment_it_ends(phase: str) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        cache = cluster.cache()
        await served(cluster, cache)
        await configure(cluster, LeafCertTTL="72h", **given(cluster, starts=0, ends=600))
        await asyncio.sleep(100)
        assert names(cluster) == [("Theirs", True)]
        if phase == "distribute":
            await cluster.ca.rotate({"Action": "start", "Paused": True}, "")
        else:
            await cluster._submit(ConnectReport(NodeTrust("n2", ("x",), ("x",))))
            await cluster.ca.rotate({"Action": "start", "Force": True}, "")
            ends = given(cluster, starts=0, ends=400)
            await configure(cluster, LeafCertTTL="72h", **ends)
            await cluster.ca.rotate({"Action": "pause"}, "")
        old = cluster.store.ca.active
        assert cluster.store.ca.rotation.paused
        await asyncio.sleep(old.not_after - cluster.wall() - 1)
        assert cluster.store.ca.active.id == old.id
        await asyncio.sleep(3)
        active = cluster.store.ca.active
        assert active.name.startswith("Consul CA")
        await asyncio.sleep(SOON)
        (leaf,) = cache.leaves()
        assert leaf.root_id == active.id
        assert cluster.store.ca.root(old.id) is None
        await cache.stop()

    led(scenario)


@pytest.mark.parametrize(("starts", "ends", "said"), [(-100, -1, "ended at"), (100, 200, "begins at")])
def test_a_root_of_an_operator_that_is_not_valid_now_is_refused_and_changes_nothing(
    starts: float, ends: float, said: str
) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        before = cluster.store.ca
        with pytest.raises(RpcError, match=f"^RootCert: Theirs {said} 20"):
            await configure(cluster, **given(cluster, starts=starts, ends=ends))
        assert cluster.store.ca == before

    led(scenario)


def test_a_leader_whose_clock_is_before_the_root_replaces_nothing_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(cluster: ConnectCluster) -> None:
        before = cluster.store.ca
        cluster.skew -= TEN_YEARS
        await asyncio.sleep(100)
        assert cluster.store.ca == before
        told = [message for message in caplog.messages if "Set the clock right" in message]
        assert len(told) == 1
        await cluster.ca.rotate({"Action": "start"}, "")
        assert names(cluster)[-1] == ("Consul CA 2", True)

    led(scenario)


def test_a_secondary_whose_intermediate_has_expired_gets_another_one_with_the_primarys_next_root() -> None:
    async def scenario() -> None:
        primary = ConnectCluster()
        secondary = ConnectCluster(datacenter="dc2", secondary=True, seed=8)

        async def ask(method: str, body: Any) -> Any:
            return await primary.call(method, body)

        ca = SecondaryCa(
            lambda: secondary.held, ask, datacenter="dc2", wall=secondary.wall, alive=lambda: secondary.alive
        )
        secondary.on_applied = ca.applied
        primary.ca.lead(1)

        def following(epoch: int) -> Any:
            step = partial(ca.step, epoch=epoch)
            return spawn(follow("ca", step, random.Random(epoch)), name="ca")

        task = following(1)
        await asyncio.sleep(10)
        cache = secondary.cache()
        await cache.leaf("web")
        for years, both in ((1.0, False), (10.0, True)):
            await cancel_and_wait(task)
            if both:
                await primary.ca.stop()
            for cluster in (primary, secondary):
                cluster.skew += years * 366 * DAY
            assert cache.leaves() == []
            with pytest.raises(MeshError, match=r"the Connect intermediate .* dc2 ended at"):
                await cache.leaf("web")
            if both:
                primary.elect(2)
            task = following(2 if both else 1)
            await asyncio.sleep(SOON)
            (leaf,) = cache.leaves()
            assert leaf.root_id == primary.store.ca.active.id
            assert cache.bundle is not None
            assert verifies(leaf, cache.bundle, secondary.wall())
        assert names(primary) == [("Consul CA 2", True)]
        await cancel_and_wait(task)
        await cache.stop()
        await primary.ca.stop()

    run(scenario())
