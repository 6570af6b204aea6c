"""What an idle agent costs: CPU seconds and memory of ours in an encrypted cluster, next to as many `serf agent`.

    python bench/agent_idle.py [--seconds 30] [--nodes 3] [--kind server]

Both run at the same time, with the LAN timing that they have by default; ours verify TLS and gossip is sealed in both.
Serf does less (no RPC, no HTTP API, no WAN pool), so the ratio is an upper bound. Also printed: the time from starting
an agent to its first answer over HTTP, and of one `meshnode members`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# In place of this directory, in which ``http.py`` would hide the library's ``http``.
sys.path[0] = str(Path(__file__).parents[1])

from tests.support.mesh_agent import MESHNODE, Mesh, MeshAgent, loopback, run_mesh, wait  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    cpu_seconds: float
    resident_mib: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
        resident = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return cls((int(stat[11]) + int(stat[12])) / TICKS, int(resident) / 1024)


def serf_agents(count: int, key: str, directory: Path) -> list[subprocess.Popen[bytes]]:
    serf = shutil.which("serf")
    if serf is None:
        return []
    network, started = loopback(), []
    for number in range(1, count + 1):
        join = [f"-join={network}.1"] if number > 1 else []
        with (directory / f"serf{number}.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [serf, "agent", f"-node=n{number}", f"-bind={network}.{number}:7946", f"-encrypt={key}",
                     f"-rpc-addr={network}.{number}:7373", "-profile=lan", *join],
                    stdout=log, stderr=log,
                )
            )  # fmt: skip
        wait(
            lambda number=number: b"agent running" in (directory / f"serf{number}.log").read_bytes().lower(),
            "serf runs",
        )
    return started


def cold_start(agent: MeshAgent) -> float:
    """Seconds from starting the process to its first answer."""
    began = time.perf_counter()
    agent.launch()
    while True:
        try:
            with socket.create_connection((agent.host, 8500), 1) as connection:
                connection.sendall(b"GET /v1/agent/members HTTP/1.0\r\n\r\n")
                if connection.recv(100):
                    return time.perf_counter() - began
        except OSError:
            time.sleep(0.002)


def timed_members(agent: MeshAgent) -> float:
    command = [MESHNODE, "members", f"-http-addr={agent.host}:8500"]
    times = []
    for _ in range(10):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--kind", choices=["server", "client"], default="server")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Mesh.new(Path(folder)) as mesh:
        names = [f"node{number}" for number in range(1, options.nodes + 1)]
        starts = []
        for number, name in enumerate(names, 1):
            is_server = options.kind == "server"
            expect = {"bootstrap_expect": options.nodes} if is_server and options.nodes > 1 else {}
            agent = mesh.add(
                name, number, server=is_server, retry_join=[f"{mesh.network}.1"], log_level="INFO",
                gossip_lan=None, gossip_wan=None, **expect,
            )  # fmt: skip
            starts.append(cold_start(agent))
        mesh.wait_alive(*names)
        members = timed_members(mesh["node1"])
        theirs = serf_agents(options.nodes, run_mesh("keygen").stdout.strip(), Path(folder))
        try:
            report(options.seconds, mesh, theirs, starts, members)
        finally:
            for process in theirs:
                process.kill()
                process.wait()


def report(
    seconds: float,
    mesh: Mesh,
    theirs: list[subprocess.Popen[bytes]],
    starts: list[float],
    members: float,
) -> None:
    ours = [agent.pid for agent in mesh.agents.values() if agent.running]
    pids = {"meshnode": ours, "serf": [process.pid for process in theirs]}
    before = {pid: Usage.of(pid) for group in pids.values() for pid in group}
    time.sleep(seconds)
    after = {pid: Usage.of(pid) for pid in before}
    print(f"idle for {seconds:g} s, {len(ours)} agents of each kind, per agent:")
    means = {}
    for name, group in pids.items():
        if not group:
            continue
        cpu = sum(after[pid].cpu_seconds - before[pid].cpu_seconds for pid in group) / len(group)
        resident = sum(after[pid].resident_mib for pid in group) / len(group)
        means[name] = (cpu, resident)
        print(f"  {name:<9} {cpu:6.2f} CPU s ({100 * cpu / seconds:.2f} %)   {resident:6.1f} MiB resident")
    if "serf" in means:
        (our_cpu, our_memory), (their_cpu, their_memory) = means["meshnode"], means["serf"]
        print(
            f"  ratio     {our_cpu / max(their_cpu, 1 / TICKS):6.1f} x CPU   {our_memory / their_memory:15.1f} x memory"
        )
    print(f"start to first answer: {min(starts):.2f} to {max(starts):.2f} s")
    print(f"`meshnode members`: {1000 * members:.0f} ms (median of 10)")


if __name__ == "__main__":
    main()
