"""A server under a large state: memory, and thousands of blocking queries woken by one write.

    python bench/state.py [--services 10000] [--keys 100000] [--waiting 5000]

A `-dev` server on loopback is filled over its API; figures are of that process, read from /proc. There is no peer for
these on the machine unless a Consul binary is given (`--consul PATH` or CONSUL_BIN), which is then filled alike.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

# In place of this directory, whose files would hide modules of the same names.
sys.path[0] = str(Path(__file__).parents[1])

MESHNODE = Path(sys.executable).with_name("meshnode")
HOST, PORTS = (
    "127.0.0.1",
    {"http": 18690, "dns": 18691, "server": 18692, "serf_lan": 18693, "serf_wan": 18694},
)
#: Operations of one transaction (Consul's bound), and requests in flight while filling.
TXN_OPS, WORKERS = 64, 16
SERVICES_PER_NODE = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--waiting", type=int, default=5_000)
    parser.add_argument("--consul", default=os.environ.get("CONSUL_BIN", ""))
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    programs = {"meshnode": str(MESHNODE), **({"consul": options.consul} if options.consul else {})}
    for name, program in programs.items():
        print(f"{name}:")
        asyncio.run(measure(program, options))
    if not options.consul:
        print("no Consul binary was given (--consul PATH): nothing to compare with")


async def measure(program: str, options: argparse.Namespace) -> None:
    async with agent(program) as pid:
        print(f"  RSS of an empty server               {resident(pid):8.1f} MiB")
        began = time.perf_counter()
        await fill(services(options.services))
        print(f"  {options.services} services registered in          {time.perf_counter() - began:8.1f} s")
        began = time.perf_counter()
        await fill(keys(options.keys))
        took = time.perf_counter() - began
        print(
            f"  {options.keys} keys written in               {took:8.1f} s ({options.keys / took:,.0f} a second)"
        )
        print(f"  RSS with {options.services} services, {options.keys} keys {resident(pid):8.1f} MiB")
        await wake(pid, options.waiting)


async def wake(pid: int, count: int) -> None:
    """``count`` queries wait for one key; how long until each has its answer after the write."""
    status, index, _ = await ask("GET", "/v1/kv/key/000000")
    assert status == 200
    streams = []
    for start in range(0, count, 200):
        batch = range(start, min(start + 200, count))
        streams += await asyncio.gather(*(asyncio.open_connection(HOST, PORTS["http"]) for _ in batch))
    question = f"GET /v1/kv/key/000000?index={index}&wait=5m HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    for _, writer in streams:
        writer.write(question)
    await asyncio.sleep(2)
    before, cpu = resident(pid), cpu_seconds(pid)
    print(f"  RSS with {count} blocking queries        {before:8.1f} MiB")
    began = time.perf_counter()
    writing = asyncio.ensure_future(ask("PUT", "/v1/kv/key/000000", b"new"))  # noqa: TID251 - no agent's task
    answers = await asyncio.gather(*(reader.readuntil(b"\r\n\r\n") for reader, _ in streams))
    took = time.perf_counter() - began
    await writing
    assert all(b" 200 OK" in head for head in answers)
    print(f"  all {count} answered after one write in  {took:8.3f} s, {cpu_seconds(pid) - cpu:.2f} s of CPU")
    for _, writer in streams:
        writer.close()


def services(count: int) -> list[tuple[str, str, bytes]]:
    found = []
    for number in range(count):
        node = number // SERVICES_PER_NODE
        body = {
            "Node": f"node{node:05d}",
            "Address": f"10.{node >> 16}.{node >> 8 & 255}.{node & 255}",
            "Service": {
                "ID": f"s{number}",
                "Service": f"service{number % 500}",
                "Port": 80,
                "Tags": ["v1", "blue"],
            },
            "Check": {
                "CheckID": f"s{number}",
                "ServiceID": f"s{number}",
                "Name": "alive",
                "Status": "passing",
            },
        }
        found.append(("PUT", "/v1/catalog/register", json.dumps(body).encode()))
    return found


def keys(count: int) -> list[tuple[str, str, bytes]]:
    value = base64.b64encode(b"x" * 100).decode()
    found = []
    for start in range(0, count, TXN_OPS):
        batch = range(start, min(start + TXN_OPS, count))
        ops = [{"KV": {"Verb": "set", "Key": f"key/{n:06d}", "Value": value}} for n in batch]
        found.append(("PUT", "/v1/txn", json.dumps(ops).encode()))
    return found


async def fill(requests: list[tuple[str, str, bytes]]) -> None:
    waiting = iter(requests)

    async def work() -> None:
        reader, writer = await asyncio.open_connection(HOST, PORTS["http"])
        for method, path, body in waiting:
            status, _, text = await exchange(reader, writer, method, path, body)
            assert status == 200, text
        writer.close()

    await asyncio.gather(*(work() for _ in range(WORKERS)))


async def ask(method: str, path: str, body: bytes = b"") -> tuple[int, str, bytes]:
    reader, writer = await asyncio.open_connection(HOST, PORTS["http"])
    try:
        return await exchange(reader, writer, method, path, body)
    finally:
        writer.close()


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str, body: bytes
) -> tuple[int, str, bytes]:
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    text = await reader.readexactly(int(fields.get("content-length", 0)))
    return int(lines[0].split()[1]), fields.get("x-consul-index", ""), text


@contextlib.asynccontextmanager
async def agent(program: str) -> AsyncIterator[int]:
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "agent.json")
        config.write_text(json.dumps({"ports": PORTS, "log_level": "err"}))
        process = subprocess.Popen(
            [program, "agent", "-dev", "-bind=127.0.0.1", f"-config-file={config}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory,
        )  # fmt: skip
        try:
            for _ in range(3000):
                with contextlib.suppress(OSError):
                    if b":" in (await ask("GET", "/v1/status/leader"))[2]:
                        break
                await asyncio.sleep(0.01)
            yield process.pid
        finally:
            process.terminate()
            process.wait(20)


def resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
