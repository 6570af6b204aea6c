from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from meshnode.base.errors import ConfigError, MeshError
from meshnode.client.agent import AgentClient
from meshnode.client.settings import ApiSettings
from meshnode.sdk import registration as module
from meshnode.sdk.registration import Registration
from meshnode.sdk.service import Service
from tests.support.asynchronous import asynchronous
from tests.support.proxy import TRUST_DOMAIN, Ca
from tests.support.scripted_agent import Asked, Reply, ScriptedAgent, reply, scripted_agent

NOTHING: dict[str, Any] = {"address": "", "tags": (), "meta": {}, "check": None}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LISTED_PAUSES", (0.0, 0.0, 0.0))


class Catalog:
    """Lists the instance from the third look on."""

    def __init__(self, *, status: int = 200, shown_after: int = 2) -> None:
        self.status = status
        self.looks = 0
        self.shown_after = shown_after

    async def __call__(self, asked: Asked) -> Reply:
        if asked.method == "PUT":
            return reply(None if self.status == 200 else b"Permission denied", status=self.status)
        self.looks += 1
        rows = [{"Service": {"ID": "other"}}, {"Service": None}, 3]
        return reply([*rows, {"Service": {"ID": "echo-1"}}] if self.looks > self.shown_after else rows)


async def registered(agent: ScriptedAgent, port: int = 80, **settings: Any) -> Registration:
    made = Registration(AgentClient(ApiSettings(address=agent.address)), "echo", "echo-1")
    await made.begin(port, **{**NOTHING, **settings})
    return made


@asynchronous
async def test_a_native_service_says_so_and_has_a_check_of_its_port() -> None:
    catalog = Catalog()
    async with scripted_agent(catalog) as agent:
        made = await registered(agent, 9443, tags=("a",), meta={"k": "v"})
        body = json.loads(agent.asked[0].body)
        assert body == {
            "Name": "echo",
            "ID": "echo-1",
            "Address": "",
            "Port": 9443,
            "Tags": ["a"],
            "Meta": {"k": "v"},
            "Connect": {"Native": True},
            "Check": {"TCP": "127.0.0.1:9443", "Interval": "10s", "Status": "passing"},
        }
        assert catalog.looks == 3, "it waited until it was listed"
        await made.end()
        assert agent.asked[-1].path == "/v1/agent/service/deregister/echo-1"


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({"address": "::1"}, {"TCP": "[::1]:80", "Interval": "10s", "Status": "passing"}),
        ({"address": "10.0.0.1"}, {"TCP": "10.0.0.1:80", "Interval": "10s", "Status": "passing"}),
        ({"check": {"TTL": "5s"}}, {"TTL": "5s"}),
    ],
)
@asynchronous
async def test_the_check_is_of_the_address_or_the_callers(
    settings: dict[str, Any], check: dict[str, str]
) -> None:
    async with scripted_agent(Catalog()) as agent:
        await registered(agent, **settings)
        assert json.loads(agent.asked[0].body)["Check"] == check


@asynchronous
async def test_a_refusal_is_told_and_a_port_that_is_none_never_sent() -> None:
    async with scripted_agent(Catalog(status=403)) as agent:
        with pytest.raises(MeshError, match=r"does not register 'echo-1': .*Permission denied"):
            await registered(agent)
        asked = len(agent.asked)
        for port in (0, -1, 65536):
            with pytest.raises(ConfigError, match="from 1 to 65535"):
                await registered(agent, port)
        assert len(agent.asked) == asked


@asynchronous
async def test_a_slow_catalog_and_an_agent_that_went_are_lines_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scripted_agent(Catalog(shown_after=99)) as agent:
        made = await registered(agent)
        assert "does not show it to us yet" in caplog.text
    await asyncio.wait_for(made.end(), 10)
    assert "echo-1 stays registered" in caplog.text


@asynchronous
async def test_the_end_of_the_block_deregisters() -> None:
    ca = Ca()
    material = ca.leaf("echo")
    catalog = Catalog()

    async def agent_of(asked: Asked) -> Reply:
        if dict(asked.query).get("index") == "7":
            await asyncio.Event().wait()
        if asked.path == "/v1/agent/connect/ca/roots":
            roots = {"TrustDomain": TRUST_DOMAIN, "Roots": [{"RootCert": ca.root.certificate_pem}]}
            return reply(roots, X_Consul_Index="7")
        if asked.path == "/v1/agent/connect/ca/leaf/echo":
            leaf = {"CertPEM": material.chain_pem, "PrivateKeyPEM": material.key_pem}
            return reply(leaf, X_Consul_Index="7")
        return await catalog(asked)

    async with scripted_agent(agent_of) as agent:
        async with Service("echo", settings=ApiSettings(address=agent.address)) as service:
            await service.register(80, instance_id="echo-1")
        assert agent.asked[-1].path == "/v1/agent/service/deregister/echo-1"
