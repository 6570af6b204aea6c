"""Servers that met on the LAN meet on the WAN too, without being told (Consul's flood join)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from meshnode.agent.pool import Pool
from meshnode.base.address import Address
from meshnode.control.servers import ServerInfo

__all__ = ["FloodJoin", "missing_servers"]

_log = logging.getLogger("meshnode.agent")
#: Seconds between two looks when nothing changed: a server may have been unreachable (Consul).
FLOOD_INTERVAL: Final = 10.0


def missing_servers(servers: Iterable[ServerInfo], wan_names: Iterable[str]) -> dict[str, str]:
    """Name in the WAN pool -> address there, of each server alive on the LAN that the WAN pool doesn't have."""
    known = set(wan_names)
    return {
        name: str(Address(server.rpc.host, server.wan_port))
        for server in servers
        if server.alive and server.wan_port and (name := f"{server.name}.{server.datacenter}") not in known
    }


class FloodJoin:
    """``servers`` gives those of the local datacenter; ``wake`` makes it look again at once."""

    def __init__(self, wan: Pool, servers: Callable[[], Iterable[ServerInfo]]) -> None:
        self._wan = wan
        self._servers = servers
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """The membership changed."""
        self._changed.set()

    async def run(self) -> None:
        """Join whom the WAN pool lacks, again and again, until cancelled."""
        while True:
            self._changed.clear()
            missing = missing_servers(self._servers(), (member.name for member in self._wan.members))
            for name, address in missing.items():
                result = await self._wan.shell.join([address])
                if not result.joined:
                    _log.debug("WAN join of %s failed: %s", name, "; ".join(result.errors))
            try:
                async with asyncio.timeout(FLOOD_INTERVAL):
                    await self._changed.wait()
            except TimeoutError:
                continue
