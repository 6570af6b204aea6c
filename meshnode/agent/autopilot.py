"""The leader's care for the servers: how each of them is, and the removal of failed ones that were replaced."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from meshnode.agent.term import Term
from meshnode.base.errors import MeshError
from meshnode.base.metrics import Metrics
from meshnode.control.autopilot import AutopilotConfig
from meshnode.control.command import AutopilotSet
from meshnode.control.endpoints.operator import ServerHealth
from meshnode.control.log import LogError
from meshnode.control.server_health import LogStats, Peer, failure_tolerance, is_healthy, replaced
from meshnode.runtime.cluster_state import ClusterState

__all__ = ["Autopilot", "log_stats"]

_log = logging.getLogger("meshnode.autopilot")
#: Seconds between looks at the servers (Consul's health_interval).
HEALTH_INTERVAL: Final = 2.0
#: Looks between removals of failed servers: every 10 seconds, as Consul.
LOOKS_PER_CLEANUP: Final = 5
#: Seconds that a server may take to read the log's head when it is asked for its stats.
CONTACT_TIMEOUT: Final = 1.0


class Autopilot:
    """``ask`` gets the stats of another server, within a bounded time; ``remove`` force-leaves the server of a name.

    ``initial`` are the settings that the configuration gives to a cluster that has none. ``wall`` is unix seconds,
    ``clock`` what ``metrics`` is fed with; ``pause`` waits so many seconds.
    """

    def __init__(
        self,
        state: Callable[[], ClusterState | None],
        peers: Callable[[], Sequence[Peer]],
        ask: Callable[[Peer], Awaitable[LogStats]],
        remove: Callable[[str], None],
        *,
        own_id: str,
        shared: bool,
        initial: AutopilotConfig,
        metrics: Metrics,
        clock: Callable[[], float],
        wall: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._state = state
        self._peers = peers
        self._ask = ask
        self._remove = remove
        self._own_id = own_id
        self._shared = shared
        self._initial = initial
        self._metrics = metrics
        self._clock = clock
        self._wall = wall
        self._pause = pause
        self._term = Term(lambda epoch: {f"autopilot of epoch {epoch}": self._care(epoch)})
        #: Node id -> whether it was healthy at the last look, and since when that is so.
        self._known: dict[str, tuple[bool, float]] = {}

    # Terms

    def lead(self, epoch: int) -> None:
        """Begin to care for the servers, or end it with 0."""
        self._term.lead(epoch)

    async def stop(self) -> None:
        """End it and wait for the end."""
        await self._term.stop()

    async def _care(self, epoch: int) -> None:
        looks = 0
        while True:
            state = self._state()
            if state is not None and state.leads:
                try:
                    await self._settle(state, epoch)
                except LogError as error:
                    _log.debug("the settings of Autopilot were not written: %s", error)
                await self.look(state)
                if looks % LOOKS_PER_CLEANUP == 0:
                    self._clean_up(state)
                looks += 1
            await self._pause(HEALTH_INTERVAL)

    async def _settle(self, state: ClusterState, epoch: int) -> None:
        """Give a cluster without settings those of the configuration."""
        if not state.machine.autopilot.index:
            await state.submit(AutopilotSet(self._initial, expected=0, epoch=epoch), epoch=epoch)

    def _clean_up(self, state: ClusterState) -> None:
        if not state.machine.autopilot.config.cleanup_dead_servers:
            return
        for peer in replaced(self._peers(), shared=self._shared):
            _log.info("server %s has failed and enough others run: it is removed", peer.info.name)
            self._remove(peer.info.name)

    # Health

    async def look(self, state: ClusterState) -> tuple[list[ServerHealth], int]:
        """Ask every server, all at once: its health, by name, and how many more may fail."""
        peers = sorted(self._peers(), key=lambda peer: peer.info.name)
        answers = await asyncio.gather(*(self._stats(state, peer) for peer in peers))
        config, leader = state.machine.autopilot.config, _applied(state, 0.0)
        now, before = self._wall(), self._known
        self._known = {}
        report = []
        for peer, stats in zip(peers, answers, strict=True):
            key, well = peer.info.node_id, is_healthy(peer, stats, leader, config)
            known = before.get(key)
            since = known[1] if known is not None and known[0] == well else now
            self._known[key] = (well, since)
            report.append(ServerHealth(peer, stats, well, since))
        healthy = {server.peer.info.node_id: server.healthy for server in report}
        tolerance = failure_tolerance(peers, healthy, shared=self._shared)
        self._metrics.set_gauge("consul.autopilot.healthy", float(all(healthy.values())), self._clock())
        self._metrics.set_gauge("consul.autopilot.failure_tolerance", tolerance, self._clock())
        return report, tolerance

    async def _stats(self, state: ClusterState, peer: Peer) -> LogStats | None:
        if peer.info.node_id == self._own_id:
            return await log_stats(state)
        if not peer.info.alive:
            return None
        try:
            return await self._ask(peer)
        except MeshError as error:
            _log.debug("server %s did not tell its stats: %s", peer.info.name, error)
            return None


async def log_stats(state: ClusterState | None) -> LogStats:
    """How this server stands to the log now: the leader is in touch; another one reads the log's head to find out."""
    if state is None:
        return LogStats()
    if state.halted is not None:
        return _applied(state, None)
    if state.leads:
        return _applied(state, 0.0)
    loop = asyncio.get_running_loop()
    asked = loop.time()
    try:
        async with asyncio.timeout(CONTACT_TIMEOUT):
            await state.log.barrier()
    except (LogError, TimeoutError):
        age = state.log.contact_age()
        return _applied(state, age if age < float("inf") else None)
    return _applied(state, loop.time() - asked)


def _applied(state: ClusterState, contact: float | None) -> LogStats:
    return LogStats(contact, state.machine.epoch, state.machine.last_index)
