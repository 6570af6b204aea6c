"""Durable writes a second on three servers with one log in etcd, beside etcd itself (needs `wrk`, `etcd`).

    python bench/cluster_writes.py [--seconds 4]

Three etcd members and three agents on loopback and one disk. Writes are `PUT /v1/kv` with 100 bytes over plain HTTP, at
16 and 64 connections, to the leader and to another server. The peer is the same etcd in the same run: as many callers,
each with one put at a time, by our own client, so its rate is a lower bound of what etcd can do.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# In place of this directory, whose files would hide modules of the same names.
sys.path[0] = str(Path(__file__).parents[1])

from meshnode.runtime.etcd_client import EtcdClient  # noqa: E402
from meshnode.runtime.etcd_election import put  # noqa: E402
from meshnode.runtime.etcd_messages import TXN, message  # noqa: E402
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster  # noqa: E402
from tests.support.mesh_agent import Mesh, wait  # noqa: E402
from tests.support.waiting import until  # noqa: E402

SERVERS = ("server1", "server2", "server3")
PUT = """
wrk.method = "PUT"
wrk.body = string.rep("x", 100)
local n = 0
request = function()
  n = n + 1
  return wrk.format(nil, "/v1/kv/put/" .. (n % 1000))
end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4)
    seconds = parser.parse_args().seconds
    with (
        tempfile.TemporaryDirectory() as etcd_directory,
        tempfile.TemporaryDirectory() as directory,
        etcd_cluster(Path(etcd_directory), 3) as etcd,
        Mesh.new(Path(directory)) as mesh,
    ):
        asyncio.run(until(lambda: etcd.leader() >= 0, "etcd has a leader", 60))
        leader = start(mesh, etcd)
        other = next(name for name in SERVERS if name != leader)
        print(
            f"{'connections':>12}{'leader':>12}{'p99 ms':>9}{'other':>12}{'p99 ms':>9}{'etcd':>12}{'ratio':>8}"
        )
        for connections in (16, 64):
            mine, mine_p99 = writes(mesh[leader].host, connections, seconds, directory)
            theirs, theirs_p99 = writes(mesh[other].host, connections, seconds, directory)
            peer = asyncio.run(etcd_puts(etcd, connections, seconds))
            shown = (
                f"{mine:12,.0f}{mine_p99:9.1f}{theirs:12,.0f}{theirs_p99:9.1f}{peer:12,.0f}{mine / peer:8.2f}"
            )
            print(f"{connections:12}{shown}")


def start(mesh: Mesh, etcd: EtcdCluster) -> str:
    ca, cert, key = etcd.files("client")
    endpoints = [f"https://{address}" for address in etcd.clients]
    log = {"engine": "etcd", "endpoints": endpoints, "ca_file": ca, "cert_file": cert, "key_file": key}
    for number, name in enumerate(SERVERS, 1):
        mesh.add(
            name, number, server=True, bootstrap_expect=3, state_log=log, retry_join=[f"{mesh.network}.1"],
            log_level="ERR",
        ).launch()  # fmt: skip
    mesh.wait_alive(*SERVERS)
    address = wait(lambda: mesh.leader(*SERVERS), "a leader").partition(":")[0]
    return next(name for name in SERVERS if mesh[name].host == address)


def writes(host: str, connections: int, seconds: int, directory: str) -> tuple[float, float]:
    """Writes a second, and the 99th percentile in milliseconds."""
    script = Path(directory, "put.lua")
    script.write_text(PUT)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", str(script), f"http://{host}:8500"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "Non-2xx" not in done, done
    rate, late = re.search(r"Requests/sec:\s+([\d.]+)", done), re.search(r"99%\s+([\d.]+)(us|ms|s)\b", done)
    assert rate is not None
    assert late is not None
    return float(rate[1]), float(late[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[late[2]]


async def etcd_puts(etcd: EtcdCluster, callers: int, seconds: int) -> float:
    """Puts a second of ``callers``, each of whom waits for its answer before the next."""
    client = EtcdClient(etcd.settings(first=max(etcd.leader(), 0)))
    end = time.perf_counter() + seconds
    count = 0

    async def caller(number: int) -> None:
        nonlocal count
        while time.perf_counter() < end:
            request = message("TxnRequest", success=[put(b"bench/%d" % (count % 1000), b"x" * 100)])
            await client.call(TXN, request, 10.0)
            count += 1
        del number

    await asyncio.gather(*(caller(number) for number in range(callers)))
    await client.close()
    return count / seconds


if __name__ == "__main__":
    main()
