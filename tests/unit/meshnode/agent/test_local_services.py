"""Services and checks while the agent runs: registered, restored, reloaded, reaped."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshnode.agent.local_changes import LocalAliases
from meshnode.agent.local_services import InvalidDefinitionError, LocalPolicy, LocalServices
from meshnode.base.errors import MeshError
from meshnode.catalog.model import CRITICAL, PASSING, WARNING
from meshnode.local.check_type import AliasCheck, ScriptCheck, TcpCheck, TtlCheck
from meshnode.local.definitions import CheckDefinition, ScriptPolicy, ServiceDefinition
from meshnode.local.sync import steps
from meshnode.runtime.checks.clock import LoopClock
from meshnode.runtime.checks.runner import CheckRunners
from meshnode.runtime.tasks import spawn
from tests.support.local_agent import LocalAgent

TCP = TcpCheck(address="localhost:80", interval=10.0)
SCRIPT = ScriptCheck(args=("x",), interval=10.0)


def check(check_id: str, service_id: str = "", run: Any = TCP, **more: Any) -> CheckDefinition:
    return CheckDefinition(check_id, check_id, run, service_id=service_id, **more)


def web(*checks: CheckDefinition, **more: Any) -> ServiceDefinition:
    return ServiceDefinition("web", "web", checks=checks, **more)


def ids(agent: LocalAgent) -> tuple[list[str], list[str]]:
    return [s.id for s in agent.state.services()], [c.check_id for c in agent.state.checks()]


def test_a_registered_service_has_its_checks_running_until_it_goes() -> None:
    agent = LocalAgent()
    agent.services.register_service(web(check("a", "web"), check("b", "web")))
    assert sorted(agent.runners.running) == ["a", "b"]
    agent.runners.find("a", PASSING, "fine")
    assert (agent.status("a"), agent.status("b")) == (PASSING, CRITICAL)
    agent.services.deregister_service("web")
    assert agent.runners.running == {}
    assert ids(agent) == ([], [])


def test_registering_again_keeps_what_its_checks_have_found() -> None:
    agent = LocalAgent()
    agent.services.register_service(web(check("a", "web")))
    agent.runners.find("a", PASSING)
    agent.services.register_service(web(check("a", "web"), port=81))
    assert agent.status("a") == PASSING
    assert agent.runners.started == ["a", "a"]


def test_other_checks_of_a_service_go_only_when_that_is_asked_for() -> None:
    agent = LocalAgent()
    agent.services.register_service(web(check("a", "web")))
    agent.services.set_maintenance("web", "", "", enable=True)
    agent.services.register_service(web(check("b", "web")))
    assert ids(agent)[1] == ["_service_maintenance:web", "a", "b"]
    agent.services.register_service(web(check("b", "web")), replace_checks=True)
    assert ids(agent)[1] == ["_service_maintenance:web", "b"]
    assert list(agent.runners.running) == ["b"]


def test_a_check_whose_id_changes_its_case_runs_once() -> None:
    agent = LocalAgent()
    agent.services.register_check(check("Disk"))
    agent.services.register_check(check("disk"))
    assert list(agent.runners.running) == ["disk"]
    agent.services.deregister_check("DISK")
    assert agent.runners.running == {}


def test_what_is_refused_changes_nothing(tmp_path: Path) -> None:
    agent = LocalAgent(tmp_path)
    with pytest.raises(InvalidDefinitionError, match=r"^Invalid service address"):
        agent.services.register_service(web(address="0.0.0.0"))
    with pytest.raises(InvalidDefinitionError, match="disallowed"):
        agent.services.register_service(web(managed_proxy={}))
    with pytest.raises(MeshError, match="Scripts are disabled on this agent from remote calls"):
        agent.services.register_service(web(check("s", "web", SCRIPT)))
    with pytest.raises(MeshError, match='ServiceID "web" does not exist'):
        agent.services.register_check(check("c", "web"))
    assert (ids(agent), agent.runners.started, list(tmp_path.rglob("*"))) == (([], []), [], [])


def test_what_can_not_be_saved_is_not_registered(tmp_path: Path) -> None:
    (tmp_path / "checks").write_text("in the way")
    agent = LocalAgent(tmp_path)
    with pytest.raises(MeshError, match="can't be written"):
        agent.services.register_service(web(check("a", "web")))
    assert ids(agent) == ([], [])
    assert list((tmp_path / "services").iterdir()) == []


def test_services_and_checks_of_the_api_outlive_the_agent_and_prove_themselves_again(tmp_path: Path) -> None:
    first = LocalAgent(tmp_path)
    first.services.register_service(web(check("a", "web", status=PASSING), port=80, token="t"))
    first.services.register_check(check("node"))
    first.services.set_maintenance("", "broken", "", enable=True)
    second = LocalAgent(tmp_path)
    second.services.load([], [])
    assert ids(second) == (["web"], ["_node_maintenance", "a", "node"])
    assert (second.status("a"), second.state.services()[0].port) == (CRITICAL, 80)
    assert sorted(second.runners.running) == ["a", "node"]
    assert second.state.checks()[0].notes == "broken"
    second.services.deregister_service("web")
    second.services.deregister_check("node")
    second.services.set_maintenance("", "", "", enable=False)
    third = LocalAgent(tmp_path)
    third.services.load([], [])
    assert ids(third) == ([], [])


def test_the_state_of_a_ttl_check_holds_for_the_rest_of_its_ttl(tmp_path: Path) -> None:
    first = LocalAgent(tmp_path)
    first.services.register_check(check("ttl", run=TtlCheck(ttl=30.0)))
    first.services.update_ttl("TTL", WARNING, "hot")
    early, late = LocalAgent(tmp_path), LocalAgent(tmp_path)
    early.wall += 10
    early.services.load([], [])
    assert (early.status("ttl"), early.state.checks()[0].output) == (WARNING, "hot")
    assert early.runners.running["ttl"][2:] == ("hot", 20.0)
    late.wall += 30
    late.services.load([], [])
    assert late.status("ttl") == CRITICAL
    assert late.runners.running["ttl"][2:] == ("", None)


def test_only_ttl_checks_take_reports() -> None:
    agent = LocalAgent()
    agent.services.register_check(check("tcp"))
    with pytest.raises(MeshError, match=r'^CheckID "tcp" does not have associated TTL$'):
        agent.services.update_ttl("tcp", PASSING, "")
    with pytest.raises(
        MeshError, match=r'^CheckID "no" does not have associated TTL: there is no such check'
    ):
        agent.services.update_ttl("no", PASSING, "")


def test_what_is_configured_wins_over_what_was_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = LocalAgent(tmp_path)
    first.services.register_service(web(check("a", "web"), check("b", "web"), port=80))
    first.services.register_check(check("node"))
    second = LocalAgent(tmp_path)
    configured = check("node", notes="configured")
    with caplog.at_level(logging.INFO):
        second.services.load([web(check("a", "web", notes="configured"), port=90)], [configured])
    assert 'service "web" is configured: its saved definition is dropped' in caplog.text
    assert second.state.services()[0].port == 90
    assert [c.notes for c in second.state.checks()] == ["configured", "", "configured"]
    third = LocalAgent(tmp_path)
    third.services.load([], [])
    # The check of the API that hung on it has lost its service.
    assert ids(third) == ([], [])


def test_a_configured_check_may_belong_to_a_saved_service(tmp_path: Path) -> None:
    first = LocalAgent(tmp_path)
    first.services.register_service(web())
    second = LocalAgent(tmp_path)
    second.services.load([], [check("c", "web")])
    assert ids(second) == (["web"], ["c"])
    second.services.reload([], [check("c", "web")])
    assert second.runners.started == ["c"]


def test_a_reload_applies_the_difference_only() -> None:
    agent = LocalAgent()
    db = ServiceDefinition("db", "db")
    agent.services.load([web(check("a", "web"), check("b", "web")), db], [check("x"), check("y")])
    agent.services.register_service(ServiceDefinition("api", "api"))
    agent.services.register_check(check("extra", "web"))
    agent.runners.find("a", PASSING)
    agent.runners.started.clear()
    agent.services.reload([web(check("a", "web"), check("c", "web"))], [check("x"), check("y", notes="new")])
    assert agent.runners.started == ["c", "y"]
    assert ids(agent) == (["api", "web"], ["a", "c", "extra", "x", "y"])
    assert agent.status("a") == PASSING
    generation = agent.state.generation
    agent.services.reload([web(check("a", "web"), check("c", "web"))], [check("x"), check("y", notes="new")])
    assert (agent.runners.started, agent.state.generation) == (["c", "y"], generation)


def test_a_check_may_move_from_one_service_to_another_and_to_the_node() -> None:
    agent = LocalAgent()
    db = ServiceDefinition("db", "db")
    places = ["web", "db", "", "web", "", "db", "web"]
    for place in places:
        on_web = [check("c", "web")] if place == "web" else []
        on_db = (check("c", "db"),) if place == "db" else ()
        agent.services.reload([web(*on_web), replace(db, checks=on_db)], [] if place else [check("c")])
        assert [(c.check_id, c.service_id) for c in agent.state.checks()] == [("c", place)]
        assert list(agent.runners.running) == ["c"]
    agent.services.reload([db], [check("c")])
    assert [(c.check_id, c.service_id) for c in agent.state.checks()] == [("c", "")]


def test_a_reload_brings_back_what_the_api_changed_or_removed() -> None:
    agent = LocalAgent()
    agent.services.load([web(port=80)], [check("x")])
    agent.services.register_service(web(port=99))
    agent.services.deregister_check("x")
    agent.services.reload([web(port=80)], [check("x")])
    assert (agent.state.services()[0].port, ids(agent)[1]) == (80, ["x"])


@pytest.mark.parametrize(
    ("services", "checks", "reason"),
    [
        ([web(address="::")], [], 'service "web": Invalid service address'),
        ([], [check("s", run=SCRIPT)], 'check "s": Scripts are disabled on this agent; to enable'),
        ([web(check("s", "web", SCRIPT))], [], 'check "s": Scripts are disabled on this agent; to enable'),
        ([], [check("c", "old")], 'check "c": ServiceID "old" does not exist'),
    ],
)
def test_a_configuration_that_can_not_be_used_changes_nothing(
    services: Any, checks: Any, reason: str
) -> None:
    agent = LocalAgent()
    agent.services.load([ServiceDefinition("old", "old")], [])
    with pytest.raises(MeshError, match=f"^{reason}"):
        agent.services.reload(services, checks)
    assert ids(agent) == (["old"], [])


def test_scripts_of_the_configuration_run_where_they_may() -> None:
    agent = LocalAgent(policy=LocalPolicy(ScriptPolicy(enabled_locally=True)))
    agent.services.load([], [check("s", run=SCRIPT)])
    assert list(agent.runners.running) == ["s"]


def test_a_saved_script_is_not_run_once_scripts_are_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    LocalAgent(tmp_path, LocalPolicy(ScriptPolicy(enabled=True))).services.register_check(
        check("s", run=SCRIPT)
    )
    agent = LocalAgent(tmp_path)
    agent.services.load([], [])
    assert agent.runners.running == {}
    assert 'saved check "s" is not restored: Scripts are disabled' in caplog.text


def test_a_service_that_is_critical_for_too_long_is_deregistered(caplog: pytest.LogCaptureFixture) -> None:
    agent = LocalAgent()
    agent.services.register_service(web(check("a", "web", deregister_critical_service_after=60.0)))
    agent.now += 60
    agent.services.reap()
    assert ids(agent)[0] == ["web"]
    agent.now += 1
    with caplog.at_level(logging.INFO):
        agent.services.reap()
    assert ids(agent) == ([], [])
    assert 'service "web" is deregistered: check "a" is critical for too long' in caplog.text


def test_what_dns_can_not_find_is_said(caplog: pytest.LogCaptureFixture) -> None:
    agent = LocalAgent()
    agent.services.register_service(ServiceDefinition("w", "web-1", tags=("v1",)))
    assert caplog.messages == []
    agent.services.register_service(ServiceDefinition("w", "my_web", tags=("v1", "a.b")))
    assert caplog.messages == [
        'service name "my_web" will not be discoverable via DNS: use letters, digits and dashes',
        'tag "a.b" of service "w" will not be discoverable via DNS: use letters, digits and dashes',
    ]


def test_tokens_are_not_in_what_a_definition_prints() -> None:
    agent = LocalAgent()
    agent.services.register_service(web(check("c", "web", token="secret-c"), token="secret-s"))
    shown = (
        repr(agent.state.service_entries) + repr(agent.state.check_entries) + repr(list(steps(agent.state)))
    )
    assert "secret" not in shown


def test_deregistering_what_is_not_there_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    agent = LocalAgent()
    agent.services.deregister_service("nothing")
    agent.services.deregister_check("nothing")
    assert 'Service "nothing" does not exist' in caplog.text


def test_a_second_word_of_maintenance_changes_nothing() -> None:
    agent = LocalAgent()
    agent.services.set_maintenance("", "first", "", enable=True)
    agent.services.set_maintenance("", "second", "", enable=True)
    assert agent.state.checks()[0].notes == "first"
    agent.services.set_maintenance("", "", "", enable=False)
    agent.services.set_maintenance("", "", "", enable=False)
    assert agent.state.checks() == ()


def test_no_check_keeps_more_output_than_the_agent_allows() -> None:
    agent = LocalAgent(policy=LocalPolicy(output_max_size=5))
    agent.services.register_check(check("ttl", run=TtlCheck(ttl=30.0)))
    agent.services.register_check(check("tcp", run=replace(TCP, output_max_size=3)))
    sizes = [
        run.output_max_size for run, *_ in agent.runners.running.values() if not isinstance(run, AliasCheck)
    ]
    assert sizes == [5, 3]
    assert agent.state.check_entries["ttl"].definition.run == TtlCheck(ttl=30.0)


def test_the_real_runners_fit_with_reports_aliases_and_the_catalog() -> None:
    async def scenario() -> None:
        agent = LocalAgent()
        source = LocalAliases(agent.state, agent.changes, agent.call, lambda: "")
        runners = CheckRunners(spawn, random.Random(1), LoopClock(), no_tls, alias=source)
        services = LocalServices(
            agent.state,
            agent.changes,
            runners,
            None,
            LocalPolicy(),
            clock=lambda: agent.now,
            wall_clock=time.time,
        )
        ttl = check("Ttl", "web", TtlCheck(ttl=30.0))
        services.load([web(ttl)], [check("Alias", run=AliasCheck(service_id="web"))])
        services.update_ttl("ttl", WARNING, "x" * 5000)
        assert agent.state.checks()[1].output == "x" * 4096 + " ... (captured 4096 of 5000 bytes)"
        async with asyncio.timeout(10):
            while agent.status("alias") != WARNING:
                await agent.changes.wait(10)
            services.deregister_service("web")
            while agent.status("alias") != PASSING:
                await agent.changes.wait(10)
        await runners.stop_all()
        await agent.sync.turn()
        assert list(agent.server.checks()) == ["Alias"]

    asyncio.run(scenario())


def no_tls(*arguments: Any) -> Any:
    raise AssertionError(arguments)
