from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.base.spiffe import ServiceId
from meshnode.client import mesh as module
from meshnode.client.agent import AgentClient
from meshnode.client.answer import AgentUnreachable, ApiError
from meshnode.client.mesh import AgentAuthorizer, AgentCertificates, AgentDiscovery
from meshnode.client.settings import ApiSettings
from meshnode.proxy.authorize import Identity
from meshnode.proxy.config import DestinationType
from meshnode.proxy.decision_cache import Decision
from meshnode.runtime.proxy.contexts import make_contexts
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous
from tests.support.proxy import TRUST_DOMAIN, Ca, spiffe, upstream
from tests.support.scripted_agent import Asked, Reply, ScriptedAgent, reply, scripted_agent
from tests.support.waiting import until

ROOTS, LEAF = "/v1/agent/connect/ca/roots", "/v1/agent/connect/ca/leaf/web"
HEALTH, MATCH = "/v1/health/connect/db", "/v1/connect/intentions/match"
AUTHORIZE = "/v1/agent/connect/authorize"


@dataclass
class Agent:
    """Answers by path, each with an index that a blocking query waits on."""

    answers: dict[str, Any] = field(default_factory=dict)
    indexes: dict[str, int] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    down: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, path: str, value: Any) -> None:
        self.answers[path] = value
        self.indexes[path] = self.indexes.get(path, 10) + 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def __call__(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        while dict(asked.query).get("index") == str(self.indexes.get(asked.path, 10)) and not self.down:
            await self._changed.wait()
        if self.down:
            return reply(b"No cluster leader", status=500)
        if asked.path not in self.answers:
            return reply(b"Permission denied", status=403)
        return reply(self.answers[asked.path], X_Consul_Index=str(self.indexes[asked.path]))


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[tuple[AgentClient, Agent, ScriptedAgent]]:
    agent = Agent()
    async with scripted_agent(agent) as server:
        client = AgentClient(
            ApiSettings(address=server.address), rng=random.Random(1), sleep=lambda _: asyncio.sleep(0.001)
        )
        yield client, agent, server
        await client.close()


def roots(*authorities: Ca) -> dict[str, Any]:
    return {
        "TrustDomain": TRUST_DOMAIN,
        "Roots": [{"RootCert": ca.root.certificate_pem} for ca in authorities],
    }


def leaf(ca: Ca) -> dict[str, Any]:
    material = ca.leaf("web")
    return {"CertPEM": material.chain_pem, "PrivateKeyPEM": material.key_pem}


def source(service: str = "web") -> Identity:
    now = datetime.now(UTC)
    return Identity(ServiceId(TRUST_DOMAIN, "dc1", service), spiffe(service), "0a:1b", now, now)


async def following(values: AsyncIterator[Any]) -> Any:
    return await asyncio.wait_for(anext(values), 10)


# Certificates


@asynchronous
async def test_leaf_and_roots_make_a_usable_material_and_each_change_another() -> None:
    first, second = Ca(), Ca(name="Consul CA 8")
    async with running() as (client, agent, _):
        agent.set(ROOTS, roots(first))
        agent.set(LEAF, leaf(first))
        certificates = AgentCertificates(client, "web")
        assert await certificates.fetch() == await following(certificates.watch())
        async with contextlib.aclosing(certificates.watch()) as materials:
            material = await following(materials)
            assert make_contexts(material).roots == ("Consul CA 7",)
            agent.set(ROOTS, roots(first, second))
            material = await following(materials)
            assert make_contexts(material).roots == ("Consul CA 7", "Consul CA 8")
            agent.set(LEAF, leaf(second))
            assert (await following(materials)).chain_pem != material.chain_pem


@asynchronous
async def test_the_same_material_is_not_given_twice_and_bad_answers_are_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ca = Ca()
    async with running() as (client, agent, _):
        agent.set(ROOTS, roots(ca))
        agent.set(LEAF, leaf(ca))
        async with contextlib.aclosing(AgentCertificates(client, "web").watch()) as materials:
            await following(materials)
            waiting = spawn(following(materials), name="test")
            agent.set(ROOTS, roots(ca))
            agent.set(LEAF, {"CertPEM": "x"})
            await until(lambda: "has no PrivateKeyPEM" in caplog.text, "the bad leaf is told")
            assert not waiting.done()
            agent.set(LEAF, renewed := leaf(ca))
            assert (await waiting).chain_pem == renewed["CertPEM"]
    assert renewed["PrivateKeyPEM"] not in caplog.text


@asynchronous
async def test_revoked_leafs_and_distrusted_roots_are_part_of_the_material() -> None:
    ca = Ca()
    async with running() as (client, agent, _):
        agent.set(LEAF, leaf(ca))
        agent.set(ROOTS, roots(ca))
        async with contextlib.aclosing(AgentCertificates(client, "web").watch()) as materials:
            assert (await following(materials)).revoked == frozenset(), "an agent of Consul's tells none"
            agent.set(ROOTS, {**roots(ca), "RevokedSerialNumbers": ["1F:02", "03"]})
            assert (await following(materials)).revoked == {"1f:02", "03"}
            agent.set(ROOTS, {**roots(ca), "DistrustedRootIDs": ["AB:CD"]})
            assert (await following(materials)).distrusted == {"ab:cd"}
        for wrong in ({"a": 1}, [1], "1f:02"):
            for name in ("RevokedSerialNumbers", "DistrustedRootIDs"):
                agent.set(ROOTS, {**roots(ca), name: wrong})
                with pytest.raises(MeshError, match=name):
                    await AgentCertificates(client, "web").fetch()


@asynchronous
async def test_one_watch_of_the_roots_serves_certificates_decisions_and_discovery() -> None:
    ca = Ca()
    async with running() as (client, agent, _):
        agent.set(LEAF, leaf(ca))
        agent.set(ROOTS, roots(ca))
        agent.set(MATCH, {"web": []})
        agent.set(HEALTH, [instance(1)])
        discovery = AgentDiscovery(client, "dc1")
        async with (
            contextlib.aclosing(AgentCertificates(client, "web").watch()) as materials,
            contextlib.aclosing(AgentAuthorizer(client, "web").changes()) as changes,
        ):
            await following(materials)
            await following(changes)
            assert len(await discovery.instances(upstream("db"))) == 1
            asked = [one for one in agent.asked if one.path == ROOTS]
            assert len([one for one in asked if not one.query]) == 1, "the first question of the one watch"
            agent.set(ROOTS, {**roots(ca), "RevokedSerialNumbers": ["01"]})
            assert (await following(materials)).revoked == {"01"}
            await following(changes)
        await discovery.close()


@asynchronous
async def test_why_there_is_no_certificate_is_told_by_a_fetch() -> None:
    ca = Ca()
    async with running() as (client, agent, server):
        certificates = AgentCertificates(client, "web")
        with pytest.raises(ApiError, match="403"):
            await certificates.fetch()
        agent.set(LEAF, leaf(ca))
        for answer, words in (
            ({"Roots": []}, "connect.enabled"),
            ([], "not an object"),
            ({"Roots": [{}]}, "RootCert"),
        ):
            agent.set(ROOTS, answer)
            with pytest.raises(MeshError, match=words):
                await certificates.fetch()
    assert server.connections
    with pytest.raises(AgentUnreachable):
        await AgentCertificates(AgentClient(ApiSettings(address=server.address)), "web").fetch()


@asynchronous
async def test_the_name_of_a_service_is_one_segment_of_the_path() -> None:
    ca = Ca()
    async with running() as (client, agent, _):
        agent.set(ROOTS, roots(ca))
        with pytest.raises(ApiError):
            await AgentCertificates(client, "a/../b").fetch()
        assert agent.asked[-1].path == "/v1/agent/connect/ca/leaf/a%2F..%2Fb"


# Decisions


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        ({"Authorized": True, "Reason": "open"}, Decision(True, "open")),
        (
            {"Authorized": False, "Reason": "shut", "Audited": False, "IntentionID": "12-ab"},
            Decision(False, "shut", "12-ab"),
        ),
        (
            {"Authorized": True, "Reason": "open", "Audited": True, "IntentionID": "12-ab"},
            Decision(True, "open", "12-ab", audited=True),
        ),
        ({"Authorized": False, "Audited": True}, Decision(False, "")),
        ({"Authorized": True, "Reason": 1, "Audited": "yes", "IntentionID": 7}, Decision(True, "")),
        ({"Authorized": "yes"}, Decision(False, "")),
        ({}, Decision(False, "")),
    ],
)
@asynchronous
async def test_only_a_true_authorizes(answer: Any, decision: Decision) -> None:
    async with running() as (client, agent, _):
        agent.set(AUTHORIZE, answer)
        assert await AgentAuthorizer(client, "db").decide(source()) == decision
        import json

        assert json.loads(agent.asked[-1].body) == {
            "Target": "db",
            "ClientCertURI": spiffe("web"),
            "ClientCertSerial": "0a:1b",
        }


