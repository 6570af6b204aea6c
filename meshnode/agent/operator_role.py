"""A server's part in ``/v1/operator``: put together from gossip, the log and the RPC client."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from meshnode.agent.autopilot import Autopilot, log_stats
from meshnode.agent.config.model import AgentConfig
from meshnode.agent.operator_methods import OperatorMethods, ask_stats, peers_of, remove_server
from meshnode.agent.pool import Pool
from meshnode.agent.state_gateway import LeaderMethod
from meshnode.agent.state_owner import StateOwner
from meshnode.base.metrics import Metrics
from meshnode.control.autopilot import MAX_NUMBER, AutopilotConfig
from meshnode.control.endpoints.operator import stats_fields
from meshnode.control.server_health import LogStats, Peer
from meshnode.runtime.rpc_client import RpcClient

__all__ = ["OperatorRole"]


class OperatorRole:
    """``lead`` it with each change of our own leadership; the leader has ``methods``, every server ``stats``."""

    def __init__(
        self,
        config: AgentConfig,
        node_id: str,
        *,
        owner: StateOwner,
        lan: Pool,
        wan: Pool | None,
        client: RpcClient,
        metrics: Metrics,
    ) -> None:
        self._owner = owner
        self._lan = lan
        self._wan = wan
        self._client = client
        self._datacenter = config.identity.datacenter
        self._shared = config.state_log.engine == "etcd"
        settings = config.autopilot
        self._autopilot = Autopilot(
            lambda: owner.state,
            self._peers,
            self._ask,
            self._remove,
            own_id=node_id,
            shared=self._shared,
            initial=AutopilotConfig(
                settings.cleanup_dead_servers,
                settings.last_contact_threshold,
                min(settings.max_trailing_logs, MAX_NUMBER),
            ),
            metrics=metrics,
            clock=asyncio.get_running_loop().time,
            wall=time.time,
        )
        operator = OperatorMethods(
            lambda: owner.state, self._peers, self._autopilot, self._remove, shared=self._shared
        )
        #: Name -> method, to be carried out at the leader.
        self.methods: dict[str, LeaderMethod] = operator.methods

    def lead(self, epoch: int) -> None:
        """Our term begins, or is over with 0."""
        self._autopilot.lead(epoch)

    async def stop(self) -> None:
        """End what runs while we lead. Safe to call again."""
        await self._autopilot.stop()

    async def stats(self) -> dict[str, Any]:
        """``Status.RaftStats``: how this server stands to the log."""
        return stats_fields(await log_stats(self._owner.state))

    def _peers(self) -> list[Peer]:
        leader = self._owner.leader()
        return peers_of(
            self._lan.members,
            self._datacenter,
            leader.rpc if leader is not None else None,
            shared=self._shared,
        )

    async def _ask(self, peer: Peer) -> LogStats:
        return await ask_stats(self._client, peer)

    def _remove(self, name: str) -> None:
        remove_server(self._lan, self._wan, self._datacenter, name)
