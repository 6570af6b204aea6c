"""Clients of an agent whose answers a test writes, with a clock that it turns."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from meshnode.client.agent import AgentClient
from meshnode.client.settings import ApiSettings
from tests.support.scripted_agent import Asked, Reply, ScriptedAgent, reply, scripted_agent

__all__ = ["Script", "connected", "hello"]


Script = Callable[[Asked], Awaitable[Reply]]


@contextlib.asynccontextmanager
async def connected(script: Script, **options: Any) -> AsyncIterator[tuple[AgentClient, ScriptedAgent]]:
    settings = options.pop("settings", {})
    async with scripted_agent(script) as agent:
        client = AgentClient(ApiSettings(address=agent.address, **settings), rng=random.Random(1), **options)
        try:
            yield client, agent
        finally:
            await client.close()


async def hello(asked: Asked) -> Reply:
    return reply({"path": asked.path, "body": asked.body.decode()})
