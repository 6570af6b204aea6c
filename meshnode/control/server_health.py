"""Who of the servers is well, who may go, and how many more may fail: pure functions of what each of them said.

Consul asks these questions about raft's peers. Here a *voter* is a server that has the log: with the etcd engine every
server, with the embedded one the single server that keeps it. Source of the rules: Consul 1.2.3, Autopilot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meshnode.control.autopilot import AutopilotConfig
from meshnode.control.servers import ServerInfo

__all__ = ["LogStats", "Peer", "failure_tolerance", "is_healthy", "replaced"]

ALIVE: Final = "alive"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class LogStats:
    """How a server stands to the log. ``last_contact`` in seconds, ``None``: it hears nothing of it, or has none.

    ``last_term`` is the epoch of the leader whose command it applied last, ``last_index`` that command's index.
    """

    last_contact: float | None = None
    last_term: int = 0
    last_index: int = 0


@dataclass(frozen=True, slots=True)
class Peer:
    """A server of this datacenter that hasn't left; ``serf_status`` and ``version`` are as gossip has them."""

    info: ServerInfo
    serf_status: str
    version: str
    leads: bool
    voter: bool


def is_healthy(peer: Peer, stats: LogStats | None, leader: LogStats, config: AutopilotConfig) -> bool:
    """Whether a server is alive, answered (``stats``), and, if it has the log, is close to it as ``config`` says."""
    if peer.serf_status != ALIVE or stats is None:
        return False
    if not peer.voter:
        return True
    return (
        stats.last_contact is not None
        and stats.last_contact <= config.last_contact_threshold
        and stats.last_term == leader.last_term
        and stats.last_index >= leader.last_index - config.max_trailing_logs
    )


def failure_tolerance(peers: Sequence[Peer], healthy: Mapping[str, bool], *, shared: bool) -> int:
    """How many healthy servers may fail while a majority of those with the log stays; ``healthy`` is by node id.

    With the embedded engine (not ``shared``) 0: the state is on one server. With etcd it is Consul's figure, which is
    right where each server stands beside a member of etcd; where etcd stands apart, one server is enough to go on.
    """
    if not shared:
        return 0
    voters = [peer for peer in peers if peer.voter]
    well = sum(healthy.get(peer.info.node_id, False) for peer in voters)
    return max(0, well - (len(voters) // 2 + 1))


def replaced(peers: Sequence[Peer], *, shared: bool) -> list[Peer]:
    """The failed servers that may be removed: all of them while they are fewer than half of the servers, else none.

    Of three servers a failed one stays until a fourth has come in its place. Who keeps the embedded log always stays.
    """
    failed = [peer for peer in peers if peer.serf_status == FAILED]
    if not len(failed) < len(peers) // 2:
        return []
    return [peer for peer in failed if shared or not peer.voter]
