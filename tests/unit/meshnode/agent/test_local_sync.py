"""The loop of anti-entropy: when it syncs, what it does about failures, and that it never gives up."""

from __future__ import annotations

import asyncio
import logging

import pytest

from meshnode.agent.local_changes import LocalAliases
from meshnode.agent.local_sync import MAX_FAILED_STEPS, SERVER_UP_SPREAD
from meshnode.catalog.model import PASSING, Service
from meshnode.local.check_type import TcpCheck
from meshnode.local.definitions import CheckDefinition, ServiceDefinition
from meshnode.local.sync import FULL_SYNC_INTERVAL, RETRY_INTERVAL
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.local_agent import LocalAgent

WEB = ServiceDefinition("web", "web")
CHECK = CheckDefinition("c", "c", TcpCheck(address="x:1", interval=10.0))
FULL = ["Catalog.NodeServices", "Health.NodeChecks"]


def turn(agent: LocalAgent) -> float:
    return asyncio.run(agent.sync.turn())


def test_the_first_turn_is_a_full_sync_and_the_next_one_is_a_minute_or_two_away() -> None:
    agent = LocalAgent()
    agent.services.register_service(WEB)
    due = turn(agent)
    assert agent.server.methods() == [*FULL, "Catalog.Register"]
    assert FULL_SYNC_INTERVAL <= due - agent.now <= 2 * FULL_SYNC_INTERVAL
    agent.server.calls.clear()
    agent.now = due - 1
    assert turn(agent) == due
    assert agent.server.calls == []
    agent.now = due
    assert turn(agent) > due
    assert agent.server.methods() == FULL


def test_a_change_is_sent_without_reading_the_catalog() -> None:
    agent = LocalAgent()
    due = turn(agent)
    agent.server.calls.clear()
    agent.services.register_service(WEB)
    assert turn(agent) == due
    assert agent.server.methods() == ["Catalog.Register"]


def test_an_output_that_was_held_back_is_sent_when_it_is_due() -> None:
    agent = LocalAgent()
    agent.services.register_check(CHECK)
    turn(agent)
    agent.runners.find("c", "critical", "news")
    held_back = agent.state.next_deadline()
    assert held_back is not None
    while agent.now < held_back:
        agent.now = turn(agent)
    turn(agent)
    assert agent.server.checks()["c"].output == "news"


def test_after_a_failure_it_waits_and_then_makes_a_full_sync(caplog: pytest.LogCaptureFixture) -> None:
    agent = LocalAgent()
    turn(agent)
    agent.server.refuse["Catalog.Register"] = "No cluster leader"
    agent.services.register_service(WEB)
    with caplog.at_level(logging.INFO):
        due = turn(agent)
        assert RETRY_INTERVAL <= due - agent.now <= 2 * RETRY_INTERVAL
        assert caplog.messages == [
            "services and checks are not in sync with the catalog: registration of service "
            '"web": No cluster leader'
        ]
        agent.server.calls.clear()
        assert turn(agent) == due
        assert agent.server.calls == []
        agent.now = due
        again = turn(agent)
        assert agent.server.methods() == [*FULL, "Catalog.Register"]
        # The same trouble is said once.
        assert len(caplog.messages) == 1
        agent.server.refuse.clear()
        agent.now = again
        turn(agent)
    assert caplog.messages[1:] == ["services and checks are in sync with the catalog again"]
    assert list(agent.server.services()) == ["web"]


def test_a_definition_that_servers_refuse_does_not_keep_the_others_out() -> None:
    agent = LocalAgent()
    agent.services.register_service(ServiceDefinition("a", "a"))
    agent.state.service_entries["a"].service = Service("a", "a", port=99999)
    agent.services.register_service(WEB)
    turn(agent)
    assert list(agent.server.services()) == ["web"]


def test_servers_that_are_not_there_are_not_asked_for_everything() -> None:
    agent = LocalAgent()
    for number in range(MAX_FAILED_STEPS + 2):
        agent.services.register_service(ServiceDefinition(f"s{number}", "s"))
    agent.server.refuse["Catalog.Register"] = "No cluster leader"
    turn(agent)
    assert agent.server.methods().count("Catalog.Register") == MAX_FAILED_STEPS


@pytest.mark.parametrize("method", FULL)
def test_a_catalog_that_can_not_be_read_is_a_failure_too(method: str) -> None:
    agent = LocalAgent()
    agent.server.refuse[method] = "Permission denied"
    assert turn(agent) - agent.now <= 2 * RETRY_INTERVAL
    assert "Catalog.Register" not in agent.server.methods()


def test_what_is_denied_is_said_and_the_rest_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    agent = LocalAgent()
    agent.services.register_service(WEB)
    agent.server.refuse["Catalog.Register"] = "Permission denied: no rule covers it"
    due = turn(agent)
    assert due - agent.now >= FULL_SYNC_INTERVAL
    assert caplog.messages[0] == (
        'registration of service "web" is blocked by ACLs: Permission denied: no rule covers it'
    )


def test_a_server_that_appears_is_asked_soon() -> None:
    agent = LocalAgent()
    turn(agent)
    agent.sync.servers_appeared()
    due = turn(agent)
    assert due - agent.now <= SERVER_UP_SPREAD
    agent.sync.servers_appeared()
    assert turn(agent) <= due


def test_the_loop_sends_changes_as_they_come_and_outlives_failures() -> None:
    async def scenario() -> None:
        agent = LocalAgent()
        synced = asyncio.Event()
        send = agent.call

        async def call(method: str, body: object) -> object:
            reply = await send(method, body)  # type: ignore[arg-type]
            synced.set()
            return reply

        agent.sync._call = call
        loop = spawn(agent.sync.run(), name="sync")
        async with asyncio.timeout(10):
            while agent.state.dirty:
                await synced.wait()
                synced.clear()
            agent.services.register_service(WEB)
            agent.services.register_check(CHECK)
            while agent.state.dirty:
                await synced.wait()
                synced.clear()
            agent.runners.find("c", PASSING)
            while agent.server.checks()["c"].status != PASSING:
                await synced.wait()
                synced.clear()
        await cancel_and_wait(loop)
        assert list(agent.server.services()) == ["web"]

    asyncio.run(scenario())


def test_aliases_see_the_checks_of_this_node_and_of_others() -> None:
    async def scenario() -> None:
        agent = LocalAgent()
        source = LocalAliases(agent.state, agent.changes, agent.call, lambda: "agent-token")
        heard: list[int] = []
        end = source.on_change(lambda: heard.append(1))
        agent.services.register_check(CHECK)
        assert [check.check_id for check in source.checks()] == ["c"]
        await agent.sync.turn()
        checks, index = await source.node_checks("web1", 7)
        assert ([check.check_id for check in checks], index) == (["c"], agent.server.index)
        method, body = agent.server.calls[-1]
        assert (method, body["MinQueryIndex"], body["Token"]) == ("Health.NodeChecks", 7, "agent-token")
        assert heard == [1]
        end()
        end()
        agent.services.deregister_check("c")
        assert heard == [1]

    asyncio.run(scenario())
