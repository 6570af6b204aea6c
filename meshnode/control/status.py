"""``Status.*``: the calls by which agents and operators ask a server who leads. Source: Consul 1.2.3, agent/consul."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["STATUS_METHODS", "ClusterView", "StatusHandler", "leader", "peers", "ping"]


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The servers as this one sees them: RPC addresses as ``host:port``; ``leader`` is empty when there is none."""

    leader: str
    peers: tuple[str, ...]


#: (view, body) -> result. The bodies of these calls are empty and are not looked at, as in Consul.
StatusHandler = Callable[[ClusterView, object], object]


def ping(view: ClusterView, body: object) -> dict[str, object]:
    """``Status.Ping``: the server lives; an empty struct."""
    del view, body
    return {}


def leader(view: ClusterView, body: object) -> str:
    """``Status.Leader``: the RPC address of the leader, or empty text."""
    del body
    return view.leader


def peers(view: ClusterView, body: object) -> list[str]:
    """``Status.Peers``: the RPC addresses of all servers, sorted."""
    del body
    return sorted(view.peers)


STATUS_METHODS: Final[Mapping[str, StatusHandler]] = {
    "Status.Ping": ping,
    "Status.Leader": leader,
    "Status.Peers": peers,
}