@asynchronous
async def test_no_answer_decides_nothing() -> None:
    async with running() as (client, agent, _):
        for answer in ([], "x", None):
            agent.set(AUTHORIZE, answer)
            with pytest.raises(MeshError):
                await AgentAuthorizer(client, "db").decide(source())
        agent.down = True
        with pytest.raises(ApiError):
            await AgentAuthorizer(client, "db").decide(source())


@asynchronous
async def test_intentions_and_revocations_are_changes_even_when_one_of_them_may_not_be_read() -> None:
    async with running() as (client, agent, _):
        agent.set(ROOTS, roots(Ca()))
        async with contextlib.aclosing(AgentAuthorizer(client, "db").changes()) as changes:
            await following(changes)
            agent.set(ROOTS, roots(Ca()))
            await following(changes)
            agent.set(MATCH, {"db": []})
            await following(changes)
            agent.set(MATCH, {"db": [{"Action": "deny"}]})
            await following(changes)
    (asked, *_) = [asked for asked in agent.asked if asked.path == MATCH]
    assert asked.query == [("by", "destination"), ("name", "db")]


# Discovery


def instance(port: int) -> dict[str, Any]:
    return {
        "Node": {"Address": "10.0.0.1", "Datacenter": "dc1"},
        "Service": {"Service": "db", "Address": "", "Port": port},
        "Checks": [],
    }


