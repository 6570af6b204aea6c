"""``PreparedQuery.Execute``: the core decides which datacenter is asked next, this asks it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from meshnode.agent.pool import Pool
from meshnode.agent.server_calls import ServerCalls
from meshnode.agent.state_gateway import LeaderMethod
from meshnode.agent.wan_map import datacenters
from meshnode.base.errors import MeshError
from meshnode.control.body import Body
from meshnode.control.endpoints.prepared_execute import (
    EXECUTE,
    EXECUTE_REMOTE,
    Here,
    execute,
    execute_remote,
)
from meshnode.runtime.cluster_state import ClusterState, held

__all__ = ["QueryExecution"]

_log = logging.getLogger("meshnode.query")


class QueryExecution:
    """``state`` gives this server's copy; ``calls`` reaches the servers of other datacenters."""

    def __init__(
        self,
        state: Callable[[], ClusterState | None],
        calls: ServerCalls,
        *,
        wan: Pool | None,
        datacenter: str,
        rng: random.Random,
    ) -> None:
        self._state = state
        self._calls = calls
        self._wan = wan
        self._datacenter = datacenter
        self._rng = rng
        self.methods: dict[str, LeaderMethod] = {EXECUTE: self._execute, EXECUTE_REMOTE: self._execute_remote}

    async def _execute(self, body: Body, token: str) -> dict[str, Any]:
        state = held(self._state())
        steps = execute(state.machine, {**body, "Token": token}, state.authorizer, self._rng, self._here())
        try:
            step = next(steps)
            while True:
                step = steps.send(await self._ask(step.method, step.body, step.datacenter))
        except StopIteration as end:
            return {**end.value, "KnownLeader": True, "LastContact": 0}

    async def _ask(self, method: str, body: Body, datacenter: str) -> Any:
        try:
            return await self._calls.call(method, body, datacenter, repeatable=True)
        except MeshError as error:
            _log.warning("datacenter %s could not answer a prepared query: %s", datacenter, error)
            return None

    async def _execute_remote(self, body: Body, token: str) -> dict[str, Any]:
        state = held(self._state())
        reply = execute_remote(
            state.machine, {**body, "Token": token}, state.authorizer, self._rng, self._here()
        )
        return {**reply, "KnownLeader": True, "LastContact": 0}

    def _here(self) -> Here:
        return Here(self._datacenter, tuple(datacenters(self._wan, self._datacenter)))
