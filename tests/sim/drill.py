"""One large cluster, on demand: ``python -m tests.sim.drill --nodes 10000`` (the tests keep to 1 000)."""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.messages import State
from tests.sim.cluster import Cluster
from tests.sim.scenario import detection_time, spread_time
from tests.sim.world import Network

UP = (State.ALIVE, State.SUSPECT)


@dataclass
class Meter:
    """Prints what a phase took in virtual time and cost in CPU time."""

    cluster: Cluster
    out: TextIO = sys.stdout

    def phase(self, name: str, run: Callable[[], float], theory: str = "") -> None:
        world = self.cluster.world
        events, packets, started = world.events, world.packets, time.process_time()
        virtual = run()
        cpu = time.process_time() - started
        events, packets = world.events - events, world.packets - packets
        rate = f"{events / cpu:,.0f} events/s" if cpu else ""
        line = f"{name:<34} {virtual:7.1f} s virtual {cpu:7.1f} s cpu {packets:>10,} packets {rate}"
        print(line + (f"   theory {theory}" if theory else ""), file=self.out, flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Build, idle, join, kill; print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--loss", type=float, default=0.3, help="share of datagrams that are lost")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sealed", action="store_true", help="AES-GCM on every packet")
    options = parser.parse_args(arguments)
    config = MemberlistConfig.lan()
    # The collector would walk a hundred million roster entries again and again, and the cores make few cycles.
    gc.disable()
    started = time.process_time()
    cluster = Cluster(
        options.nodes,
        seed=options.seed,
        config=config,
        network=Network(loss=options.loss),
        keys=[bytes(32)] if options.sealed else (),
    )
    print(f"{options.nodes:,} nodes, {options.loss:.0%} loss, seed {options.seed}: built in "
          f"{time.process_time() - started:.1f} s cpu")  # fmt: skip
    meter, world = Meter(cluster), cluster.world

    def idle() -> float:
        world.run(2.0)
        return 2.0

    def join() -> float:
        new = cluster.join(5, through=cluster.pick(2))
        return world.run_until(lambda: cluster.knowing(new, *UP) == 1.0, limit=60)

    def kill() -> float:
        victims = cluster.pick(options.kills)
        for victim in victims:
            world.kill(victim)
        limit = detection_time(options.nodes, config, options.loss)[1]
        return world.run_until(lambda: cluster.knowing(victims, State.DEAD) == 1.0, limit=limit, step=1.0)

    earliest, latest = detection_time(options.nodes, config, options.loss)
    meter.phase("idle", idle)
    spread = spread_time(options.nodes, config, options.loss)
    meter.phase("5 new nodes known everywhere", join, f"{spread:.1f} s")
    meter.phase(f"{options.kills} crashes known everywhere", kill, f"{earliest:.0f} to {latest:.0f} s")
    print(f"false deaths: {len(cluster.false_deaths())}, events {world.events:,}, trace {world.trace[:16]}, "
          f"memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
