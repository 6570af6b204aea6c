"""``Status.*``: the calls by which agents and operators ask a server who leads. Source: Consul 1.2.3, agent/consul."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import RemoteProtocolError

__all__ = ["STATUS_METHODS", "ClusterView", "StatusHandler", "leader", "parse_status", "peers", "ping"]


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


def parse_status(method: str, answer: object) -> object:
    """The raw (msgpack, old spec) answer of a status call as text or a list of texts.

    Raises :class:`RemoteProtocolError` when the server answered with something else.
    """
    if method == "Status.Leader" and isinstance(answer, bytes):
        return answer.decode("utf-8", "replace")
    if (
        method == "Status.Peers"
        and isinstance(answer, list | tuple)
        and all(isinstance(p, bytes) for p in answer)
    ):
        return [peer.decode("utf-8", "replace") for peer in answer]
    if method == "Status.Ping":
        return {}
    raise RemoteProtocolError(f"{method} was answered with {type(answer).__name__}")
