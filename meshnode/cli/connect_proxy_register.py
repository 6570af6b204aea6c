"""``connect proxy -register``: the proxy is a service of the agent for as long as it runs.

Source: Consul 1.2.3, ``connect proxy``: kind connect-proxy, id ``<service>-proxy``, a TTL check of 30 s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from meshnode.base.errors import MeshError
from meshnode.client.agent import AgentClient
from meshnode.client.answer import ApiError
from meshnode.client.settings import path_segment
from meshnode.proxy.config import PublicListener
from meshnode.proxy.definition import KIND

__all__ = ["Registration"]

#: Seconds after which the check is critical without a heartbeat; between two; between two looks at the registration.
TTL: Final = 30
HEARTBEAT_INTERVAL: Final = 10.0
RECONCILE_INTERVAL: Final = 30.0
#: Seconds that the end of the proxy waits for its registration to be gone.
LEAVE_TIMEOUT: Final = 3.0
_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})

_log: Final = logging.getLogger("meshnode.proxy")


class Registration:
    """``suffix`` keeps the ids of several proxies of one service apart."""

    def __init__(
        self,
        client: AgentClient,
        service: str,
        public: PublicListener,
        *,
        suffix: str = "",
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._service = service
        self._public = public
        self.id = f"{service}-proxy" + (f"-{suffix}" if suffix else "")
        self._sleep = sleep
        self._failed = ""

    def body(self) -> dict[str, Any]:
        """Of ``PUT /v1/agent/service/register``, for agents of 1.2 and of later releases."""
        host = self._public.bind.host
        return {
            "Kind": KIND,
            "ID": self.id,
            "Name": f"{self._service}-proxy",
            # Where all addresses are listened on, the node's own is the one to dial.
            "Address": "" if host in _WILDCARDS else host,
            "Port": self._public.bind.port,
            "ProxyDestination": self._service,
            "Proxy": {"DestinationServiceName": self._service},
            "Check": {
                "CheckID": f"{self.id}-ttl",
                "Name": "proxy heartbeat",
                "TTL": f"{TTL}s",
                "Notes": "Built-in proxy will heartbeat this check.",
                "Status": "passing",
            },
        }

    async def run(self) -> None:
        """Register, then send heartbeats, and register again when it was removed; until cancelled."""
        since_look = RECONCILE_INTERVAL
        while True:
            try:
                if since_look >= RECONCILE_INTERVAL:
                    await self._reconcile()
                    since_look = 0.0
                await self._beat()
            except MeshError as error:
                if str(error) != self._failed:
                    self._failed = str(error)
                    _log.warning("%s can't be kept registered: %s", self.id, error)
                since_look = RECONCILE_INTERVAL
            else:
                if self._failed:
                    _log.info("%s is registered again", self.id)
                self._failed = ""
            await self._sleep(HEARTBEAT_INTERVAL)
            since_look += HEARTBEAT_INTERVAL

    async def _beat(self) -> None:
        try:
            await self._pass()
        except ApiError:
            # The check is gone, and so is the service: somebody deregistered it, or the agent lost its data.
            await self._register()
            await self._pass()

    async def _pass(self) -> None:
        await self._client.put_json(f"/v1/agent/check/pass/{path_segment(self.id + '-ttl')}", None)

    async def _reconcile(self) -> None:
        """Register unless the agent has it just so."""
        services = await self._client.get_json("/v1/agent/services")
        found = services.get(self.id) if isinstance(services, dict) else None
        wanted = self.body()
        if not isinstance(found, dict) or any(
            found.get(theirs) != wanted[ours]
            for theirs, ours in (
                ("Kind", "Kind"),
                ("Service", "Name"),
                ("Address", "Address"),
                ("Port", "Port"),
            )
        ):
            await self._register()

    async def _register(self) -> None:
        await self._client.put_json("/v1/agent/service/register", self.body())
        _log.info("registered as %s", self.id)

    async def remove(self) -> None:
        """Deregister; what keeps that from working is logged."""
        path = f"/v1/agent/service/deregister/{path_segment(self.id)}"
        try:
            (await self._client.call("PUT", path, timeout=LEAVE_TIMEOUT)).checked()
        except MeshError as error:
            _log.warning("%s stays registered: %s", self.id, error)
