"""What a service speaks: its proxy says it, or its defaults do, or it is tcp."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshnode.cli import connect_proxy_protocol as module
from meshnode.cli.connect_proxy_protocol import with_protocol
from meshnode.client.agent import AgentClient
from meshnode.client.settings import ApiSettings
from meshnode.proxy.config import ProxyConfig, PublicListener
from tests.support.asynchronous import asynchronous
from tests.support.proxy import local
from tests.support.scripted_agent import Asked, Reply, reply, scripted_agent

API = ProxyConfig("api", PublicListener(local(1), local(2)))
ITSELF = ProxyConfig("api", PublicListener(local(1), local(2), protocol="grpc"))


class Chain:
    """The agent's answer about api, which a test changes."""

    def __init__(self, protocol: str, status: int = 200) -> None:
        self.protocol, self.status, self.index = protocol, status, 10
        self.asked: list[str] = []
        self._changed = asyncio.Event()

    def speak(self, protocol: str) -> None:
        self.protocol, self.index = protocol, self.index + 1
        self._changed.set()

    async def __call__(self, asked: Asked) -> Reply:
        self.asked.append(asked.path)
        while self.status == 200 and dict(asked.query).get("index") == str(self.index):
            self._changed.clear()
            await self._changed.wait()
        return reply(
            {"Chain": {"Protocol": self.protocol}}, status=self.status, X_Consul_Index=str(self.index)
        )


@contextlib.asynccontextmanager
async def protocols(chain: Any, *configs: tuple[ProxyConfig, bool]) -> AsyncIterator[AsyncIterator[str]]:
    async def given() -> AsyncIterator[tuple[ProxyConfig, bool]]:
        for each in configs:
            yield each
        await asyncio.Event().wait()

    async with scripted_agent(chain) as agent:
        client = AgentClient(ApiSettings(address=agent.address))
        async with contextlib.aclosing(with_protocol(client, given())) as found:
            yield (each.public.protocol if each.public else "" async for each in found)
        await client.close()


async def following(found: AsyncIterator[str]) -> str:
    return await asyncio.wait_for(anext(found), 10)


@asynchronous
async def test_the_first_configuration_has_the_protocol_of_the_defaults_and_a_change_is_told() -> None:
    chain = Chain("http")
    async with protocols(chain, (API, False)) as found:
        assert await following(found) == "http"
        chain.speak("grpc")
        assert await following(found) == "grpc"
        assert set(chain.asked) == {"/v1/discovery-chain/api"}


@asynchronous
async def test_a_proxy_that_says_it_itself_asks_nobody() -> None:
    chain = Chain("http")
    async with protocols(chain, (ITSELF, True)) as found:
        assert await following(found) == "grpc"
        assert chain.asked == []


@asynchronous
async def test_an_agent_that_knows_no_chains_means_tcp() -> None:
    async with protocols(Chain("", status=404), (API, False)) as found:
        assert await following(found) == "tcp"


@asynchronous
async def test_a_protocol_that_nobody_knows_is_tcp() -> None:
    async with protocols(Chain("carrier pigeon"), (API, False)) as found:
        assert await following(found) == "tcp"


@asynchronous
async def test_an_agent_that_does_not_answer_keeps_no_listener_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(_asked: Asked) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(module, "PATIENCE", 0.01)
    async with protocols(silent, (API, False)) as found:
        assert await following(found) == "tcp"
