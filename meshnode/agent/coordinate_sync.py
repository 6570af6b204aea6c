"""Tells the servers where this node is in the network. Source: Consul 1.2.3, agent/agent.go ``sendCoordinate``."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from meshnode.agent.pool import Pool
from meshnode.agent.wan_map import coordinate_fields
from meshnode.base.errors import MeshError

__all__ = ["CoordinateSync"]

_log = logging.getLogger("meshnode.agent")
#: Updates a second that all nodes together aim at (Consul's sync_coordinate_rate_target).
RATE_TARGET: Final = 64.0
#: The shortest pause in seconds (sync_coordinate_interval_min), lengthened by up to itself.
MIN_INTERVAL: Final = 15.0


class CoordinateSync:
    """``call(method, body)`` asks a server; ``token`` gives the agent's own token."""

    def __init__(
        self,
        lan: Pool,
        call: Callable[[str, Mapping[str, Any]], Awaitable[Any]],
        *,
        node_name: str,
        datacenter: str,
        token: Callable[[], str],
        rng: random.Random,
    ) -> None:
        self._lan = lan
        self._call = call
        self._node_name = node_name
        self._datacenter = datacenter
        self._token = token
        self._rng = rng

    async def run(self) -> None:
        """Send the coordinate, for ever; a failure waits for the next turn."""
        while True:
            interval = max(MIN_INTERVAL, len(self._lan.members) / RATE_TARGET)
            await asyncio.sleep(interval * (1 + self._rng.random()))
            coordinate = self._lan.shell.serf.coordinate()
            if coordinate is None:
                continue
            body = {
                "Datacenter": self._datacenter,
                "Node": self._node_name,
                "Segment": "",
                "Coord": coordinate_fields(coordinate),
                "Token": self._token(),
            }
            try:
                await self._call("Coordinate.Update", body)
            except MeshError as error:
                _log.debug("the coordinate was not sent: %s", error)
