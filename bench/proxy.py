"""A pair of sidecars (client sidecar -> mutual TLS -> server sidecar -> nginx or iperf3): ours and its peers, in one
run.

    python bench/proxy.py [--seconds 5] [--only ours,naive,envoy,haproxy] [--workers 1,2] [--path DIR:DIR]

Peers: a naive relay of uvloop's TLS transports, Envoy and HAProxy where they are installed; each in turn with 1 and
with 2 processes or threads a side. Figures are those of one machine at one moment; the ratios to ``ours`` are the
result. The processor time that a pair took for one request, and for one new connection, is told besides: a busy
machine spoils it less. Needs wrk and nginx; hey and iperf3 for new connections and bulk.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener
from meshnode.runtime.proxy.contexts import make_contexts
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.sidecar import Sidecar
from tests.support.envoy import client_sidecar, envoy_binary, server_sidecar
from tests.support.proxy import Ca, Decisions, Instances, spiffe, upstream, write
from tests.support.wire import free_port

HOST = "127.0.0.1"


def material(directory: Path, name: str) -> TlsMaterial:
    files = [directory / f"{name}{suffix}" for suffix in (".pem", "-key.pem", "-roots.pem")]
    return TlsMaterial(*(file.read_text() for file in files))


class Given:
    """The certificate provider of one process: what is on disk, once."""

    def __init__(self, leaf: TlsMaterial) -> None:
        self._leaf = leaf

    async def watch(self) -> Any:
        yield self._leaf
        await asyncio.Event().wait()


async def serve_ours(side: str, listen: int, to: int, directory: Path) -> None:
    name = "api" if side == "server" else "web"
    instances = Instances({"api": [Instance(HOST, to, spiffe("api"))]})
    sidecar = Sidecar(Given(material(directory, name)), Decisions(), instances, shared=True)
    bind, app = Endpoint(HOST, listen), Endpoint(HOST, to)
    if side == "server":
        config = ProxyConfig(name, PublicListener(bind, app))
    else:
        config = ProxyConfig(name, None, (replace(upstream(), bind=bind),))
    await sidecar.start(config)
    await asyncio.Event().wait()


class EndedError(Exception):
    """A contender could not be started."""


class Naive(asyncio.BufferedProtocol):
    """Forty lines: what a relay is before anybody thinks about it."""

    def __init__(self, dial: Any = None, peer: Naive | None = None) -> None:
        self.dial, self.peer, self.early = dial, peer, b""
        self.buffer = bytearray(65536)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.dial:
            self.task = asyncio.get_running_loop().create_task(self.connect())

    async def connect(self) -> None:
        self.transport.pause_reading()
        _, self.peer = await self.dial(lambda: Naive(peer=self))
        self.peer.transport.write(self.early)
        self.transport.resume_reading()

    def get_buffer(self, hint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        data = bytes(memoryview(self.buffer)[:count])
        if self.peer is None:
            self.early += data
        else:
            self.peer.transport.write(data)

    def pause_writing(self) -> None:
        if self.peer:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer:
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.peer:
            self.peer.transport.close()


async def serve_naive(side: str, listen: int, to: int, directory: Path) -> None:
    loop = asyncio.get_running_loop()
    contexts = make_contexts(material(directory, "api" if side == "server" else "web"))
    tls = {"ssl": contexts.client, "server_hostname": ""} if side == "client" else {}

    def dial(factory: Any) -> Any:
        return loop.create_connection(factory, HOST, to, **tls)

    server_tls = contexts.server if side == "server" else None
    await loop.create_server(lambda: Naive(dial), HOST, listen, ssl=server_tls, reuse_port=True, backlog=1024)
    await asyncio.Event().wait()


def haproxy_command(directory: Path, side: str, listen: int, to: int, workers: int) -> list[str]:
    name = "api" if side == "server" else "web"
    pem, roots = directory / f"{name}-both.pem", directory / f"{name}-roots.pem"
    pem.write_text((directory / f"{name}.pem").read_text() + (directory / f"{name}-key.pem").read_text())
    tls = f"ssl crt {pem} ca-file {roots}"
    front = f"{HOST}:{listen} {tls} verify required" if side == "server" else f"{HOST}:{listen}"
    back = f"{HOST}:{to}" + (f" {tls} verify required" if side == "client" else "")
    file = directory / f"haproxy-{side}.cfg"
    file.write_text(
        f"global\n nbthread {workers}\n maxconn 4000\ndefaults\n mode tcp\n timeout connect 5s\n"
        " timeout client 60s\n timeout server 60s\n"
        f"frontend in\n bind {front}\n default_backend out\nbackend out\n server one {back}\n"
    )
    return ["haproxy", "-db", "-f", str(file)]


def commands(kind: str, directory: Path, public: int, entry: int, app: int, workers: int) -> list[list[str]]:
    def files(name: str) -> tuple[str, str, str]:
        chain, key, roots = (str(directory / f"{name}{end}") for end in (".pem", "-key.pem", "-roots.pem"))
        return chain, key, roots

    if kind == "envoy":
        return [
            server_sidecar(directory, public, (HOST, app), files("api"), spiffe("web"), workers),
            client_sidecar(directory, entry, (HOST, public), files("web"), spiffe("api"), workers),
        ]
    if kind == "haproxy":
        return [
            haproxy_command(directory, "server", public, app, workers),
            haproxy_command(directory, "client", entry, public, workers),
        ]
    base = [sys.executable, __file__, "--serve", kind, "--directory", str(directory)]
    one = [
        [*base, "server", str(public), str(app)],
        [*base, "client", str(entry), str(public)],
    ]
    return one * workers


@contextlib.contextmanager
def running(lines: list[list[str]], port: int) -> Iterator[list[psutil.Process]]:
    errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
    started = [subprocess.Popen(line, stdout=errors, stderr=errors) for line in lines]
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            # Not by connecting: iperf3 would take that for its one client.
            if f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text():
                break
            time.sleep(0.1)
        time.sleep(1.0)
        if any(process.poll() is not None for process in started):
            errors.seek(0)
            raise EndedError(f"{lines[0][0]} ended: {errors.read().decode(errors='replace')[-1000:]}")
        yield [psutil.Process(process.pid) for process in started]
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.wait()


def cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def measured(processes: list[psutil.Process], line: list[str], pattern: str) -> tuple[float, float, str]:
    """(count a second, microseconds of processor time for each, output)."""
    used, began = cpu(processes), time.monotonic()
    output = subprocess.run(line, capture_output=True, text=True, check=False).stdout
    passed, used = time.monotonic() - began, cpu(processes) - used
    count = sum(int(number) for number in re.findall(pattern, output))
    return count / passed, used / count * 1e6 if count else 0.0, output


def percentile(output: str, which: int) -> float:
    """In milliseconds, of what wrk prints."""
    found = re.search(rf"{which}%\s+([\d.]+)(us|ms|s)", output)
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]] if found else float("nan")


def measure(processes: list[psutil.Process], port: int, seconds: int) -> dict[str, float]:
    url, requests = f"http://{HOST}:{port}/", r"(\d+) requests in"
    wrk = ["wrk", "-t1", f"-d{seconds}", "--latency"]
    measured(processes, [*wrk[:2], "-d1", "-c64", url], requests)
    row: dict[str, float] = {}
    row["req/s 64"], row["us cpu/req"], output = measured(processes, [*wrk, "-c64", url], requests)
    row["p99 ms"] = percentile(output, 99)
    row["req/s 1"], _, _ = measured(processes, [*wrk, "-c1", url], requests)
    if shutil.which("hey"):
        line = ["hey", "-disable-keepalive", "-c", "16", "-z", f"{seconds}s", url]
        row["conn/s"], row["us cpu/conn"], _ = measured(processes, line, r"\[200\]\s+(\d+)")
    return row


def bulk(port: int, seconds: int, streams: int) -> float:
    line = ["iperf3", "-c", HOST, "-p", str(port), "-t", str(seconds), "-P", str(streams), "-J"]
    with contextlib.suppress(KeyError, ValueError, subprocess.TimeoutExpired):
        output = subprocess.run(
            line, capture_output=True, text=True, check=False, timeout=seconds + 10
        ).stdout
        return float(json.loads(output)["end"]["sum_received"]["bits_per_second"]) / 1e9
    return float("nan")


@contextlib.contextmanager
def applications(directory: Path) -> Iterator[tuple[int, int]]:
    """nginx with one page of 1 KiB, and iperf3."""
    web, iperf = free_port(), free_port()
    (directory / "index.html").write_text("x" * 1024)
    temporary = "".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log;"
        "events { worker_connections 20000; } http { access_log off; keepalive_requests 1000000000;"
        f"{temporary} server {{ listen {HOST}:{web}; location / {{ root {directory}; }} }} }}"
    )
    directory.chmod(0o755)
    lines = [["nginx", "-e", f"{directory}/nginx.log", "-c", f"{directory}/nginx.conf"]]
    if shutil.which("iperf3"):
        lines.append(["iperf3", "-s", "-p", str(iperf)])
    started = [subprocess.Popen(line, stdout=subprocess.DEVNULL) for line in lines]
    time.sleep(0.5)
    try:
        yield web, iperf
    finally:
        for process in started:
            process.terminate()
            process.wait()


def show(rows: dict[str, dict[str, float]], base: str) -> None:
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    print(f"{'':<14}" + "".join(f"{name:>16}" for name in names))
    for kind, row in rows.items():
        cells = []
        for name in names:
            value, ours = row.get(name, float("nan")), rows.get(base, {}).get(name, float("nan"))
            cells.append(f"{f'{value:.5g} ({value / ours:.2f})' if ours else f'{value:.5g}':>16}")
        print(f"{kind:<14}" + "".join(cells))


def contest(
    kind: str, directory: Path, applications: tuple[int, int], workers: int, seconds: int
) -> dict[str, float]:
    """All figures of one contender."""
    web, iperf = applications
    public, entry = free_port(), free_port()
    with running(commands(kind, directory, public, entry, web, workers), entry) as processes:
        row = measure(processes, entry, seconds)
    if shutil.which("iperf3"):
        public, entry = free_port(), free_port()
        with running(commands(kind, directory, public, entry, iperf, workers), entry):
            for streams in (1, 4):
                row[f"Gbit/s {streams}"] = bulk(entry, seconds, streams)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--only", default="ours,naive,envoy,haproxy")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--path", default="", help="directories with wrk, hey and so on, before PATH")
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        side, listen, to = options.rest
        serve = serve_ours if options.serve == "ours" else serve_naive
        uvloop.run(serve(side, int(listen), int(to), options.directory))
    os.environ["PATH"] = f"{options.path}:{os.environ['PATH']}"
    here = {
        "ours": True,
        "naive": True,
        "envoy": envoy_binary() is not None,
        "haproxy": bool(shutil.which("haproxy")),
    }
    rows: dict[str, dict[str, float]] = {}
    print("load average before:", *(f"{load:.1f}" for load in os.getloadavg()))
    with tempfile.TemporaryDirectory() as name, applications(Path(name)) as (web, iperf):
        directory, ca = Path(name), Ca()
        for service in ("web", "api"):
            write(ca.leaf(service), directory, service)
        for workers in map(int, options.workers.split(",")):
            for kind in options.only.split(","):
                if not here[kind]:
                    print(f"{kind} is not installed: left out")
                    continue
                try:
                    rows[f"{kind} x{workers}"] = contest(
                        kind, directory, (web, iperf), workers, options.seconds
                    )
                except EndedError as error:
                    print(error)
                    continue
                print(f"{kind} x{workers} measured", flush=True)
    show(rows, next(iter(rows)))
    print("load average after:", *(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
