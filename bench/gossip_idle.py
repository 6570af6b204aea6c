"""What an idle pool costs: CPU and memory of three of our nodes next to three ``serf`` agents, in one run.

Each of our nodes is a process of its own, as an agent is; all six run at the same time with the LAN profile and
encryption. Prints seconds of CPU, resident memory and the ratios. Usage: ``python -m bench.gossip_idle [seconds]``.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import psutil
import uvloop

from meshnode.base.address import Address
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.serf.config import SerfConfig
from meshnode.gossip.serf.serf import Serf
from meshnode.runtime.gossip_shell import GossipShell
from tests.support.serf_agent import SerfAgent, loopback_network
from tests.support.waiting import until

NODES = 3
PORT = 7946
KEY = bytes(range(32))


async def serve(name: str, host: str, seed: str) -> None:
    """One of our nodes, joined to ``seed``, until it is killed."""

    def make(address: Address) -> Serf:
        return Serf(
            name=name,
            address=address,
            tags={},
            config=SerfConfig(memberlist=MemberlistConfig.lan()),
            keyring=Keyring([KEY]),
            rng=random.Random(),
            entropy=os.urandom,
        )

    shell = GossipShell(
        make, Address(host, PORT), on_event=lambda event: None, logger=logging.getLogger("node")
    )
    await shell.start()
    if seed:
        await until(lambda: _joined(shell, seed), f"{name} joins {seed}")
    await until(lambda: len(shell.serf.members()) == NODES, f"{name} sees the pool")
    print("ready", flush=True)
    await asyncio.Event().wait()


async def _joined(shell: GossipShell, seed: str) -> int:
    return (await shell.join([seed])).joined


def cost(process: psutil.Process) -> tuple[float, int]:
    times = process.cpu_times()
    return times.user + times.system, process.memory_info().rss


async def measure(seconds: float) -> None:
    """Start both pools, let them idle, and print what they cost."""
    seed = int.from_bytes(os.urandom(3), "big")
    network = loopback_network(seed)
    print(f"seed {seed}, {NODES} nodes each, {seconds:g} s idle")
    with tempfile.TemporaryDirectory() as name:
        encrypt = f"-encrypt={base64.b64encode(KEY).decode()}"
        arguments = (encrypt, "-log-level=warn")
        agents = [SerfAgent(f"serf{i}", f"{network}.{10 + i}", Path(name), arguments) for i in range(NODES)]
        ours: list[asyncio.subprocess.Process] = []
        try:
            await asyncio.gather(*(agent.start() for agent in agents))
            for agent in agents[1:]:
                await agent.run("join", str(agents[0].address))
            for index in range(NODES):
                first = f"{network}.20:{PORT}" if index else ""
                ours.append(
                    await asyncio.create_subprocess_exec(
                        sys.executable, "-m", "bench.gossip_idle", "--node", f"ours{index}",
                        f"{network}.{20 + index}", first, stdout=asyncio.subprocess.PIPE,
                    )
                )  # fmt: skip
            for node in ours:
                assert node.stdout is not None
                assert (await node.stdout.readline()).strip() == b"ready"
            groups = {
                "serf": [psutil.Process(agent.process.pid) for agent in agents if agent.process is not None],
                "ours": [psutil.Process(node.pid) for node in ours],
            }
            before = {kind: [cost(process) for process in group] for kind, group in groups.items()}
            await asyncio.sleep(seconds)
            after = {kind: [cost(process) for process in group] for kind, group in groups.items()}
        finally:
            for node in ours:
                node.kill()
                await node.wait()
            await asyncio.gather(*(agent.kill() for agent in agents if agent.process is not None))
    report(before, after, seconds)


def report(
    before: dict[str, list[tuple[float, int]]], after: dict[str, list[tuple[float, int]]], seconds: float
) -> None:
    """Print per node: share of one core and resident memory, then the ratios."""
    cpu, rss = {}, {}
    for kind in before:
        used = [end[0] - start[0] for start, end in zip(before[kind], after[kind], strict=True)]
        cpu[kind] = sum(used) / len(used) / seconds
        rss[kind] = sum(end[1] for end in after[kind]) / len(after[kind]) / 2**20
        print(f"{kind}: {cpu[kind]:8.3%} of a core, {rss[kind]:6.1f} MiB resident (mean per node)")
    print(
        f"ratio ours/serf: CPU {cpu['ours'] / max(cpu['serf'], 1e-9):.2f}, memory {rss['ours'] / rss['serf']:.2f}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--node"]:
        uvloop.run(serve(*sys.argv[2:5]))
    elif shutil.which("serf") is None:
        sys.exit("bench.gossip_idle needs Debian's package serf")
    else:
        asyncio.run(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0))
