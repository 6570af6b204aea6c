"""A node's leaves over years of virtual time: renewed in time, re-issued when the root changes, never expired."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from meshnode.agent.leaf_cache import MAX_IDLE, MAX_LEAVES, LeafCache
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.connect.leaf import Leaf, TrustBundle
from meshnode.connect.settings import parse_ca_settings
from meshnode.pki import keys
from meshnode.runtime.tasks import spawn
from tests.support.connect_cluster import ConnectCluster
from tests.support.state_api import Grants
from tests.support.virtual_time import run

HOUR = 3600.0
TTL = 72 * HOUR


def verifies(leaf: Leaf, bundle: TrustBundle, at: float) -> bool:
    """Whether a peer that trusts ``bundle`` takes the leaf at ``at``."""
    chain = x509.load_pem_x509_certificates(leaf.certificate_pem.encode())
    if not all(c.not_valid_before_utc.timestamp() <= at < c.not_valid_after_utc.timestamp() for c in chain):
        return False
    roots = [keys.parse_certificate(root.certificate_pem) for root in bundle.roots]
    for position, certificate in enumerate(chain):
        for root in roots:
            if root.subject == certificate.issuer:
                try:
                    certificate.verify_directly_issued_by(root)
                except (InvalidSignature, ValueError):
                    continue
                return True
        if position + 1 < len(chain):
            certificate.verify_directly_issued_by(chain[position + 1])
    return False


async def started(**given: Any) -> ConnectCluster:
    cluster = ConnectCluster(**given)
    cluster.ca.lead(1)
    await asyncio.sleep(0.1)
    return cluster


def signed(cluster: ConnectCluster) -> int:
    return sum(method == "ConnectCA.Sign" for _, method in cluster.calls)


def test_ten_lifetimes_and_three_rotations_without_a_moment_in_which_nodes_do_not_verify_each_other() -> None:
    async def scenario() -> None:
        cluster = await started()
        caches = [cluster.cache("n1"), cluster.cache("n2")]
        cluster.alive = {"n1", "n2"}
        serials: set[str] = set()
        rotations = [2.3 * TTL, 5.1 * TTL, 7.7 * TTL]
        begin = cluster.wall()
        while cluster.wall() < begin + 10 * TTL:
            if rotations and cluster.wall() >= begin + rotations[0]:
                rotations.pop(0)
                await cluster.call("ConnectCA.RotationSet", {"Action": "start"})
            for own, peer in (caches, caches[::-1]):
                (leaf, _), (bundle, _) = await own.leaf("web"), await peer.roots()
                assert verifies(leaf, bundle, cluster.wall())
                serials.add(leaf.serial)
            await asyncio.sleep(TTL / 97 if int(cluster.wall()) % 3 else 5)
        assert not rotations
        assert [root.name for root in cluster.store.ca.roots] == ["Consul CA 4"]
        assert cluster.store.ca.rotation is None
        # Two nodes, one leaf in 57 to 67 hundredths of a life, and one more for each new root.
        assert 2 * (10 / 0.67) <= len(serials) <= 2 * (10 / 0.56 + 4)
        await stop(cluster, *caches)

    run(scenario())


async def stop(cluster: ConnectCluster, *caches: LeafCache) -> None:
    for cache in caches:
        await cache.stop()
    await cluster.ca.stop()


def test_when_everything_expired_while_all_was_off_it_comes_back_by_itself() -> None:
    async def scenario() -> None:
        cluster = await started()
        cache = cluster.cache()
        before, _ = await cache.leaf("web")
        await asyncio.sleep(1)
        await stop(cluster, cache)
        cluster.ca.lead(0)
        cluster.skew += 11 * 365 * 24 * HOUR
        cluster.ca.lead(2)
        again = cluster.cache()
        for _ in range(30):
            try:
                leaf, _ = await again.leaf("web")
                break
            except MeshError:
                await asyncio.sleep(2)
        bundle, _ = await again.roots()
        assert leaf.serial != before.serial
        assert verifies(leaf, bundle, cluster.wall())
        await stop(cluster, again)

    run(scenario())


def test_while_servers_are_away_the_leaf_serves_until_its_end_and_not_a_second_longer() -> None:
    async def scenario() -> None:
        cluster = await started(ttl="1h")
        cache = cluster.cache()
        leaf, hit = await cache.leaf("web")
        assert not hit
        cluster.down = True
        while cluster.wall() < leaf.not_after - 1:
            found, hit = await cache.leaf("web")
            assert (found, hit) == (leaf, True)
            await asyncio.sleep(min(60.0, leaf.not_after - 0.5 - cluster.wall()))
        await asyncio.sleep(1)
        assert cache.leaves() == []
        with pytest.raises(MeshError, match="No known Consul servers"):
            await cache.leaf("web")
        tries = signed(cluster)
        assert tries < 100
        cluster.down = False
        await asyncio.sleep(61)
        found, hit = await cache.leaf("web")
        assert hit
        assert found.is_valid(cluster.wall())
        await stop(cluster, cache)

    run(scenario())


def test_a_wall_clock_that_jumps_is_noticed_within_half_a_minute() -> None:
    async def scenario() -> None:
        cluster = await started(ttl="1h")
        cache = cluster.cache()
        leaf, _ = await cache.leaf("web")
        cluster.skew += 5 * HOUR
        assert cache.leaves() == []
        found, hit = await cache.leaf("web")
        assert (found.serial != leaf.serial, hit) == (True, False)
        await stop(cluster, cache)

    run(scenario())


def test_who_waits_past_an_index_gets_the_next_leaf_or_the_same_one_when_time_is_over() -> None:
    async def scenario() -> None:
        cluster = await started(ttl="100s")
        cache = cluster.cache()
        leaf, _ = await cache.leaf("web")
        same, hit = await cache.leaf("web", index=leaf.index, wait=10)
        assert (same, hit) == (leaf, False)
        following, _ = await cache.leaf("web", index=leaf.index, wait=300)
        assert following.index > leaf.index
        assert following.serial != leaf.serial
        await stop(cluster, cache)

    run(scenario())


def test_a_watcher_hears_of_each_leaf_and_of_each_change_of_the_roots() -> None:
    async def scenario() -> None:
        cluster = await started(ttl="1h")
        cache, seen = cluster.cache(), []

        async def watch() -> None:
            async for leaf, bundle in cache.watch("web"):
                seen.append((leaf.root_id, bundle.ids))

        task = spawn(watch(), name="watch")
        await asyncio.sleep(1)
        assert len(seen) == 1
        await cluster.call("ConnectCA.RotationSet", {"Action": "start"})
        await asyncio.sleep(300)
        first, last = seen[0], seen[-1]
        assert first[1] != last[1]
        assert last[1] == (last[0],)
        assert {len(ids) for _, ids in seen} == {1, 2}
        task.cancel()
        await stop(cluster, cache)

    run(scenario())


def test_a_rotation_waits_for_the_report_of_a_node_and_asks_for_its_leaves_again_with_jitter() -> None:
    async def scenario() -> None:
        cluster = await started()
        cache = cluster.cache()
        for number in range(40):
            await cache.leaf(f"web{number}")
            await asyncio.sleep(1)
        before = signed(cluster)
        await cluster.call("ConnectCA.RotationSet", {"Action": "start"})
        assert cluster.store.ca.active.name == "Consul CA 2"
        at = cluster.wall()
        await asyncio.sleep(70)
        moments = [moment - at for moment, method in cluster.calls if method == "ConnectCA.Sign"][before:]
        assert len(moments) == 40
        assert max(moments) - min(moments) > 20
        assert {leaf.root_id for leaf in cache.leaves()} == {cluster.store.ca.active.id}
        assert [root.name for root in cluster.store.ca.roots] == ["Consul CA 2"]
        await stop(cluster, cache)

    run(scenario())


def test_a_report_that_is_refused_is_tried_again_ever_more_rarely() -> None:
    async def scenario() -> None:
        cluster = await started()
        cluster.rights = Grants.of("service:web:write")
        cache = cluster.cache()
        await cache.leaf("web")
        await asyncio.sleep(HOUR)
        tries = sum(method == "ConnectCA.Report" for _, method in cluster.calls)
        assert 30 <= tries <= 80
        cluster.rights = Grants.of("service:web:write", "node:n1:write")
        await asyncio.sleep(121)
        assert [row.node for row in cluster.store.trust()] == ["n1"]
        await stop(cluster, cache)

    run(scenario())


def test_many_services_at_once_are_asked_for_at_a_bounded_rate() -> None:
    async def scenario() -> None:
        cluster = await started()
        cache = cluster.cache()
        await asyncio.gather(*(cache.leaf(f"s{number}") for number in range(60)))
        moments = [moment for moment, method in cluster.calls if method == "ConnectCA.Sign"]
        assert len(moments) == 60
        assert max(moments) - min(moments) >= (60 - 20) / 5 - 0.5
        await stop(cluster, cache)

    run(scenario())


def test_the_number_of_services_is_bounded_and_the_longest_unused_one_goes() -> None:
    async def scenario() -> None:
        cluster = await started()
        cluster.down = True
        cache = cluster.cache()
        for number in range(MAX_LEAVES + 1):
            cache._entry(f"s{number}", "").asked_at = float(number)
        assert len(cache._services) == MAX_LEAVES
        assert "s0" not in cache._services
        assert "s1" in cache._services
        await stop(cluster, cache)

    run(scenario())


def test_a_leaf_that_nobody_asks_for_is_not_renewed_for_ever() -> None:
    async def scenario() -> None:
        cluster = await started(ttl="24h")
        cache = cluster.cache()
        await cache.leaf("web")
        await asyncio.sleep(MAX_IDLE + 2 * 24 * HOUR)
        assert cache.leaves() == []
        assert not cache._services
        await stop(cluster, cache)

    run(scenario())


def test_a_name_that_no_certificate_can_hold_is_refused_before_anything_is_kept() -> None:
    async def scenario() -> None:
        cluster = await started()
        cache = cluster.cache()
        for name in ("", "..", "a/b", "a\x00"):
            with pytest.raises(RemoteProtocolError):
                await cache.leaf(name)
        assert not cache._services
        await stop(cluster, cache)

    run(scenario())


def test_what_the_server_refuses_is_told_to_who_asked() -> None:
    async def scenario() -> None:
        cluster = await started(enabled=False)
        cache = cluster.cache()
        for _ in range(3):
            with pytest.raises(MeshError, match="Connect must be enabled"):
                await cache.leaf("web")
            with pytest.raises(MeshError, match="Connect must be enabled"):
                await cache.roots()
        await stop(cluster, cache)

    run(scenario())


@pytest.mark.parametrize("key_type", ["ec", "rsa"])
def test_a_leaf_of_seconds_is_renewed_too(key_type: str) -> None:
    async def scenario() -> None:
        settings = parse_ca_settings("", {"LeafCertTTL": "3s", "PrivateKeyType": key_type})
        cluster = await started(settings=settings)
        cache = cluster.cache()
        serials = set()
        for _ in range(100):
            leaf, _ = await cache.leaf("web")
            assert leaf.is_valid(cluster.wall())
            serials.add(leaf.serial)
            await asyncio.sleep(0.3)
        assert len(serials) >= 30 / 3 / 0.7
        await stop(cluster, cache)

    run(scenario())


def test_a_leaf_that_is_revoked_is_handed_out_no_more_and_another_one_is_asked_for_at_once() -> None:
    async def scenario() -> None:
        cluster = await started()
        cache = cluster.cache()
        (web, _), (db, _) = await cache.leaf("web"), await cache.leaf("db")
        await cluster.call("ConnectCA.Revoke", {"SerialNumber": web.serial.upper()})
        following, _ = await cache.leaf("web", index=web.index, wait=60)
        assert following.serial != web.serial
        assert following.index > web.index
        assert (await cache.leaf("db"))[0] == db
        # Those who wait for no index are not given it either.
        await cluster.call("ConnectCA.Revoke", {"SerialNumber": following.serial})
        await asyncio.sleep(0.1)
        assert (await cache.leaf("web"))[0].serial not in (web.serial, following.serial)
        await stop(cluster, cache)

    run(scenario())


def test_a_leaf_of_a_root_that_is_distrusted_is_handed_out_no_more() -> None:
    async def scenario() -> None:
        cluster = await started()
        cache = cluster.cache()
        web, _ = await cache.leaf("web")
        await cluster.ca.rotate({"Action": "start", "Force": True}, "")
        await cluster.ca.rotate({"Action": "distrust"}, "")
        at = cluster.wall()
        following, _ = await cache.leaf("web", index=web.index, wait=60)
        assert cluster.wall() - at < 2.0, "not over the minute in which a rotation spreads them"
        assert following.root_id != web.root_id
        bundle = cache.bundle
        assert bundle is not None
        assert bundle.ids == (following.root_id,)
        await stop(cluster, cache)

    run(scenario())


def test_a_server_that_signs_for_another_key_or_service_is_not_believed() -> None:
    async def scenario() -> None:
        cluster = await started()
        cache = cluster.cache()
        honest = cluster.ca.sign
        peer = cluster.cache("n2")
        other = await peer.leaf("web")

        async def liar(body: Any, token: str) -> Any:
            return {**await honest(body, token), "CertPEM": other[0].certificate_pem}

        cluster.ca.sign = liar  # type: ignore[method-assign]
        with pytest.raises(RemoteProtocolError, match="another key"):
            await cache.leaf("web")
        await stop(cluster, cache, peer)

    run(scenario())
