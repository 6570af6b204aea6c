from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from meshnode.agent.flood_join import FloodJoin, missing_servers
from meshnode.base.address import Address
from meshnode.control.servers import ServerInfo
from meshnode.runtime.gossip_shell import JoinResult
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.waiting import until


def server(name: str, *, alive: bool = True, wan_port: int | None = 8302) -> ServerInfo:
    return ServerInfo(name, name, "dc1", Address("10.0.0.1", 8300), 0, False, wan_port, alive)


def test_missing_is_who_is_alive_has_a_wan_port_and_is_not_there() -> None:
    servers = [server("a"), server("b"), server("c", alive=False), server("d", wan_port=None)]
    assert missing_servers(servers, ["a.dc1"]) == {"b.dc1": "10.0.0.1:8302"}


class WanPool:
    """Joins fail until ``reachable``."""

    def __init__(self) -> None:
        self.members: list[Any] = []
        self.joined: list[str] = []
        self.reachable = False
        self.shell = self

    async def join(self, addresses: list[str]) -> JoinResult:
        self.joined += addresses
        if not self.reachable:
            return JoinResult(0, ("refused",))
        self.members.append(SimpleNamespace(name="b.dc1"))
        return JoinResult(1)


def test_who_is_missing_is_joined_and_tried_again_at_the_next_change() -> None:
    async def scenario() -> None:
        pool: Any = WanPool()
        flood = FloodJoin(pool, lambda: [server("b")])
        task = spawn(flood.run(), name="flood")
        await until(lambda: len(pool.joined) == 1, "a first try")
        pool.reachable = True
        flood.wake()
        await until(lambda: len(pool.joined) == 2, "a second try")
        flood.wake()
        await asyncio.sleep(0)
        await cancel_and_wait(task)
        assert pool.joined == ["10.0.0.1:8302"] * 2

    asyncio.run(scenario())
