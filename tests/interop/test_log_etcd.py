"""The engine on etcd, against real etcd with mutual TLS: the contract, following, and what is refused."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from meshnode.control.log import (
    Log,
    LogCorruptError,
    LogUnavailableError,
    LogVersionError,
    NotLeaderError,
    Snapshot,
)
from meshnode.runtime.etcd_client import etcd_tls
from meshnode.runtime.log_etcd import EtcdLog
from meshnode.runtime.tasks import spawn
from tests.support.certs import make_ca, make_cert
from tests.support.etcd_cluster import EtcdCluster
from tests.support.etcd_servers import PREFIXES, same_state, servers
from tests.support.log_contract import DurableLogContract, run
from tests.support.log_lab import serving
from tests.support.programs import needs
from tests.support.waiting import until

pytestmark = needs("etcd", "etcdctl")


class TestEtcdContract(DurableLogContract):
    @pytest.fixture
    def make(self, single: EtcdCluster) -> Callable[[], Log]:
        prefix = next(PREFIXES)
        return lambda: EtcdLog(single.settings(prefix=prefix), "server1")


# One log for all


def test_three_servers_apply_the_same_and_only_the_leader_writes(three: EtcdCluster) -> None:
    async def main() -> None:
        async with servers(three, next(PREFIXES)) as (first, second, third):
            await asyncio.gather(*(first.batcher.append(b"%d" % n) for n in range(500)))
            for other in (second, third):
                with pytest.raises(NotLeaderError, match="not the leader: server1 is"):
                    await other.batcher.append(b"x")
                with pytest.raises(NotLeaderError):
                    await other.log.append([b"x"], first.epoch)
            await same_state(first, second, third)
            assert len(first.state) == 500

    run(main)


def test_etcdctl_sees_the_keys_that_are_written_down(single: EtcdCluster) -> None:
    async def main() -> None:
        prefix = next(PREFIXES)
        async with servers(single, prefix, 1) as (server,):
            await server.log.append([b"a", b"b"], server.epoch)
            await server.log.append([b"c"], server.epoch)
            await server.log.save_snapshot(Snapshot(3, bytes(1_500_000)))
            keys = single.etcdctl("get", "--prefix", "--keys-only", prefix).split()
            pieces = [key.rpartition("/")[2] for key in keys if key.startswith(f"{prefix}snapshots/")]
            assert pieces == ["00000000", "00000001"]
            assert [key.removeprefix(prefix) for key in keys if "snapshots/" not in key] == [
                "election/leader",
                "entries/0000000000000001",
                "entries/0000000000000003",
                "format",
                "head",
                "snapshot",
            ]
            leader = json.loads(single.etcdctl("get", f"{prefix}election/leader", "-w", "json"))["kvs"][0]
            assert leader["create_revision"] == server.epoch
            assert (
                single.etcdctl("get", f"{prefix}election/leader", "--print-value-only").strip() == "server1"
            )

    run(main)


def test_a_barrier_at_a_follower_waits_for_what_the_leader_acknowledged(three: EtcdCluster) -> None:
    async def main() -> None:
        async with servers(three, next(PREFIXES), 2) as (leader, follower):
            for number in range(200):
                written = await leader.batcher.append(b"%d" % number)
                assert await follower.replica.barrier() >= written.index
                assert follower.state[written.index - 1] == b"%d" % number

    run(main)


# Following


def test_a_follower_whose_connection_breaks_misses_nothing(three: EtcdCluster) -> None:
    async def main() -> None:
        async with servers(three, next(PREFIXES), 2) as (leader, follower):
            done = asyncio.Event()

            async def write() -> None:
                number = 0
                while not done.is_set():
                    number += 1
                    await leader.batcher.append(b"%d" % number)

            writer = spawn(write(), name="test-writer")
            assert isinstance(follower.log, EtcdLog)
            for _ in range(20):
                reached = follower.replica.applied
                await until(lambda: follower.replica.applied > reached + 5, "it follows", interval=0.01)  # noqa: B023
                follower.log.reconnect()
            done.set()
            await writer
            await same_state(leader, follower)

    run(main)


def test_compaction_by_etcds_operator_takes_nothing_away(three: EtcdCluster) -> None:
    async def main() -> None:
        async with servers(three, next(PREFIXES), 2) as (leader, follower):
            await follower.replica.stop()
            for number in range(100):
                await leader.batcher.append(b"%d" % number)
            status = json.loads(three.etcdctl("endpoint", "status", "-w", "json"))[0]["Status"]
            three.etcdctl("compact", str(status["header"]["revision"]))
            await leader.batcher.append(b"later")
            await follower.replica.start()
            await same_state(leader, follower)

    run(main)


def test_a_follower_that_was_away_past_our_compaction_loads_the_snapshot(three: EtcdCluster) -> None:
    async def main() -> None:
        async with servers(three, next(PREFIXES), 2) as (leader, follower):
            await leader.batcher.append(b"0")
            await same_state(leader, follower)
            await follower.replica.stop()
            for number in range(1, 51):
                await leader.batcher.append(b"%d" % number)
            await leader.log.save_snapshot(leader.snapshot())
            await leader.log.compact(leader.replica.applied)
            await leader.batcher.append(b"later")
            await follower.replica.start()
            await same_state(leader, follower)
            with pytest.raises(NotLeaderError):
                await follower.log.save_snapshot(leader.snapshot())
            with pytest.raises(NotLeaderError):
                await follower.log.compact(1)

    run(main)


def test_a_log_of_large_entries_is_read_page_by_page(single: EtcdCluster) -> None:
    async def main() -> None:
        prefix = next(PREFIXES)
        async with servers(single, prefix, 1) as (server,):
            for number in range(40):
                size = 900_000 if number % 3 == 0 else 10
                await server.log.append([number.to_bytes(4, "big") + bytes(size)], server.epoch)
            await server.replica.barrier()
            async with serving(EtcdLog(single.settings(prefix=prefix), "server2"), campaign=False) as other:
                await same_state(server, other)

    run(main)


def test_two_clusters_share_one_etcd_when_each_has_a_prefix_of_its_own(single: EtcdCluster) -> None:
    async def main() -> None:
        ours, theirs = next(PREFIXES), next(PREFIXES)
        async with servers(single, ours, 1) as (first,), servers(single, theirs, 1) as (second,):
            await first.batcher.append(b"ours")
            await first.replica.barrier()
            await second.replica.barrier()
            assert (list(first.state), list(second.state)) == ([b"ours"], [])

    run(main)


# What is refused


def test_a_damaged_snapshot_or_entry_is_noticed(single: EtcdCluster) -> None:
    async def main() -> None:
        prefix = next(PREFIXES)
        async with servers(single, prefix, 1) as (server,):
            await server.batcher.append(b"1")
            await server.log.save_snapshot(Snapshot(1, b"state"))
            keys = single.etcdctl("get", "--prefix", "--keys-only", f"{prefix}snapshots/").split()
            single.etcdctl("put", keys[0], "other")
            with pytest.raises(LogCorruptError, match="isn't what was saved"):
                await server.log.load_snapshot()
            single.etcdctl("put", f"{prefix}entries/{2:016x}", "not an entry")
            await until(lambda: server.halts, "the server stops")
            assert server.state == [b"1"]

    run(main)


def test_a_newer_layout_is_refused(single: EtcdCluster) -> None:
    async def main() -> None:
        prefix = next(PREFIXES)
        single.etcdctl("put", f"{prefix}format", "2")
        log = EtcdLog(single.settings(prefix=prefix), "server1")
        with pytest.raises(LogVersionError, match="has format 2, this meshnode reads 1"):
            await log.start()
        await log.stop()

    run(main)


def test_a_member_of_another_ca_is_refused_and_one_that_wants_a_certificate_refuses(
    single: EtcdCluster, tmp_path: Path
) -> None:
    async def main() -> None:
        ca = make_ca("Another CA")
        ca.write(tmp_path, "ca")
        make_cert(["server1"], ca).write(tmp_path, "stranger")
        ours = single.files("client")
        foreign = tuple(str(tmp_path / f"{name}.pem") for name in ("ca", "stranger", "stranger-key"))
        cases = ((foreign[0], *ours[1:]), (ours[0], *foreign[1:]))
        for files in cases:
            settings = single.settings()
            log = EtcdLog(type(settings)(settings.endpoints, etcd_tls(*files)), "server1")
            with pytest.raises(LogUnavailableError) as caught:
                async with asyncio.timeout(20):
                    await log.barrier()
            print(caught.value)
            assert "certificate" in str(caught.value)
            await log.stop()

    run(main)


def test_new_certificates_are_used_from_the_next_connection_on(single: EtcdCluster, tmp_path: Path) -> None:
    async def main() -> None:
        files = [shutil.copy(file, tmp_path) for file in single.files("client")]
        settings = single.settings(prefix=next(PREFIXES))
        log = EtcdLog(
            type(settings)(settings.endpoints, etcd_tls(*map(str, files)), settings.prefix), "server1"
        )
        async with serving(log) as server:
            await server.batcher.append(b"1")
            for source, target in zip(single.files("member"), files, strict=True):
                shutil.copy(source, target)
            log.reconnect()
            await server.batcher.append(b"2")
            assert server.state == [b"1", b"2"]
            assert [change.leader for change in server.changes] == ["server1"], "leadership was kept"

    run(main)
