"""What a proxy's process asks its agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshnode.base.errors import ConfigError
from meshnode.cli.connect_proxy_agent import (
    MAX_PAUSE,
    answered,
    datacenter_of,
    follow_managed,
    follow_service,
    sidecar_of,
)
from meshnode.client.answer import AgentUnreachable
from meshnode.proxy.config import ProxyConfig
from tests.support.asked_agent import Answer, agent, always
from tests.support.asynchronous import asynchronous
from tests.support.scripted_agent import Asked, Reply, reply
from tests.support.waiting import Naps


def sidecar(destination: str) -> dict[str, Any]:
    return {"Kind": "connect-proxy", "Proxy": {"DestinationServiceID": destination}}


# Waiting


@asynchronous
async def test_an_agent_that_is_away_is_waited_for_and_each_reason_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = ["refused", "refused", "denied", "denied"]

    async def ask() -> str:
        if failures:
            raise AgentUnreachable(failures.pop(0))
        return "here"

    naps = Naps(10)
    assert await answered(ask, "the certificate of web", sleep=naps) == "here"
    assert caplog.messages == [f"waiting for the certificate of web: {why}" for why in ("refused", "denied")]
    assert len(naps.taken) == 4
    assert naps.taken == sorted(naps.taken)


@asynchronous
async def test_the_pauses_grow_to_a_bound() -> None:
    async def ask() -> str:
        raise AgentUnreachable("refused")

    naps = Naps(30)
    with pytest.raises(asyncio.CancelledError):
        await answered(ask, "x", sleep=naps)
    assert MAX_PAUSE * 0.75 <= naps.taken[-1] <= MAX_PAUSE


# Which proxy


@asynchronous
async def test_the_one_proxy_of_a_service_is_found() -> None:
    async with agent(always({"web": {}, "web-sidecar-proxy": sidecar("web"), "x": sidecar("db")})) as (
        _,
        client,
    ):
        assert await sidecar_of(client, "web") == "web-sidecar-proxy"


@pytest.mark.parametrize(
    ("services", "text"),
    [
        ({"web": {}}, "No sidecar proxy registered for web\n"),
        ({}, "this agent has no service with the ID web"),
        (
            {"b": sidecar("web"), "a": sidecar("web")},
            "More than one sidecar proxy registered for web.\n"
            "    Start proxy with -proxy-id and one of the following IDs: a, b",
        ),
        ([], "/v1/agent/services is not an object"),
    ],
)
@asynchronous
async def test_none_and_several_are_told(services: Any, text: str) -> None:
    async with agent(always(services)) as (_, client):
        with pytest.raises(ConfigError) as error:
            await sidecar_of(client, "web")
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("uri", "problem"),
    [("", "can't be used"), ("spiffe://d.consul/agent/client/dc/dc1/id/n1", "is not of a service")],
)
@asynchronous
async def test_the_datacenter_is_read_from_a_certificate(uri: str, problem: str) -> None:
    async with agent(always({"ServiceURI": "spiffe://d.consul/ns/default/dc/dc7/svc/web"})) as (
        asked,
        client,
    ):
        assert await datacenter_of(client, "web") == "dc7"
        assert asked.asked[0].path == "/v1/agent/connect/ca/leaf/web"
    async with agent(always({"ServiceURI": uri})) as (_, client):
        with pytest.raises(ConfigError, match=problem):
            await datacenter_of(client, "web")


# Following


def states(*bodies: Any) -> Answer:
    """Each with a hash of its own; then the agent waits, as it does while nothing changes."""
    left = list(enumerate(bodies))

    async def answer(_asked: Asked) -> Reply:
        if not left:
            await asyncio.Event().wait()
        number, body = left.pop(0)
        return reply(body, X_Consul_ContentHash=f"h{number}")

    return answer


def service(name: str, **proxy: Any) -> dict[str, Any]:
    return {"Kind": "connect-proxy", "ID": "p", "Proxy": {"DestinationServiceName": name, **proxy}}


@asynchronous
async def test_a_registration_is_followed_and_what_cannot_be_used_is_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bodies: tuple[Any, ...] = service("web"), {"Kind": ""}, [], {**service("api"), "Port": 21000}
    async with agent(states(*bodies)) as (scripted, client):
        configs = follow_service(client, "a/b")
        assert await anext(configs) == ProxyConfig("web")
        assert await anext(configs) == ProxyConfig("api")
        assert {asked.path for asked in scripted.asked} == {"/v1/agent/service/a%2Fb"}
        assert dict(scripted.asked[1].query)["hash"] == "h0"
    assert sum("can't be used, waiting for another one" in line for line in caplog.messages) == 2
    assert (
        caplog.messages[-1] == "nobody is let in on port 21000: there is no Proxy.LocalServicePort to lead to"
    )


@asynchronous
async def test_a_managed_proxy_is_followed_at_the_route_of_1_2() -> None:
    async with agent(states({"TargetServiceName": "web", "Config": {}})) as (scripted, client):
        assert await anext(follow_managed(client, "web-proxy")) == ProxyConfig("web")
        assert scripted.asked[0].path == "/v1/agent/connect/proxy/web-proxy"
