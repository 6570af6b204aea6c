"""DNS queries a second on one core, next to a bare socket that answers fixed bytes in the same run (`dnsperf`).

    python bench/dns.py [--seconds 4] [--clients 20]

The server runs in a process of its own on core 0, dnsperf on the other cores. Absolute figures move from machine to
machine; the ratio to the bare socket, measured just before and after, is what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import uvloop

# In place of this directory, whose files would hide modules of the same names.
sys.path[0] = str(Path(__file__).parents[1])

CASES = [
    ("bare socket", "bare", "web.service.consul A"),
    ("service A (2)", "dns", "web.service.consul A"),
    ("service SRV (2)", "dns", "web.service.consul SRV"),
    ("service A (60, 3 sent)", "dns", "many.service.consul A"),
    ("node A", "dns", "n1.node.consul A"),
    ("PTR", "dns", "9.0.0.10.in-addr.arpa PTR"),
    ("NXDOMAIN (not kept)", "dns", "nope.service.consul A"),
    ("service A over TCP", "tcp", "web.service.consul A"),
    ("bare socket", "bare", "web.service.consul A"),
]


def bare(listening: socket.socket) -> None:
    """The least that can be done: receive, send the question back as an answer."""
    buffer = bytearray(65535)
    view = memoryview(buffer)
    for _ in range(64):
        try:
            size, source = listening.recvfrom_into(buffer)
        except BlockingIOError:
            return
        buffer[2] |= 0x80
        listening.sendto(view[:size], source)


async def serve(kind: str) -> None:
    loop = asyncio.get_running_loop()
    if kind == "bare":
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listening.setblocking(False)
        listening.bind(("127.0.0.1", 0))
        loop.add_reader(listening, bare, listening)
        print(listening.getsockname()[1], flush=True)
        await asyncio.Event().wait()
    from meshnode.base.metrics import Metrics
    from tests.support.dns_serving import serving

    async with serving(metrics=Metrics(loop.time())) as (_, where):
        print(where.port, flush=True)
        await asyncio.Event().wait()


def measure(kind: str, query: str, seconds: int, clients: int) -> tuple[float, str]:
    command = [sys.executable, __file__, "--server", kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            return load(int(server.stdout.readline()), query, seconds, clients, tcp=kind == "tcp")
        finally:
            server.terminate()


def load(port: int, query: str, seconds: int, clients: int, *, tcp: bool) -> tuple[float, str]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as queries:
        queries.write(query + "\n")
        queries.flush()
        arguments = ["-s", "127.0.0.1", "-p", str(port), "-d", queries.name, "-l", str(seconds)]
        arguments += ["-c", str(clients), "-T", "1", *(["-m", "tcp"] if tcp else [])]
        text = subprocess.run(["dnsperf", *arguments], capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Queries per second:\s+([\d.]+)", text)
    lost = re.search(r"Queries lost:\s+(\d+)", text)
    assert rate, text
    assert lost, text
    return float(rate[1]), lost[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--server", choices=["bare", "dns", "tcp"])
    arguments = parser.parse_args()
    if arguments.server:
        os.sched_setaffinity(0, {0})
        uvloop.run(serve(arguments.server))
        return
    results = [
        (name, kind, *measure(kind, query, arguments.seconds, arguments.clients))
        for name, kind, query in CASES
    ]
    base = sum(rate for _, kind, rate, _ in results if kind == "bare") / 2
    print(f"{'query':24} {'q/s':>9} {'of bare':>8} {'lost':>6}")
    for name, _, rate, lost in results:
        print(f"{name:24} {rate:9.0f} {rate / base:8.2f} {lost:>6}")


if __name__ == "__main__":
    main()
