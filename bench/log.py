"""The replicated log: durable writes per second, both engines, next to what their disks and etcd give at most.

    python bench/log.py [--seconds 2] [--directory /where/the/disk/is]

A write is acknowledged when it is durable and applied here, as the agent would do it (batcher, replica, engine). "off"
appends one command at a time; "on" is group commit. Peers in the same run: ``fdatasync`` after each write of a bare
file; etcd's own put, one key a request, over the same client and the same three members with mutual TLS. All three
members, the client and the disk share this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

sys.path.pop(0)  # bench/, whose http.py would hide the standard one
sys.path.insert(0, str(Path(__file__).parents[1]))

from meshnode.control.log import MAX_BATCH_COMMANDS, Entry, Log
from meshnode.runtime.etcd_client import EtcdClient
from meshnode.runtime.etcd_election import put
from meshnode.runtime.etcd_messages import TXN, message
from meshnode.runtime.log_batcher import BatchLimits
from meshnode.runtime.log_etcd import EtcdLog
from meshnode.runtime.log_sqlite import SqliteLog
from meshnode.runtime.log_sqlite_file import LogFile
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.log_lab import serving
from tests.support.waiting import until

COMMAND = b"x" * 200
WRITERS = (1, 16, 64)
Call = Callable[[], Awaitable[object]]


async def rate(call: Call, writers: int, seconds: float) -> tuple[float, float]:
    """Calls per second, and the time in milliseconds that 99 of 100 took at most."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def write() -> None:
        while (began := time.perf_counter()) < end:
            await call()
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(writers)))
    elapsed = time.perf_counter() - began
    return len(times) / elapsed, sorted(times)[len(times) * 99 // 100] * 1e3


def bare_file(directory: Path, seconds: float) -> float:
    count, end = 0, time.perf_counter() + seconds
    with (directory / "bare").open("wb", buffering=0) as file:
        while time.perf_counter() < end:
            file.write(COMMAND)
            os.fdatasync(file.fileno())
            count += 1
    return count / seconds


async def engine(make: Callable[[], Log], base: dict[int, float], seconds: float, what: str) -> None:
    for batching in ("off", "on"):
        limits = BatchLimits(max_batch_commands=MAX_BATCH_COMMANDS if batching == "on" else 1)
        async with serving(make(), limits) as server:
            for writers in WRITERS:
                batches, commands = server.batcher.batches, server.batcher.commands
                got, p99 = await rate(lambda: server.batcher.append(COMMAND), writers, seconds)
                mean = (server.batcher.commands - commands) / (server.batcher.batches - batches)
                print(
                    f"  {what:16} batching {batching:3} {writers:3} writers {got:8.0f}/s  p99 {p99:6.2f} ms"
                    f"  batch {mean:5.1f}  ({got / base[writers]:6.2f})"
                )


async def stalls(directory: Path, seconds: float) -> None:
    """How long the event loop stands still at a time, with SQLite on it and with SQLite beside it."""
    still: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0)
            still.append(time.perf_counter() - before)

    async def on_the_loop(where: Path) -> None:
        file = LogFile(where)
        file.open()
        index, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            index += 1
            file.append(Entry(index, 1, (COMMAND,)))
            await asyncio.sleep(0)
        file.close()

    async def beside_it(where: Path) -> None:
        async with serving(SqliteLog(where, "bench")) as server:
            await rate(lambda: server.batcher.append(COMMAND), 1, seconds)

    for name, write in (("the event loop", on_the_loop), ("its own thread", beside_it)):
        (directory / name).mkdir()
        still.clear()
        watcher = spawn(watch(), name="bench-watch")
        await write(directory / name / "log.db")
        await cancel_and_wait(watcher)
        still.sort()
        median, rare = still[len(still) // 2] * 1e6, still[len(still) * 999 // 1000] * 1e6
        print(
            f"  SQLite on {name}, one writer: a turn of the loop takes {median:.0f} us (p99.9 {rare:.0f} us)"
        )


async def raw_etcd(cluster: EtcdCluster, seconds: float) -> dict[int, float]:
    client = EtcdClient(cluster.settings())
    numbers = iter(range(10**9))

    async def one() -> None:
        await client.call(TXN, message("TxnRequest", success=[put(b"raw/%d" % next(numbers), COMMAND)]))

    base = {}
    for writers in WRITERS:
        base[writers], p99 = await rate(one, writers, seconds)
        print(
            f"  etcd, raw put                 {writers:3} writers {base[writers]:8.0f}/s  p99 {p99:6.2f} ms"
        )
    await client.close()
    return base


async def main(directory: Path, seconds: float) -> None:
    synced = bare_file(directory, seconds)
    print(
        f"SQLite {sqlite3.sqlite_version}, {len(COMMAND)} bytes a command: acknowledged writes/s (to bare fdatasync)"
    )
    print(f"  bare file, fdatasync each       1 writer  {synced:8.0f}/s")
    base = dict.fromkeys(WRITERS, synced)
    await engine(lambda: SqliteLog(directory / "data", "bench"), base, seconds, "sqlite")
    await engine(lambda: SqliteLog(None, "bench"), base, seconds, "sqlite in memory")
    await stalls(directory, seconds)
    print("etcd, three members, mutual TLS: acknowledged writes/s (ratio to raw put at the same concurrency)")
    with etcd_cluster(directory, 3) as cluster:
        await until(lambda: cluster.leader() >= 0, "etcd has a leader", 60)
        first = cluster.leader()
        cluster.clients[:] = cluster.clients[first:] + cluster.clients[:first]
        puts = await raw_etcd(cluster, seconds)
        await engine(lambda: EtcdLog(cluster.settings(), "bench"), puts, seconds, "etcd")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=2.0)
    arguments.add_argument(
        "--directory", default=None, help="on the disk to measure; default: the temporary one"
    )
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        uvloop.run(main(Path(temporary), options.seconds))
