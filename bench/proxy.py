"""A pair of sidecars (client sidecar -> mutual TLS -> server sidecar -> nginx or iperf3): ours and its peers, in one
run; with ``--all`` then what else Connect costs, by ``bench/connect.py``: the check of intentions, their way to
proxies, leaves.

    python bench/proxy.py [--seconds 5] [--rounds 1] [--only ours,naive,envoy,haproxy] [--workers 1,2]
                          [--consul PATH] [--path DIR:DIR] [--all]

Peers: a naive relay of uvloop's TLS transports, Envoy and HAProxy where they are installed, and ``consul connect
proxy`` of a binary that is named (or ``CONSUL_BIN``), beside an agent that is not counted. Each has 1 and then 2
processes or threads a side. They are measured in turns, ``--rounds`` times; shown is the median, and with several
rounds the least and the most. Figures are those of one machine at one moment; the ratios to ``ours`` are the result.
Processor time is that of a pair; a busy machine spoils it less. Needs wrk and nginx; hey for new connections, iperf3
for bulk. A round takes 35 seconds a peer and number of workers with 5 ``--seconds``; the rest takes two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

# In place of this directory, in which ``http.py`` would hide the library's ``http``.
sys.path[0] = str(Path(__file__).parents[1])

from tests.support.proxy import Ca, write  # noqa: E402
from tests.support.sidecar_pair import absent, pair  # noqa: E402
from tests.support.wire import free_port  # noqa: E402

HOST = "127.0.0.1"
GIB = 2**30
REQUESTS = ("req/s 64", "p50 ms", "p99 ms", "us cpu/req", "req/s 1", "conn/s", "us cpu/conn")
BYTES = ("Gbit/s 1", "cpu s/GiB 1", "Gbit/s 4", "cpu s/GiB 4", "RSS MiB a side")


class EndedError(Exception):
    """A contender could not be started."""


@contextlib.contextmanager
def running(
    lines: list[list[str]], port: int, environment: Mapping[str, str] | None = None
) -> Iterator[list[psutil.Process]]:
    """The processes of ``lines``, once one of them listens on ``port``."""
    errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
    started = [
        subprocess.Popen(line, stdout=errors, stderr=errors, env={**os.environ, **(environment or {})})
        for line in lines
    ]
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
    row["p50 ms"], row["p99 ms"] = percentile(output, 50), percentile(output, 99)
    row["req/s 1"], _, _ = measured(processes, [*wrk, "-c1", url], requests)
    if shutil.which("hey"):
        line = ["hey", "-disable-keepalive", "-c", "16", "-z", f"{seconds}s", url]
        row["conn/s"], row["us cpu/conn"], _ = measured(processes, line, r"\[200\]\s+(\d+)")
    row["RSS MiB a side"] = sum(process.memory_info().rss for process in processes) / 2 / 2**20
    return row


def bulk(processes: list[psutil.Process], port: int, seconds: int, streams: int) -> tuple[float, float]:
    """(Gbit a second, seconds of processor time for a GiB); no numbers when iperf3 found none."""
    line = ["iperf3", "-c", HOST, "-p", str(port), "-t", str(seconds), "-P", str(streams), "-J"]
    used = cpu(processes)
    with contextlib.suppress(KeyError, ValueError, subprocess.TimeoutExpired):
        output = subprocess.run(
            line, capture_output=True, text=True, check=False, timeout=seconds + 10
        ).stdout
        received = json.loads(output)["end"]["sum_received"]
        used = cpu(processes) - used
        return float(received["bits_per_second"]) / 1e9, used / (float(received["bytes"]) / GIB)
    return float("nan"), float("nan")


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


def show(rows: Mapping[str, Mapping[str, float]], base: str, names: tuple[str, ...] = ()) -> None:
    """A table of ``names``, or of everything, with the ratios to ``base``."""
    known = dict.fromkeys(name for row in rows.values() for name in row)
    names = tuple(name for name in names if name in known) or tuple(known)
    print(f"{'':<14}" + "".join(f"{name:>16}" for name in names))
    for kind, row in rows.items():
        cells = []
        for name in names:
            value, ours = row.get(name, float("nan")), rows.get(base, {}).get(name, float("nan"))
            cells.append(f"{f'{_digits(value)} ({value / ours:.2f})' if ours else _digits(value):>16}")
        print(f"{kind:<14}" + "".join(cells))


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def show_spread(rounds: Mapping[str, list[dict[str, float]]], names: tuple[str, ...]) -> None:
    """The least and the most of each figure."""
    print(f"{'least - most':<14}" + "".join(f"{name:>16}" for name in names))
    for kind, rows in rounds.items():
        spans = [[row[name] for row in rows if name in row] for name in names]
        cells = [f"{_digits(min(span))} - {_digits(max(span))}" if span else "" for span in spans]
        print(f"{kind:<14}" + "".join(f"{cell:>16}" for cell in cells))


def contest(
    kind: str, directory: Path, applications: tuple[int, int], workers: int, seconds: int, consul: str
) -> dict[str, float]:
    """All figures of one contender."""

    @contextlib.contextmanager
    def started(app: int) -> Iterator[tuple[int, list[psutil.Process]]]:
        entry = free_port()
        found = pair(kind, directory, entry, app, workers, consul)
        with contextlib.ExitStack() as stack:
            if found.before:
                stack.enter_context(running(found.before, found.before_port))
            yield entry, stack.enter_context(running(found.lines, entry, found.environment))

    web, iperf = applications
    with started(web) as (entry, processes):
        row = measure(processes, entry, seconds)
    if shutil.which("iperf3"):
        with started(iperf) as (entry, processes):
            for streams in (1, 4):
                found = bulk(processes, entry, seconds, streams)
                row[f"Gbit/s {streams}"], row[f"cpu s/GiB {streams}"] = found
    return row


def compete(kinds: list[str], workers: list[int], rounds: int, seconds: int, consul: str) -> None:
    """Measure in turns and print the tables."""
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name, applications(Path(name)) as ports:
        directory, ca = Path(name), Ca()
        for service in ("web", "api"):
            write(ca.leaf(service), directory, service)
        for number in range(rounds):
            for count in workers:
                for kind in kinds:
                    try:
                        row = contest(kind, directory, ports, count, seconds, consul)
                    except EndedError as error:
                        print(error)
                        continue
                    found.setdefault(f"{kind} x{count}", []).append(row)
                    print(f"{kind} x{count} measured, round {number + 1} of {rounds}", flush=True)
    medians = {kind: _medians(rows) for kind, rows in found.items()}
    for names in (REQUESTS, BYTES):
        print()
        show(medians, next(iter(medians), ""), names)
        if rounds > 1:
            show_spread(found, names)


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rows if name in row) for name in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="ours,naive,envoy,haproxy,consul")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--consul", default=os.environ.get("CONSUL_BIN", ""), help="a binary to compare with")
    parser.add_argument("--path", default="", help="directories with wrk, hey and so on, before PATH")
    parser.add_argument("--all", action="store_true", help="then bench/connect.py")
    options = parser.parse_args()
    os.environ["PATH"] = f"{options.path}:{os.environ['PATH']}"
    began = time.monotonic()
    for tool, figure in (("hey", "new connections"), ("iperf3", "bulk")):
        if shutil.which(tool) is None:
            print(f"{tool} is not installed: no figures of {figure}")
    kinds = options.only.split(",")
    for kind in filter(lambda kind: absent(kind, options.consul), kinds):
        print(f"{kind} is not installed: left out")
    kinds = [kind for kind in kinds if not absent(kind, options.consul)]
    print("load average before:", *(f"{load:.1f}" for load in os.getloadavg()), flush=True)
    compete(kinds, [*map(int, options.workers.split(","))], options.rounds, options.seconds, options.consul)
    print("\nload average after:", *(f"{load:.1f}" for load in os.getloadavg()), flush=True)
    if options.all:
        print(flush=True)
        subprocess.run([sys.executable, str(Path(__file__).with_name("connect.py"))], check=True)
    print(f"\nall of it took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
