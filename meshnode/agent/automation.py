"""What the agent does by itself beside gossip and answering: watches, remote execution, telling where it is."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshnode.agent import on_demand
from meshnode.agent.access import Access
from meshnode.agent.config.model import AgentConfig
from meshnode.agent.connect_role import ConnectRole
from meshnode.agent.coordinate_sync import CoordinateSync
from meshnode.agent.perform import Performer
from meshnode.agent.pool import Pool
from meshnode.agent.user_events import UserEvents
from meshnode.http.api import Api
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.runtime.tls import TlsContexts

if TYPE_CHECKING:
    from meshnode.agent.remote_exec import RemoteExec
    from meshnode.agent.watches import Watches
    from meshnode.agent.xds_role import XdsRole

__all__ = ["Automation"]


class Automation:
    """Started last and stopped first: all of it asks the agent's other parts."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        api: Api,
        performer: Performer,
        access: Access,
        events: UserEvents,
        lan: Pool,
        connect: ConnectRole,
        look_again: Callable[[str], None],
        tls: TlsContexts,
        rng: random.Random,
    ) -> None:
        identity = config.identity
        self._tls = tls
        self._api = api
        self._perform = performer.perform
        self._watches: Watches | None = None
        self._xds: XdsRole | None = None
        if config.grpc_listeners:
            self._xds = on_demand.xds_role.XdsRole(
                on_demand.watches.InProcessApi(api, performer.perform), tls, look_again
            )
            connect.envoys = self._xds.status
        self._remote_exec: RemoteExec | None = None
        if not identity.disable_remote_exec:
            store = on_demand.remote_exec.ServerJobStore(
                performer.call, identity.datacenter, access.tokens.for_own_work
            )
            self._remote_exec = on_demand.remote_exec.RemoteExec(identity.node_name, store)
            events.on_remote_exec = self._remote_exec.handle_event
        self._coordinates = CoordinateSync(
            lan,
            performer.call,
            node_name=identity.node_name,
            datacenter=identity.datacenter,
            token=lambda: access.tokens.for_own_work,
            rng=rng,
        )
        self._task: asyncio.Task[Any] | None = None

    async def start(self, config: AgentConfig) -> None:
        """Begin; the watches are those of ``config``."""
        if self._xds is not None:
            self._xds.start(config)
        self._task = spawn(self._coordinates.run(), name="coordinate sync")
        await self.reload(config)

    async def reload(self, config: AgentConfig) -> None:
        """Run the watches of ``config``; those that are the same go on."""
        if self._watches is None:
            if not config.local.watches:
                return
            questions = on_demand.watches.InProcessApi(self._api, self._perform)
            self._watches = on_demand.watches.Watches(questions, self._context)
        watches = [
            on_demand.watch_handler.parse_watch(watch, f"watches[{i}]")
            for i, watch in enumerate(config.local.watches)
        ]
        await self._watches.apply(watches)

    async def stop(self) -> None:
        """End all of it. Safe to call again."""
        await cancel_and_wait(*filter(None, (self._task,)))
        if self._xds is not None:
            await self._xds.stop()
        if self._watches is not None:
            await self._watches.stop()
        if self._remote_exec is not None:
            await self._remote_exec.stop()

    def _context(self, skip_verify: bool) -> ssl.SSLContext:
        return self._tls.checks_client(skip_verify=skip_verify)
