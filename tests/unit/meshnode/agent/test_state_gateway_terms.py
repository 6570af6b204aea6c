"""Calls that were taken to a leader which then says nothing: they end when another one leads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from meshnode.agent import state_gateway
from meshnode.agent.state_gateway import StateGateway
from meshnode.base.address import Address
from meshnode.control.endpoints.table import METHODS
from meshnode.control.log import LeadershipChange
from meshnode.control.servers import ServerInfo
from meshnode.runtime.cluster_state import ClusterState
from meshnode.runtime.rpc_client import CallLostError, RpcClient
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous

WRITE = {"Op": "set", "DirEnt": {"Key": "k", "Value": b"v"}}
READ = {"Key": "k"}


def server(name: str, number: int) -> ServerInfo:
    return ServerInfo(name, f"id-{name}", "dc1", Address(f"10.0.0.{number}", 8300), 3, False, None, True)


OLD, NEW = server("old", 1), server("new", 2)


@dataclass
class FakeState:
    """A follower's copy; it is its own log."""

    node_id: str = "id-us"
    leads: bool = False
    leadership: LeadershipChange = field(default_factory=lambda: LeadershipChange(OLD.node_id, 1))
    halted: None = None

    @property
    def log(self) -> FakeState:
        return self


@dataclass
class FakeServers:
    """Who leads, and answers: the old leader when ``answer`` is set, the new one at once."""

    state: Any = field(default_factory=FakeState)
    on_change: Callable[[LeadershipChange], None] | None = None
    answer: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[Address] = field(default_factory=list)
    lose: int = 0

    def change(self, leadership: LeadershipChange) -> None:
        self.state.leadership = leadership
        assert self.on_change is not None
        self.on_change(leadership)

    def leader(self) -> ServerInfo | None:
        wanted = cast(ClusterState, self.state).log.leadership.leader
        return next((each for each in (OLD, NEW) if each.node_id == wanted), None)

    async def call(self, address: Address, method: str, body: Any, **options: Any) -> Any:
        self.calls.append(address)
        self.asked.set()
        if self.lose and address == OLD.rpc:
            self.lose -= 1
            raise CallLostError("the connection closed")
        if address == OLD.rpc:
            await self.answer.wait()
        return {b"Index": 7}


def gateway(servers: FakeServers) -> StateGateway:
    return StateGateway(
        servers, METHODS, {}, client=cast(RpcClient, servers), datacenter="dc1",
        hold_timeout=lambda: 7.0, rng=random.Random(1),
    )  # fmt: skip


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_gateway, "_GRACE", 0.0)


@pytest.mark.usefixtures("impatient")
@asynchronous
async def test_a_write_is_in_doubt_once_another_server_leads() -> None:
    servers = FakeServers()
    call = spawn(gateway(servers).call("KVS.Apply", WRITE), name="call")
    await servers.asked.wait()
    servers.change(LeadershipChange(NEW.node_id, 2))
    with pytest.raises(CallLostError, match=r"KVS.Apply: old doesn't answer and leads no more.*or not"):
        await call
    assert servers.calls == [OLD.rpc], "it was made twice"


@pytest.mark.usefixtures("impatient")
@asynchronous
async def test_a_read_is_taken_to_the_new_leader() -> None:
    servers = FakeServers()
    call = spawn(gateway(servers).call("KVS.Get", READ), name="call")
    await servers.asked.wait()
    servers.change(LeadershipChange(NEW.node_id, 2))
    assert await call == {"Index": 7}
    assert servers.calls == [OLD.rpc, NEW.rpc]


@asynchronous
async def test_an_answer_that_comes_soon_after_the_change_counts() -> None:
    servers = FakeServers()
    call = spawn(gateway(servers).call("KVS.Apply", WRITE), name="call")
    await servers.asked.wait()
    servers.change(LeadershipChange(NEW.node_id, 2))
    servers.answer.set()
    assert await call == {"Index": 7}


@pytest.mark.usefixtures("impatient")
@asynchronous
async def test_a_time_without_a_leader_ends_no_call() -> None:
    servers = FakeServers()
    call = spawn(gateway(servers).call("KVS.Apply", WRITE), name="call")
    await servers.asked.wait()
    servers.change(LeadershipChange())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not call.done()
    servers.answer.set()
    assert await call == {"Index": 7}


@asynchronous
async def test_a_read_whose_connection_is_lost_is_made_again() -> None:
    servers = FakeServers(lose=2)
    servers.answer.set()
    assert await gateway(servers).call("KVS.Get", READ) == {"Index": 7}
    assert servers.calls == [OLD.rpc] * 3


@asynchronous
async def test_a_write_whose_connection_is_lost_is_not() -> None:
    servers = FakeServers(lose=1)
    servers.answer.set()
    with pytest.raises(CallLostError, match="closed"):
        await gateway(servers).call("KVS.Apply", WRITE)
    assert servers.calls == [OLD.rpc]
