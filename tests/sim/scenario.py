"""Sizes of the simulations, theory to compare with, and how results are shown."""

from __future__ import annotations

import math
import os

from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.suspicion import suspicion_timeout

__all__ = ["NODES", "SEED", "detection_time", "report", "spread_time"]

NODES = int(os.environ.get("MESH_SIM_NODES", "1000"))
SEED = int(os.environ.get("MESH_SIM_SEED", "20261121"))


def spread_time(nodes: int, config: MemberlistConfig, loss: float) -> float:
    """Seconds until news is everywhere in theory: an epidemic in which each round reaches ``gossip_nodes`` others.

    Pittel's bound: log_(f+1) n + ln(n) / f rounds, with the fan-out ``f`` thinned by the loss.
    """
    fanout = config.gossip_nodes * (1 - loss)
    return (math.log(nodes, fanout + 1) + math.log(nodes) / fanout) * config.gossip_interval


def detection_time(nodes: int, config: MemberlistConfig, loss: float) -> tuple[float, float]:
    """Seconds from a crash to its being known everywhere: (earliest, latest).

    Earliest: probed at once, confirmed at once. Latest: first probed after e/(e-1) intervals on average (SWIM 3.1),
    three of those for the slowest, and no confirmation; then the news spreads.
    """
    shortest = suspicion_timeout(config.suspicion_mult, nodes, config.probe_interval)
    longest = shortest * config.suspicion_max_timeout_mult
    first_probe = config.probe_interval * math.e / (math.e - 1)
    return shortest, 3 * first_probe + config.probe_interval + longest + spread_time(nodes, config, loss)


def report(what: str, **figures: object) -> None:
    """Print one line of results; ``pytest -s`` or ``-rP`` shows it."""
    shown = ", ".join(f"{key} {_text(value)}" for key, value in figures.items())
    print(f"[sim seed={SEED}] {what}: {shown}")


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
