"""Requests a second of the HTTP API on one core, next to a bare httptools protocol in the same run (needs `wrk`).

    python bench/http.py [--seconds 4] [--connections 64] [--consul PATH]

The server runs in a process of its own on core 0, wrk on the other cores. Absolute figures move from machine to
machine; the ratio to the bare protocol, measured just before and after, is what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httptools
import uvloop

# In place of this directory, in which this very file would hide the library's ``http``.
sys.path[0] = str(Path(__file__).parents[1])

CASES = [
    ("bare httptools", "bare", "/v1/status/leader"),
    ("status/leader", "api", "/v1/status/leader"),
    ("agent/members (2)", "api", "/v1/agent/members"),
    ("agent/members?wan=1", "api", "/v1/agent/members?wan=1"),
    ("agent/self", "api", "/v1/agent/self"),
    ("event/list (empty)", "api", "/v1/event/list"),
    ("status/peers", "api", "/v1/status/peers"),
    ("bare httptools", "bare", "/v1/status/leader"),
]


class Bare(asyncio.Protocol):
    """The least that can be done: parse, answer the same bytes."""

    ANSWER = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b'Date: Sat, 21 Nov 2026 03:00:00 GMT\r\nContent-Length: 15\r\n\r\n"10.0.0.1:8300"'
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(self.ANSWER)  # type: ignore[attr-defined]


async def serve(kind: str) -> None:
    loop = asyncio.get_running_loop()
    if kind == "bare":
        server = await loop.create_server(Bare, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
    else:
        from meshnode.base.address import Address
        from meshnode.runtime.http_server import HttpServer, TcpListener
        from tests.support.http_agent import FakeShell, FakeView, api_of

        view = FakeView()
        http = HttpServer(api_of(view), FakeShell(view).perform)
        where = await http.listen(TcpListener(Address("127.0.0.1", 0)))
        port = where[0].port  # type: ignore[union-attr]
    print(port, flush=True)
    await asyncio.Event().wait()


def measure(kind: str, path: str, seconds: int, connections: int) -> tuple[float, str]:
    command = [sys.executable, __file__, "--server", kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            return load(f"http://127.0.0.1:{int(server.stdout.readline())}{path}", seconds, connections)
        finally:
            server.terminate()


def load(url: str, seconds: int, connections: int) -> tuple[float, str]:
    wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    text = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{url}: {text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    p99 = re.search(r"\n\s+99%\s+(\S+)", text)
    assert rate
    assert p99
    return float(rate[1]), p99[1]


def consul(path: str, seconds: int, connections: int) -> Iterator[tuple[str, str, float, str]]:
    """Consul in development mode on one core too, for the same requests."""
    command = [path, "agent", "-dev", "-http-port", "28500", "-dns-port", "-1", "-bind", "127.0.0.1"]
    pinned = ["taskset", "-c", "0", *command]
    with subprocess.Popen(pinned, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as agent:
        assert agent.stdout is not None
        try:
            while "New leader elected" not in (line := agent.stdout.readline()):
                if not line:
                    raise SystemExit(f"{path} did not start")
            for name, kind, target in CASES:
                if kind == "api":
                    yield (
                        f"consul: {name}",
                        "consul",
                        *load(f"http://127.0.0.1:28500{target}", seconds, connections),
                    )
        finally:
            agent.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--server", choices=["bare", "api"])
    parser.add_argument("--consul", default=os.environ.get("CONSUL_BIN") or shutil.which("consul"))
    arguments = parser.parse_args()
    if arguments.server:
        os.sched_setaffinity(0, {0})
        uvloop.run(serve(arguments.server))
        return
    results = [
        (name, kind, *measure(kind, path, arguments.seconds, arguments.connections))
        for name, kind, path in CASES
    ]
    if arguments.consul:
        results += consul(arguments.consul, arguments.seconds, arguments.connections)
    else:
        print("no consul on this machine (--consul PATH or CONSUL_BIN): left out")
    bare = sum(rate for _, kind, rate, _ in results if kind == "bare") / 2
    print(f"{'request':24} {'req/s':>9} {'of bare':>8} {'p99':>9}")
    for name, _, rate, p99 in results:
        print(f"{name:24} {rate:9.0f} {rate / bare:8.2f} {p99:>9}")


if __name__ == "__main__":
    main()
