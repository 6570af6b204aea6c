"""``connect proxy``: a sidecar proxy in the foreground, until a signal ends it.

Output and exit codes follow Consul's. A first SIGINT or SIGTERM lets what is open end, a second one does not wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.base.goflags import HelpRequested
from meshnode.cli.connect_proxy_agent import (
    datacenter_of,
    follow_managed,
    follow_service,
    sidecar_of,
)
from meshnode.cli.connect_proxy_engine import SidecarMaker, make_engine, start_logging
from meshnode.cli.connect_proxy_plan import Mode, Plan, ProxyFlags
from meshnode.cli.connect_proxy_register import Registration
from meshnode.cli.foreground import Foreground, announce, failed, run_on_loop
from meshnode.client.agent import AgentClient
from meshnode.client.reporter import Reporter
from meshnode.proxy.config import ProxyConfig
from meshnode.runtime.proxy.deadlines import DRAIN_TIMEOUT
from meshnode.runtime.proxy.process import Engine, ProxyProcess
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["run"]

_log: Final = logging.getLogger("meshnode.proxy")


def run(args: list[str]) -> int:
    """Run until a signal: 0; 1 when the proxy can't be prepared or can't listen."""
    try:
        plan = ProxyFlags().plan(args[1:], os.environ)
    except HelpRequested:
        raise
    except MeshError as error:
        return failed("Error preparing configuration", error)
    return run_on_loop(_Command(plan).main)


class _Command:
    """One run of the command."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._client = AgentClient(plan.settings)
        self._datacenter = ""
        self._process = ProxyProcess(self._make)
        self._foreground = Foreground(
            "Consul Connect proxy", _log, drain_timeout=DRAIN_TIMEOUT, hurry=self._process.hurry
        )

    async def main(self) -> int:
        """Prepare, run, end."""
        start_logging(self._plan.level)
        try:
            return await self._foreground.run(self._run)
        finally:
            await self._client.close()

    async def _run(self) -> int:
        """Ends by itself only when it fails; cancelled, it lets what is open end."""
        try:
            proxy_id = await self._announce()
        except MeshError as error:
            return failed("Error preparing configuration", error)
        keeping = [spawn(Reporter(self._client, proxy_id, self._process.report).run(), name="proxy report")]
        if (registration := self._registered()) is not None:
            keeping.append(spawn(self._keep_registered(registration), name="proxy registration"))
        try:
            await self._process.follow(self._configs(proxy_id))
        except MeshError as error:
            return failed("Failed running proxy", error)
        finally:
            await cancel_and_wait(*keeping[1:])
            if registration is not None and self._process.running.is_set():
                await registration.remove()
            await self._process.stop(drain_timeout=self._foreground.drain_timeout)
            await cancel_and_wait(*keeping)
        return 0

    async def _announce(self) -> str:
        """Print the banner; the id under which the agent is told about this proxy."""
        plan = self._plan
        proxy_id, lines = plan.proxy_id, list(plan.shown)
        if plan.mode is Mode.AGENT:
            if plan.sidecar_for:
                proxy_id = await sidecar_of(self._client, plan.sidecar_for)
                lines.append(f"    Sidecar for ID: {plan.sidecar_for}")
            lines.append(f"          Proxy ID: {proxy_id}")
        elif plan.config is not None:
            proxy_id = f"{plan.config.service}-{os.getpid()}"
        announce([f"Configuration mode: {plan.mode}", *lines])
        for warning in plan.warnings:
            _log.warning("%s", warning)
        return proxy_id

    def _registered(self) -> Registration | None:
        config = self._plan.config
        if not self._plan.register or config is None or config.public is None:
            return None
        return Registration(self._client, config.service, config.public, suffix=self._plan.suffix)

    async def _keep_registered(self, registration: Registration) -> None:
        await self._process.running.wait()
        await registration.run()

    async def _configs(self, proxy_id: str) -> AsyncIterator[ProxyConfig]:
        plan = self._plan
        if plan.config is not None:
            await self._learn_datacenter(plan.config)
            yield plan.config
            await asyncio.Event().wait()
        follow = follow_managed if plan.managed else follow_service
        async for config in follow(self._client, proxy_id):
            await self._learn_datacenter(config)
            yield config

    async def _learn_datacenter(self, config: ProxyConfig) -> None:
        if not self._datacenter and self._plan.static is None:
            self._datacenter = await datacenter_of(self._client, config.service)

    def _make(self, config: ProxyConfig) -> Engine:
        plan = self._plan
        maker = SidecarMaker(plan.settings, config.service, self._datacenter, plan.level, plan.static)
        return make_engine(maker, config, plan.workers)
