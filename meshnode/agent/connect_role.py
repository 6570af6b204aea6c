"""The agent's side of Connect: its certificate cache, the effects of the API, and all certificates of the node."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from meshnode.agent import on_demand
from meshnode.agent.config.model import AgentConfig
from meshnode.agent.connect_reports import ConnectReports
from meshnode.base.errors import MeshError
from meshnode.base.metrics import Metrics
from meshnode.http.connect_effects import (
    ConnectEffect,
    GetCertificates,
    GetEnvoys,
    GetLeaf,
    GetReports,
    GetRoots,
    ReportProxy,
)
from meshnode.runtime.tasks import cancel_and_wait, spawn

if TYPE_CHECKING:
    from meshnode.agent.leaf_cache import Call, LeafCache

__all__ = ["ConnectRole"]

#: Seconds after the first try to ask whether this node has reported before, and at most.
_RETRY: Final = (1.0, 60.0)


class ConnectRole:
    """``call`` asks a server; ``own`` gives the rows of the agent's own certificates, as ``describe`` has them.

    ``on_listening`` is told the id of a proxy that has begun to listen.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        call: Call,
        token: Callable[[], str],
        own: Callable[[], Sequence[Mapping[str, Any]]],
        rng: random.Random,
        metrics: Metrics,
        on_listening: Callable[[str], None] = lambda _proxy_id: None,
    ) -> None:
        self._on_listening = on_listening
        #: The Envoys that are connected; set by whom they are connected to.
        self.envoys: Callable[[], Sequence[Mapping[str, Any]]] = tuple
        self._own = own
        self._config = config
        self._call = call
        self._token = token
        self._rng = rng
        self.reports = ConnectReports(metrics, asyncio.get_running_loop().time)
        self._resuming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Go on reporting where this node did before its agent was restarted: a rotation waits for that."""
        self._resuming = spawn(self._resume(), name="Connect report of before")

    async def _resume(self) -> None:
        identity, pause = self._config.identity, _RETRY[0]
        body = {"Datacenter": identity.datacenter, "AllowStale": True, "Node": identity.node_name}
        while True:
            try:
                answer = await self._call("ConnectCA.Reported", body)
                break
            except MeshError:  # No server is known yet, or it is an older one.
                await asyncio.sleep(pause * self._rng.uniform(0.5, 1))
                pause = min(_RETRY[1], pause * 2)
        if isinstance(answer, Mapping) and answer.get("Reported"):
            self.leaves.follow()

    @cached_property
    def leaves(self) -> LeafCache:
        """The cache of leaves and roots; an agent that nobody asks for either has none."""
        identity = self._config.identity
        return on_demand.leaf_cache.LeafCache(
            self._call,
            node_name=identity.node_name,
            datacenter=identity.datacenter,
            token=self._token,
            wall=time.time,
            rng=self._rng,
        )

    async def stop(self) -> None:
        """Renew nothing any more."""
        if self._resuming is not None:
            await cancel_and_wait(self._resuming)
        if "leaves" in self.__dict__:
            await self.leaves.stop()

    async def perform(self, effect: ConnectEffect[Any]) -> Any:
        """The outcome of ``effect``; raises :class:`MeshError`."""
        match effect:
            case GetRoots(index, timeout):
                return await self.leaves.roots(index, timeout)
            case GetLeaf(service, token, index, timeout):
                return await self.leaves.leaf(service, token, index, timeout)
            case GetCertificates():
                known = self.leaves.bundle
                roots = known.roots if known is not None else ()
                served = self.reports.served()
                return on_demand.certificate_rows.certificate_rows(
                    self._own(), self.leaves.leaves(), roots, served, time.time()
                )
            case ReportProxy(report):
                if self.reports.take(report):
                    # Its checks have found nobody until now, and others wait for them.
                    self._on_listening(report.proxy_id)
                return None
            case GetEnvoys():
                return self.envoys()
            case GetReports():
                return self.reports.live()
        raise MeshError(f"this agent can't perform {type(effect).__name__}")
