"""One agent, or two, in this process on loopback; clusters of processes are in ``tests/interop``."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.agent import Agent
from meshnode.agent.config import load
from meshnode.agent.node_id import load_node_id
from meshnode.base.errors import ConfigError, MeshError
from meshnode.control.user_event import UserEvent
from meshnode.http.effects import (
    CallServer,
    FireEvent,
    ForceLeave,
    Join,
    KeyOperation,
    KeyringStatus,
    KeyVerb,
    Leave,
    Reload,
    WaitForEvents,
)
from meshnode.http.errors import HttpError, ServerCallError
from meshnode.http.view import MemberStatus
from meshnode.runtime.logs import LogHub
from meshnode.testing.mesh import FAST_GOSSIP
from tests.support.mesh_agent import loopback
from tests.support.waiting import until


class Lab:
    """Makes agents of configurations in a directory, and stops them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.network = loopback()
        self.logs = LogHub(logging.DEBUG)
        self.agents: list[Agent] = []

    def write(self, name: str, number: int, **keys: Any) -> Path:
        path = self.directory / f"{name}.json"
        host = f"{self.network}.{number}"
        base = {
            "node_name": name,
            "bind_addr": host,
            "client_addr": host,
            "data_dir": str(self.directory / name),
            "gossip_lan": FAST_GOSSIP,
            "gossip_wan": FAST_GOSSIP,
            "performance": {"leave_drain_time": "0s"},
        }
        path.write_text(json.dumps(base | keys))
        return path

    def make(self, name: str, number: int, **keys: Any) -> Agent:
        arguments = ["-config-file", str(self.write(name, number, **keys))]
        loaded = load(arguments, {})
        node_id = load_node_id("", loaded.config.identity.data_dir)
        agent = Agent(loaded, node_id, self.logs, lambda: load(arguments, {}))
        self.agents.append(agent)
        return agent

    async def started(self, name: str, number: int, **keys: Any) -> Agent:
        agent = self.make(name, number, **keys)
        await agent.start()
        return agent


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    root = logging.getLogger("meshnode")
    before = root.handlers[:], root.propagate
    level = root.level
    root.handlers, root.propagate = [logging.NullHandler()], False
    yield
    root.handlers, root.propagate = before
    root.setLevel(level)


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Lab], Awaitable[None]]], None]:
    @contextlib.asynccontextmanager
    async def lab() -> AsyncIterator[Lab]:
        made = Lab(tmp_path)
        try:
            yield made
        finally:
            for agent in made.agents:
                await agent.stop()

    def run_it(scenario: Callable[[Lab], Awaitable[None]]) -> None:
        async def main() -> None:
            async with lab() as made, asyncio.timeout(60):
                await scenario(made)

        asyncio.run(main())

    return run_it


async def perform(agent: Agent, effect: Any) -> Any:
    return await agent.http.host.perform(effect)


def key() -> str:
    return base64.b64encode(os.urandom(16)).decode()


def test_two_agents_meet_and_the_client_asks_the_server(run: Any) -> None:
    async def scenario(lab: Lab) -> None:
        server = await lab.started("server", 1, server=True, bootstrap=True, encrypt=key())
        encrypt = base64.b64encode(server.config.gossip.encrypt or b"").decode()
        client = await lab.started("client", 2, encrypt=encrypt)
        assert await perform(client, Join((f"{lab.network}.1",), wan=False)) == 1
        await until(lambda: len(server.view.members(wan=False)) == 2, "both know each other")
        assert [m.name for m in server.view.members(wan=True)] == ["server.dc1"]
        assert client.view.members(wan=True) == ()
        leader = f"{lab.network}.1:8300"
        assert server.view.leader() == leader
        assert await perform(client, CallServer("Status.Leader", {})) == leader
        assert await perform(server, CallServer("Status.Leader", {})) == leader
        with pytest.raises(ServerCallError, match=r"No.Such"):
            await perform(server, CallServer("No.Such", {}))
        fired = await perform(client, FireEvent(UserEvent("", "deploy", b"v1")))
        for agent in (client, server):
            await until(lambda a=agent: a.events.buffer.named("deploy"), "the event arrived")
            assert agent.events.buffer.named("deploy")[0].event_id == fired.event_id
        await perform(client, WaitForEvents(0, 5.0))

    run(scenario)


def test_what_cannot_be_performed_is_an_error_for_the_caller(run: Any) -> None:
    async def scenario(lab: Lab) -> None:
        client = await lab.started("client", 1)
        with pytest.raises(MeshError, match=r"WAN join needs a server agent"):
            await perform(client, Join(("10.0.0.1",), wan=True))
        with pytest.raises(MeshError):
            await perform(client, Join((f"{lab.network}.99",), wan=False))
        with pytest.raises(MeshError, match=r"No known Consul servers"):
            await perform(client, CallServer("Status.Leader", {}))
        with pytest.raises(HttpError, match=r"'nobody'"):
            await perform(client, ForceLeave("nobody", prune=False))
        with pytest.raises(MeshError, match=r"encryption is not enabled"):
            await perform(client, KeyOperation(KeyVerb.LIST, "", 0))
        for bad in ("not base64!", "c2hvcnQ="):
            with pytest.raises(HttpError) as caught:
                await perform(client, KeyOperation(KeyVerb.INSTALL, bad, 0))
            assert caught.value.status == 400
            assert bad not in str(caught.value)

    run(scenario)


