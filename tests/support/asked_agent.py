"""The agent's API for a client of ours, with answers that a test gives."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from meshnode.client.agent import AgentClient
from meshnode.client.settings import ApiSettings
from tests.support.scripted_agent import Asked, Reply, ScriptedAgent, reply, scripted_agent

__all__ = ["Answer", "agent", "always"]

Answer = Callable[[Asked], Awaitable[Reply]]


@contextlib.asynccontextmanager
async def agent(answer: Answer) -> AsyncIterator[tuple[ScriptedAgent, AgentClient]]:
    async with scripted_agent(answer) as scripted:
        client = AgentClient(ApiSettings(address=scripted.address))
        yield scripted, client
        await client.close()


def always(value: Any, *, status: int = 200) -> Answer:
    async def answer(_asked: Asked) -> Reply:
        return reply(value, status=status)

    return answer
