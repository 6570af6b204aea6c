"""The engine on etcd while servers and etcd members are killed, paused, cut off and full: nothing acknowledged is lost.

Gaps are measured and printed (``pytest -s``), not asserted.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.control.log import LogUnavailableError, NotLeaderError, Snapshot
from meshnode.runtime.log_batcher import BatchLimits
from meshnode.runtime.log_etcd import EtcdLog
from meshnode.runtime.tasks import spawn
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.etcd_servers import (
    PREFIXES,
    ended,
    judge,
    leading,
    longest_gap,
    member_of,
    more_writes,
    processes,
    same_state,
    servers,
)
from tests.support.log_contract import run
from tests.support.log_lab import check_history, read_log, serving
from tests.support.programs import needs
from tests.support.waiting import until

pytestmark = needs("etcd", "etcdctl")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd3"), 3) as cluster:
        asyncio.run(until(lambda: cluster.leader() >= 0, "etcd has a leader", 60))
        yield cluster


def test_kill_of_the_leader_loses_nothing_and_another_goes_on(three: EtcdCluster) -> None:
    prefix = next(PREFIXES)
    writers = processes(three, prefix)

    async def main() -> None:
        for _ in range(2):
            leader = await leading(writers)
            await more_writes(writers)
            killed = time.monotonic()
            leader.end(signal.SIGKILL)
            successor = await leading(writers)
            assert successor is not leader
            await more_writes(writers)
            print(
                f"\ngap in writes after kill -9 of the leading server: {longest_gap(writers, killed):.2f} s"
            )
        entries = await judge(three, prefix, writers)
        assert len({entry.epoch for entry in entries}) >= 3

    with ended(writers):
        asyncio.run(main())


def test_a_leader_that_was_paused_is_refused_when_it_comes_back(three: EtcdCluster) -> None:
    prefix = next(PREFIXES)
    writers = processes(three, prefix, 2)

    async def main() -> None:
        old = await leading(writers)
        (other,) = (writer for writer in writers if writer is not old)
        await more_writes(writers)
        old.send(signal.SIGSTOP)
        paused = time.monotonic()
        await until(lambda: other.leads, "the other leads", 30)
        await more_writes([other])
        print(f"\ngap in writes after SIGSTOP of the leading server: {longest_gap(writers, paused):.2f} s")
        told = len(old.acknowledged)
        old.send(signal.SIGCONT)
        await until(lambda: not old.leads, "it has noticed", 30)
        await until(lambda: any(event.startswith("fail") for event in old.events), "its writes fail", 30)
        await more_writes([other])
        print(f"told after the pause: {len(old.acknowledged) - told} writes made before it")
        entries = await judge(three, prefix, writers)
        epochs = [entry.epoch for entry in entries]
        assert epochs == sorted(epochs), "nothing of the old epoch is after the new one"

    with ended(writers):
        asyncio.run(main())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_an_etcd_member_that_dies_costs_a_moment_and_no_write(
    three: EtcdCluster, how: signal.Signals
) -> None:
    prefix = next(PREFIXES)
    writers = processes(three, prefix)

    async def main() -> None:
        for what in ("raft's leader", "the member that the leading server talks to"):
            await until(lambda: three.leader() >= 0, "etcd has a leader", 60)
            leader = await leading(writers)
            victim = three.leader() if what == "raft's leader" else member_of(three, leader)
            await more_writes(writers)
            at = time.monotonic()
            three.kill(victim, how)
            await more_writes(writers, 1000)
            print(f"\ngap in writes after {how.name} of {what}: {longest_gap(writers, at):.2f} s")
            if how is signal.SIGSTOP:
                three.kill(victim, signal.SIGCONT)
            else:
                three.launch(victim)
        await until(lambda: three.leader() >= 0, "etcd has a leader", 60)
        await judge(three, prefix, writers)

    try:
        with ended(writers):
            asyncio.run(main())
    finally:
        for process in three.processes.values():
            process.send_signal(signal.SIGCONT)


def test_without_a_majority_writes_fail_reads_go_on_and_it_recovers(three: EtcdCluster) -> None:
    async def main() -> None:
        limits = BatchLimits(append_timeout=2.0)
        async with servers(three, next(PREFIXES), 2, limits, call_timeout=1.0, lease_ttl=2) as (
            first,
            second,
        ):
            await first.batcher.append(b"1")
            await same_state(first, second)
            for victim in (0, 1):
                three.kill(victim)
            try:
                with pytest.raises(LogUnavailableError) as caught:
                    await first.batcher.append(b"2")
                assert caught.value.in_doubt
                await until(lambda: not first.leads, "nobody can be sure to lead")
                assert first.state == second.state == [b"1"]
                with pytest.raises(NotLeaderError, match="No cluster leader"):
                    await first.batcher.append(b"3")
            finally:
                for victim in (0, 1):
                    three.launch(victim)
            await until(lambda: first.leads or second.leads, "somebody leads again", 60)
            leader = first if first.leads else second
            await leader.batcher.append(b"4")
            await same_state(first, second)
            assert first.state in ([b"1", b"4"], [b"1", b"2", b"4"])
            check_history(await read_log(leader.log), {b"1": 1})

    run(main)
    asyncio.run(until(lambda: three.leader() >= 0, "etcd has a leader", 60))


def test_a_full_etcd_is_a_clear_error_and_writes_go_on_when_there_is_space(tmp_path: Path) -> None:
    async def main() -> None:
        with etcd_cluster(tmp_path, 1, "--quota-backend-bytes", str(6 << 20)) as cluster:
            async with serving(EtcdLog(cluster.settings(), "server1")) as server:
                for _ in range(25):
                    await server.batcher.append(bytes(200_000))
                await server.log.save_snapshot(Snapshot(25, b"small"))
                refused = None
                while refused is None:
                    try:
                        await server.batcher.append(bytes(20_000))
                    except LogUnavailableError as error:
                        refused = error
                assert "database space exceeded" in str(refused)
                assert not refused.in_doubt
                applied = server.replica.applied
                assert await server.replica.barrier() == applied == len(server.state), "reads go on"
                await server.log.compact(25)

                async def written() -> int:
                    cluster.etcdctl("defrag")  # etcd compacts in the background, so more than once perhaps
                    cluster.etcdctl("alarm", "disarm")
                    with contextlib.suppress(LogUnavailableError):
                        return (await server.batcher.append(b"space again")).index
                    return 0

                assert await until(written, "there is space again") == applied + 1

    run(main)


def test_a_server_that_starts_before_etcd_waits_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        with etcd_cluster(tmp_path, 1) as cluster:
            cluster.kill(0)
            log = EtcdLog(cluster.settings(), "server1")
            starting = spawn(log.start(), name="starting")
            done, _ = await asyncio.wait([starting], timeout=0.5)
            assert not done
            cluster.launch(0)
            await asyncio.wait_for(starting, 30)
            await log.stop()

    run(main)
