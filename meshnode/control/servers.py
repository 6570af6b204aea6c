"""Which servers a datacenter has, read from gossip, and which of them leads.

The tags are Consul's: ``role=consul``, ``dc``, ``port``, ``id``, ``expect``, ``bootstrap``, ``wan_join_port``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from meshnode.base.address import Address

__all__ = ["ServerInfo", "elect", "parse_server"]

SERVER_ROLE: Final = "consul"


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """One server as its gossip tags describe it; ``alive`` is gossip's present view."""

    name: str
    node_id: str
    datacenter: str
    rpc: Address
    expect: int
    bootstrap: bool
    wan_port: int | None
    alive: bool
    #: Whether it keeps the embedded log of its datacenter, and whether it knows of a server that does.
    owns_log: bool = False
    knows_log: bool = False


def parse_server(name: str, host: str, tags: Mapping[str, str], *, alive: bool) -> ServerInfo | None:
    """Read a member's tags; ``None`` when it isn't a server or its ``port`` tag is not a port."""
    if tags.get("role") != SERVER_ROLE:
        return None
    port = _port(tags.get("port", ""))
    if port is None:
        return None
    expect = tags.get("expect", "")
    return ServerInfo(
        name=name,
        node_id=tags.get("id", ""),
        datacenter=tags.get("dc", ""),
        rpc=Address(host, port),
        expect=int(expect) if expect.isascii() and expect.isdigit() else 0,
        bootstrap=tags.get("bootstrap") == "1",
        wan_port=_port(tags.get("wan_join_port", "")),
        alive=alive,
        owns_log=tags.get("state_log") == "owner",
        knows_log=bool(tags.get("state_log")),
    )


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) <= 65535 else None


def elect(servers: Iterable[ServerInfo]) -> ServerInfo | None:
    """The server that is to keep the embedded log, or ``None`` while there is no quorum.

    A pure function of membership: of the servers that are alive the one with the smallest node id, provided
    that at least ``expect`` servers have been seen and that a majority of all those seen is alive. Every
    server with the same view gives the same answer; nothing is replicated on the strength of it.
    """
    known = list(servers)
    alive = [server for server in known if server.alive]
    expected = max((server.expect for server in known), default=0)
    bootstrapped = any(server.bootstrap for server in known) or (expected > 0 and len(known) >= expected)
    if not bootstrapped or 2 * len(alive) <= max(len(known), expected):
        return None
    return min(alive, key=lambda server: (server.node_id, server.name))