@asynchronous
async def test_instances_are_asked_for_once_then_followed_and_kept_while_the_agent_is_away() -> None:
    async with running() as (client, agent, server):
        agent.set(ROOTS, roots(Ca()))
        agent.set(HEALTH, [instance(1)])
        discovery = AgentDiscovery(client, "dc1")
        assert [found.port for found in await discovery.instances(upstream("db"))] == [1]

        async def ports() -> list[int]:
            return [found.port for found in await discovery.instances(upstream("db"))]

        async def are(*wanted: int) -> bool:
            return await ports() == list(wanted)

        agent.set(HEALTH, [instance(1), instance(2)])
        await until(lambda: are(1, 2), "the change is known")
        agent.down = True
        server.drop_all()
        assert await ports() == [1, 2]
        agent.down = False
        agent.set(HEALTH, [instance(3)])
        await until(lambda: are(3), "it is followed again")
        asked = [asked for asked in agent.asked if asked.path == HEALTH]
        assert len(asked) < 20, "answers come from memory"
        await discovery.close()


@asynchronous
async def test_a_first_question_that_nobody_answers_raises_and_the_next_one_asks_again() -> None:
    async with running() as (client, agent, _):
        agent.set(ROOTS, roots(Ca()))
        discovery = AgentDiscovery(client, "dc1")
        with pytest.raises(ApiError):
            await discovery.instances(upstream("db"))
        agent.set(HEALTH, [instance(1)])
        assert len(await discovery.instances(upstream("db"))) == 1
        await discovery.close()


@asynchronous
async def test_a_datacenter_and_a_prepared_query_are_asked_for_by_their_names() -> None:
    async with running() as (client, agent, _):
        agent.set(ROOTS, roots(Ca()))
        agent.set(HEALTH, [])
        agent.set("/v1/query/db/execute", {"Datacenter": "dc2", "Nodes": [instance(7)]})
        discovery = AgentDiscovery(client, "dc1")
        assert await discovery.instances(upstream("db", datacenter="dc2")) == ()
        (found,) = await discovery.instances(upstream("db", destination_type=DestinationType.PREPARED_QUERY))
        assert found.port == 7
        questions = {asked.path: asked.query for asked in reversed(agent.asked)}
        assert questions[HEALTH] == [("dc", "dc2")]
        assert questions["/v1/query/db/execute"] == [("connect", "true")]
        await discovery.close()


@asynchronous
async def test_destinations_are_bounded_and_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WATCHED", 2)
    async with running() as (client, agent, _):
        agent.set(ROOTS, roots(Ca()))
        for name in ("a", "b", "c"):
            agent.set(f"/v1/health/connect/{name}", [instance(1)])
        discovery = AgentDiscovery(client, "dc1")
        for name in ("a", "b", "a", "c"):
            await discovery.instances(upstream(name))
        assert [key[1] for key in discovery._known] == ["a", "c"]
        assert {key[1] for key in discovery._watches} == {"a", "c"}
        await discovery.close()


@asynchronous
async def test_a_new_trust_domain_is_in_the_next_answer() -> None:
    async with running() as (client, agent, _):
        agent.set(ROOTS, roots(Ca()))
        agent.set(HEALTH, [instance(1)])
        discovery = AgentDiscovery(client, "dc1")
        await discovery.instances(upstream("db"))
        agent.set(ROOTS, {"TrustDomain": "other.consul", "Roots": []})

        async def renamed() -> bool:
            (found,) = await discovery.instances(upstream("db"))
            return found.spiffe_id == spiffe("db", "other.consul")

        await until(renamed, "the identity is of the new trust domain")
        await discovery.close()
