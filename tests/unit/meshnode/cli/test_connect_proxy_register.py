"""A proxy that is a service of the agent for as long as it runs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from meshnode.cli.connect_proxy_register import HEARTBEAT_INTERVAL, RECONCILE_INTERVAL, Registration
from meshnode.client.agent import AgentClient
from meshnode.client.settings import ApiSettings
from meshnode.proxy.config import Endpoint, PublicListener
from tests.support.asynchronous import asynchronous
from tests.support.scripted_agent import Asked, Reply, reply, scripted_agent

PUBLIC = PublicListener(Endpoint("10.0.0.1", 8443), Endpoint("127.0.0.1", 80))
BEAT = "/v1/agent/check/pass/web-proxy-x-ttl"
LOOK = "/v1/agent/services"
REGISTER = "/v1/agent/service/register"


class Agent:
    """Keeps what is registered; ``forget`` is what somebody else does, ``away`` answers nothing but errors."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.away = False

    async def __call__(self, asked: Asked) -> Reply:
        if self.away:
            return reply(b"No cluster leader", status=500)
        if asked.path == LOOK:
            return reply({key: {**one, "Service": one["Name"]} for key, one in self.services.items()})
        if asked.path == REGISTER:
            body = json.loads(asked.body)
            self.services[body["ID"]] = body
        elif asked.path == BEAT and "web-proxy-x" not in self.services:
            return reply(b'CheckID "web-proxy-x-ttl" does not have associated TTL', status=500)
        elif asked.path.startswith("/v1/agent/service/deregister/"):
            self.services.pop(asked.path.rpartition("/")[2], None)
        return reply()


class Naps:
    """What happens in each pause; then it is over."""

    def __init__(self, *happenings: Any) -> None:
        self._left = list(happenings)

    async def __call__(self, seconds: float) -> None:
        assert seconds == HEARTBEAT_INTERVAL
        if not self._left:
            raise asyncio.CancelledError
        if happening := self._left.pop(0):
            happening()


async def run(
    agent: Agent, naps: Naps, *, remove: bool = False, public: PublicListener = PUBLIC
) -> list[str]:
    async with scripted_agent(agent) as scripted:
        client = AgentClient(ApiSettings(address=scripted.address))
        registration = Registration(client, "web", public, suffix="x", sleep=naps)
        with pytest.raises(asyncio.CancelledError):
            await registration.run()
        if remove:
            await registration.remove()
        await client.close()
        return [asked.path for asked in scripted.asked]


@asynchronous
async def test_it_is_registered_for_old_and_new_agents_with_a_check_that_lives_by_heartbeats() -> None:
    agent = Agent()
    assert await run(agent, Naps(None)) == [LOOK, REGISTER, BEAT, BEAT]
    assert agent.services == {
        "web-proxy-x": {
            "Kind": "connect-proxy",
            "ID": "web-proxy-x",
            "Name": "web-proxy",
            "Address": "10.0.0.1",
            "Port": 8443,
            "ProxyDestination": "web",
            "Proxy": {"DestinationServiceName": "web"},
            "Check": {
                "CheckID": "web-proxy-x-ttl",
                "Name": "proxy heartbeat",
                "TTL": "30s",
                "Notes": "Built-in proxy will heartbeat this check.",
                "Status": "passing",
            },
        }
    }


@asynchronous
async def test_a_proxy_on_all_addresses_is_found_at_the_nodes() -> None:
    agent = Agent()
    await run(agent, Naps(), public=PublicListener(Endpoint("0.0.0.0", 8443), PUBLIC.local_app))
    assert agent.services["web-proxy-x"]["Address"] == ""


@asynchronous
async def test_it_is_looked_at_again_after_a_while_and_left_alone_when_it_is_right() -> None:
    pauses = int(RECONCILE_INTERVAL / HEARTBEAT_INTERVAL)
    paths = await run(Agent(), Naps(*[None] * pauses))
    assert paths == [LOOK, REGISTER, *[BEAT] * pauses, LOOK, BEAT]


@asynchronous
async def test_what_somebody_deregistered_is_registered_again_with_the_next_heartbeat() -> None:
    agent = Agent()
    assert await run(agent, Naps(agent.services.clear)) == [LOOK, REGISTER, BEAT, BEAT, REGISTER, BEAT]


@asynchronous
async def test_an_agent_that_fails_is_tried_again_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent()
    agent.away = True

    def back() -> None:
        agent.away = False

    with caplog.at_level("INFO", "meshnode.proxy"):
        assert await run(agent, Naps(None, back)) == [LOOK, LOOK, LOOK, REGISTER, BEAT]
    failures = [line for line in caplog.messages if "can't be kept registered" in line]
    assert failures == [
        "web-proxy-x can't be kept registered: Unexpected response code: 500 (No cluster leader)"
    ]
    assert caplog.messages[-1] == "web-proxy-x is registered again"


@asynchronous
async def test_it_is_gone_at_the_end_or_that_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    agent = Agent()
    await run(agent, Naps(), remove=True)
    assert agent.services == {}
    agent.away = True
    await run(agent, Naps(), remove=True)
    assert caplog.messages[-1].startswith("web-proxy-x stays registered: Unexpected response code: 500")