def test_key_operations_change_every_pool_and_tell_how_many_have_a_key(run: Any) -> None:
    async def scenario(lab: Lab) -> None:
        old, new = key(), key()
        server = await lab.started("server", 1, server=True, bootstrap=True, encrypt=old)
        for verb, text in ((KeyVerb.INSTALL, new), (KeyVerb.USE, new)):
            await perform(server, KeyOperation(verb, text, 0))
        found = await perform(server, KeyOperation(KeyVerb.LIST, "", 0))
        assert found == (
            KeyringStatus(wan=True, datacenter="dc1", keys={old: 1, new: 1}, num_nodes=1, messages={}),
            KeyringStatus(wan=False, datacenter="dc1", keys={old: 1, new: 1}, num_nodes=1, messages={}),
        )
        refused = await perform(server, KeyOperation(KeyVerb.REMOVE, new, 0))
        assert all("1/1 nodes reported failure" in status.error for status in refused)

    run(scenario)


def test_self_shows_the_configuration_without_secrets_and_the_keys_as_fingerprints(run: Any) -> None:
    async def scenario(lab: Lab) -> None:
        secret = key()
        agent = await lab.started(
            "a", 1, server=True, bootstrap=True, encrypt=secret, node_meta={"rack": "7"}
        )
        shown = agent.view.agent_self()
        text = json.dumps([shown.config, shown.debug_config, shown.stats, shown.meta, shown.meshnode])
        assert secret not in text
        assert base64.b64decode(secret).hex() not in text
        assert shown.debug_config["gossip"]["encrypt"] == "hidden"
        assert shown.config["NodeID"] == agent.node_id
        assert (shown.config["Server"], shown.meta) == (True, {"rack": "7"})
        assert len(shown.meshnode["GossipKeyFingerprints"]) == 1
        assert shown.meshnode["Certificates"] == []
        assert shown.coord is not None
        assert len(shown.coord["Vec"]) == 8
        assert shown.stats["consul"]["leader"] == "true"
        assert int(shown.stats["runtime"]["resident_bytes"]) > 1_000_000
        for values in shown.stats.values():
            assert all(isinstance(value, str) for value in values.values())

    run(scenario)


def test_a_failed_start_leaves_nothing_open(run: Any) -> None:
    async def scenario(lab: Lab) -> None:
        first = await lab.started("first", 1, server=True)
        second = lab.make("second", 1, server=True)
        with pytest.raises(MeshError, match=f"{lab.network}.1"):
            await second.start()
        await first.stop()
        third = await lab.started("third", 1, server=True)
        assert third.view.members(wan=False)[0].status is MemberStatus.ALIVE

    run(scenario)


def test_a_bad_reload_changes_nothing_and_a_good_one_is_reported(run: Any) -> None:
    async def scenario(lab: Lab) -> None:
        agent = await lab.started("a", 1)
        config, settings, digest = agent.config, agent.view.settings, agent.config_digest
        reports: list[None] = []
        agent.on_reload = lambda: reports.append(None)
        lab.write("a", 1, log_level="LOUD", http_config={"response_headers": {"A": "b"}})
        with pytest.raises(ConfigError):
            await perform(agent, Reload())
        lab.write("a", 1, verify_outgoing=True, ca_file="/nowhere", log_level="ERR")
        with pytest.raises(ConfigError):
            await agent.reload()
        assert (agent.config, agent.view.settings, agent.config_digest) == (config, settings, digest)
        assert (reports, lab.logs.threshold) == ([], logging.DEBUG)
        lab.write("a", 1, log_level="ERR", http_config={"response_headers": {"A": "b"}})
        await asyncio.gather(agent.reload(), agent.reload())
        assert agent.view.settings.response_headers == {"A": "b"}
        assert (len(reports), lab.logs.threshold) == (2, logging.ERROR)
        assert agent.config_digest != digest

    run(scenario)


def test_the_digest_stays_until_all_that_was_read_is_in_force(run: Any) -> None:
    async def scenario(lab: Lab) -> None:
        agent = await lab.started("a", 1)
        digest = agent.config_digest
        lab.write("a", 1, log_level="ERR", datacenter="elsewhere")
        await agent.reload()
        assert agent.config.identity.datacenter == "dc1"
        assert agent.config.logging.level == "ERR"
        assert agent.config_digest == digest

    run(scenario)


def test_leaving_twice_is_leaving_once(run: Any) -> None:
    async def scenario(lab: Lab) -> None:
        agent = await lab.started("a", 1, server=True)
        await asyncio.gather(perform(agent, Leave()), agent.leave())
        assert agent.left
        assert agent.stopped.is_set()

    run(scenario)


def test_who_leaves_does_not_put_itself_into_the_catalog_again(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gossip's news of the leave takes it out; a sync after that would register it."""
    names: set[str] = set()

    async def leave_pools(*_arguments: object) -> bool:
        names.update(task.get_name() for task in asyncio.all_tasks())
        return True

    async def scenario(lab: Lab) -> None:
        agent = await lab.started("a", 1)
        assert "catalog sync" in {task.get_name() for task in asyncio.all_tasks()}
        monkeypatch.setattr("meshnode.agent.agent.leave_pools", leave_pools)
        assert await agent.leave()
        assert "leave" in names
        assert "catalog sync" not in names

    run(scenario)


def test_a_leave_that_takes_too_long_ends_without_having_left(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(lab: Lab) -> None:
        first = await lab.started("a", 1)
        agent = await lab.started("b", 2, server=True, performance={"leave_drain_time": "60s"})
        await perform(agent, Join((f"{lab.network}.1",), wan=False))
        await until(lambda: len(first.view.members(wan=False)) == 2, "both met")
        monkeypatch.setattr("meshnode.agent.leaving.LEAVE_TIMEOUT", 0.05)
        with pytest.raises(MeshError, match="not finished in time"):
            await perform(agent, Leave())
        assert agent.stopped.is_set()
        assert not agent.left

    run(scenario)
