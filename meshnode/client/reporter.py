"""What a proxy, or a native service, does: told to its agent for as long as it runs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from meshnode.base.errors import MeshError
from meshnode.client.agent import AgentClient
from meshnode.client.answer import ApiError
from meshnode.client.settings import path_segment
from meshnode.proxy.report import substance

__all__ = ["MAX_REPORT_BYTES", "Reporter", "serialized"]

#: Seconds between two looks at what there is to report; between two reports when nothing happened.
REPORT_INTERVAL: Final = 1.0
QUIET_INTERVAL: Final = 5.0
#: Body that an agent takes (8 MiB), and some room.
MAX_REPORT_BYTES: Final = 6 * 1024 * 1024
#: Bytes of a report that are worth a second of silence after it, and the longest one: the agent forgets after 15.
BYTES_A_SECOND: Final = 256 * 1024
MAX_SILENCE: Final = 8.0
NOT_FOUND: Final = 404

_log: Final = logging.getLogger("meshnode.proxy")


class Reporter:
    """Tells the agent what the proxy does: each second when something happened, else every five; large reports less.

    An agent that is away, or that doesn't know the route, is told again later; the proxy goes on without it.
    """

    def __init__(
        self,
        client: AgentClient,
        proxy_id: str,
        report: Callable[[], Awaitable[Mapping[str, Any]]],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._path = f"/v1/agent/connect/report/{path_segment(proxy_id)}"
        self._report = report
        self._sleep = sleep
        self._told: tuple[Any, ...] = ()
        self._quiet = 0.0
        self._pause = REPORT_INTERVAL
        self._failed = ""

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self._sleep(self._pause)
            self._quiet += self._pause
            body = await self._report()
            news = substance(body)
            if body and (self._failed or news != self._told or self._quiet >= QUIET_INTERVAL):
                await self._tell({**body, "Pid": os.getpid()})
                self._told, self._quiet = news, 0.0

    async def _tell(self, body: Mapping[str, Any]) -> None:
        data = serialized(body)
        try:
            (await self._client.call("PUT", self._path, (), data, timeout=10.0)).checked()
        except MeshError as error:
            self._pause = QUIET_INTERVAL
            if str(error) != self._failed:
                self._failed = str(error)
                # That the agent is away is told by who needs it; agents of others don't know the route.
                refused = isinstance(error, ApiError) and error.status != NOT_FOUND
                level = logging.WARNING if refused else logging.DEBUG
                _log.log(level, "the agent is not told what the proxy does: %s", error)
            return
        self._failed = ""
        self._pause = min(MAX_SILENCE, max(REPORT_INTERVAL, len(data) / BYTES_A_SECOND))


def serialized(body: Mapping[str, Any], most: int = MAX_REPORT_BYTES) -> bytes:
    """``body`` as JSON of at most ``most`` bytes: the older halves of its lists are left out until it is."""
    while True:
        data = json.dumps(body).encode()
        lists: Mapping[str, Sequence[Any]] = {
            name: body.get(name, ()) for name in ("Connections", "Closed", "Refused", "Decisions")
        }
        if len(data) <= most or not any(lists.values()):
            return data
        body = {**body, **{name: list(rows[(len(rows) + 1) // 2 :]) for name, rows in lists.items()}}
