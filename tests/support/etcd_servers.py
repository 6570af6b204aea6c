"""Servers on one etcd cluster: several in this process, or each in its own; and the judge of what they wrote."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import psutil

from meshnode.control.log import Entry
from meshnode.runtime.log_batcher import BatchLimits
from meshnode.runtime.log_etcd import EtcdLog
from tests.support.etcd_cluster import EtcdCluster
from tests.support.log_lab import Server, WriterProcess, check_history, read_log, serving
from tests.support.waiting import until

__all__ = [
    "NODES",
    "PREFIXES",
    "agree",
    "ended",
    "judge",
    "leading",
    "longest_gap",
    "member_of",
    "more_writes",
    "processes",
    "same_state",
    "servers",
]

NODES = ("server1", "server2", "server3")
#: A log for each test.
PREFIXES = (f"test{number}/" for number in itertools.count())


@contextlib.asynccontextmanager
async def servers(
    cluster: EtcdCluster, prefix: str, count: int = 3, limits: BatchLimits | None = None, **changes: Any
) -> AsyncIterator[list[Server]]:
    """``count`` servers, each asking another member first; the first one leads."""
    async with contextlib.AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(
                serving(
                    EtcdLog(cluster.settings(first=number % 3, prefix=prefix, **changes), NODES[number]),
                    limits,
                    campaign=number == 0,
                )
            )
            for number in range(count)
        ]
        for server in made:
            await server.log.campaign()
            await until(partial(agree, server, made[0]), "one leader")
        yield made


def agree(one: Server, other: Server) -> bool:
    return one.log.leadership == other.log.leadership


async def same_state(*each: Server) -> None:
    for server in each:
        await server.replica.barrier()
        assert server.state == each[0].state


def processes(cluster: EtcdCluster, prefix: str, count: int = 3) -> list[WriterProcess]:
    return [
        WriterProcess(
            {
                "endpoints": [str(a) for a in cluster.clients[number:] + cluster.clients[:number]],
                "tls": cluster.files("client"),
                "prefix": prefix,
                "node_id": NODES[number],
                "writers": 16,
            }
        )
        for number in range(count)
    ]


async def leading(writers: list[WriterProcess]) -> WriterProcess:
    def found() -> WriterProcess | None:
        return next((w for w in writers if w.leads and w.process.poll() is None), None)

    leader: WriterProcess = await until(found, "a server leads", 30, interval=0.01)
    return leader


async def more_writes(writers: list[WriterProcess], count: int = 200) -> None:
    before = sum(len(writer.times) for writer in writers)
    await until(
        lambda: sum(len(writer.times) for writer in writers) >= before + count, f"{count} writes", 30, 0.01
    )


def member_of(cluster: EtcdCluster, writer: WriterProcess) -> int:
    """The number of the member that ``writer`` is connected to, as the kernel sees it."""
    remote = {
        connection.raddr[:2]
        for connection in psutil.Process(writer.process.pid).net_connections("tcp")
        if connection.status == psutil.CONN_ESTABLISHED
    }
    (member,) = (n for n, address in enumerate(cluster.clients) if tuple(address) in remote)
    return member


def longest_gap(writers: list[WriterProcess], since: float) -> float:
    """The longest time without an acknowledged write from ``since`` on."""
    times = sorted(t for writer in writers for t in writer.times)
    before = max((t for t in times if t <= since), default=since)
    moments = [before, *(t for t in times if t > since)]
    return max((b - a for a, b in itertools.pairwise(moments)), default=0.0)


async def judge(cluster: EtcdCluster, prefix: str, writers: list[WriterProcess]) -> list[Entry]:
    """End them all, read the whole log as a newcomer, and hold it against what was acknowledged."""
    for writer in writers:
        writer.end()
    acknowledged = {command: index for writer in writers for command, index in writer.acknowledged.items()}
    async with serving(EtcdLog(cluster.settings(prefix=prefix), "judge"), campaign=False) as server:
        entries = await read_log(server.log)
        print(check_history(entries, acknowledged))
        await server.replica.barrier()
    return entries


@contextlib.contextmanager
def ended(writers: list[WriterProcess]) -> Iterator[None]:
    try:
        yield
    finally:
        for writer in writers:
            writer.end()
