"""C(mesh_service) against a real agent, and against the answers of an agent of Consul 1.2.3."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._service import CHECKS_META
from ansible_collections.meshnode.lab.plugins.modules import mesh_service

from tests.support.http_stub import stub_agent
from tests.unit.plugins.api_agents import ApiAgent
from tests.unit.plugins.module_run import Outcome, run_module

Run = Callable[..., Outcome]
HTTP = {"http": "http://127.0.0.1:1/health", "interval": "10s", "timeout": "2s"}


@pytest.fixture
def run(open_agent: ApiAgent, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(check: bool = False, **args: Any) -> Outcome:
        return run_module(mesh_service.main, capsys, check=check, **{**open_agent.plain, **args})

    return call


@pytest.fixture
def name() -> str:
    return f"web-{uuid.uuid4()}"


def four(run: Run, **args: Any) -> list[bool]:
    outcomes = [run(check, **args) for check in (True, False, True, False)]
    assert [one["msg"] for one in outcomes] == [None] * 4
    return [one["changed"] for one in outcomes]


def checks_of(agent: ApiAgent, service_id: str) -> dict[str, Any]:
    found = agent.agent.get("/v1/agent/checks")
    return {check_id: one for check_id, one in found.items() if one["ServiceID"] == service_id}


def test_a_service_is_registered_once_and_goes_once(run: Run, open_agent: ApiAgent, name: str) -> None:
    args: dict[str, Any] = {
        "name": name,
        "port": 8080,
        "service_address": "10.0.0.9",
        "tags": ["v1", "a"],
        "meta": {"version": "1.4", "n": 3, "on": True},
        "weights": {"passing": 5, "warning": 2},
        "checks": [HTTP, {"ttl": "30s", "status": "passing", "name": "Alive"}],
    }
    assert four(run, **args) == [True, True, False, False]
    found = open_agent.agent.get("/v1/agent/services")[name]
    assert (found["Port"], found["Address"], found["Tags"]) == (8080, "10.0.0.9", ["v1", "a"])
    assert found["Weights"] == {"Passing": 5, "Warning": 2}
    assert {key: found["Meta"][key] for key in ("version", "n", "on")} == {
        "version": "1.4",
        "n": "3",
        "on": "true",
    }
    checks = checks_of(open_agent, name)
    assert set(checks) == {f"service:{name}:1", f"service:{name}:2"}
    assert checks[f"service:{name}:2"]["Status"] == "passing"
    assert four(run, id=name, state="absent") == [True, True, False, False]
    assert name not in open_agent.agent.get("/v1/agent/services")
    assert checks_of(open_agent, name) == {}


def test_the_diff_shows_what_differs_and_no_more(run: Run, name: str) -> None:
    run(name=name, port=1, tags=["a"])
    changed = run(name=name, port=2, tags=["a"])
    assert changed["diff"] == {"before": {"Port": 1}, "after": {"Port": 2}}


def test_the_order_of_tags_does_not_matter(run: Run, name: str) -> None:
    run(name=name, tags=["a", "b"])
    assert not run(name=name, tags=["b", "a"])["changed"]


def test_another_interval_is_noticed_although_agents_do_not_show_it(run: Run, name: str) -> None:
    run(name=name, checks=[{"ttl": "30s"}])
    changed = run(name=name, checks=[{"ttl": "31s"}])
    assert set(changed["diff"]["after"]) == {"Meta"}
    assert changed["diff"]["after"]["Meta"][CHECKS_META] != changed["diff"]["before"]["Meta"][CHECKS_META]
    assert not run(name=name, checks=[{"ttl": "31s"}])["changed"]


def test_checks_that_are_no_longer_wanted_go(run: Run, open_agent: ApiAgent, name: str) -> None:
    run(name=name, checks=[HTTP, {"ttl": "30s"}, {"ttl": "40s", "id": f"{name}-own"}])
    assert four(run, name=name, checks=[{"ttl": "40s", "id": f"{name}-own"}]) == [True, True, False, False]
    assert set(checks_of(open_agent, name)) == {f"{name}-own"}
    assert four(run, name=name) == [True, True, False, False]
    assert checks_of(open_agent, name) == {}
    assert CHECKS_META not in open_agent.agent.get("/v1/agent/services")[name]["Meta"]


def test_a_check_that_somebody_took_away_comes_back(run: Run, open_agent: ApiAgent, name: str) -> None:
    run(name=name, checks=[{"ttl": "30s"}])
    assert open_agent.agent.api(f"/v1/agent/check/deregister/service:{name}", "PUT")[0] == 200
    assert run(name=name, checks=[{"ttl": "30s"}])["changed"]
    assert set(checks_of(open_agent, name)) == {f"service:{name}"}


def test_maintenance_of_the_service_is_left_alone(run: Run, open_agent: ApiAgent, name: str) -> None:
    run(name=name, port=1)
    assert open_agent.agent.api(f"/v1/agent/service/maintenance/{name}?enable=true", "PUT")[0] == 200
    assert not run(name=name, port=1)["changed"]


def test_headers_of_a_check_are_shown_nowhere(run: Run, name: str) -> None:
    check = {**HTTP, "header": {"Authorization": ["Bearer most-secret-thing"]}}
    assert "most-secret-thing" not in run(name=name, checks=[check])["_printed"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "one of the following is required: name, id"),
    ({"id": "x"}, "name"),
    ({"name": " "}, "name: is empty: write the service's name"),
    ({"name": "w", "port": 65536}, "port: 65536 is not a port: write a number from 1 to 65535"),
    ({"name": "w", "checks": [{"name": "c"}]}, "checks[0]: says not how to check: write one of http, tcp"),
    ({"name": "w", "checks": [HTTP, {**HTTP, "tcp": "h:1"}]}, "checks[1]: http and tcp exclude each other"),
    ({"name": "w", "checks": [{"tcp": "h:1"}]}, "checks[0].interval: is missing: write how often to check"),
    (
        {"name": "w", "checks": [{"ttl": "soon"}]},
        "checks[0].ttl: 'soon' is not a duration: write one such as 15s",
    ),
    (
        {"name": "w", "checks": [{"ttl": "1s", "id": "a"}, {"ttl": "2s", "id": "a"}]},
        "checks: the id a comes twice",
    ),
    ({"name": "w", "meta": {"a": ["b"]}}, "meta.a: is not text: write text or a number"),
    ({"name": "w", "meta": {"a": "x" * 513}}, "meta.a: is too long: a key has at most 128"),
    ({"name": "w", "meta": {str(n): "" for n in range(64)}}, "meta: has 64 pairs: at most 63"),
    ({"name": "w", "meta": {CHECKS_META: "x"}}, f"meta.{CHECKS_META}: is written by this module"),
]


@pytest.mark.parametrize(("args", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_a_bad_value_is_named_with_its_fix(run: Run, args: dict[str, Any], message: str) -> None:
    outcome = run(**args)
    assert outcome["failed"]
    assert message in outcome["msg"]


def test_an_agent_of_consul_1_2_3_has_no_path_for_one_service(capsys: pytest.CaptureFixture[str]) -> None:
    web = {
        "ID": "web", "Service": "web", "Tags": [], "Meta": {}, "Port": 80, "Address": "",
        "EnableTagOverride": False, "CreateIndex": 0, "ModifyIndex": 0,
    }  # fmt: skip
    with stub_agent() as stub:
        stub.answer("GET /v1/agent/service/web", b"", 404)
        stub.answer("GET /v1/agent/services", {"web": web})
        stub.answer("GET /v1/agent/checks", {})
        stub.answer("PUT /v1/agent/service/register")
        same = run_module(mesh_service.main, capsys, address=stub.address, name="web", port=80)
        other = run_module(mesh_service.main, capsys, address=stub.address, name="web", port=81)
    assert (same["changed"], other["changed"]) == (False, True)
    assert [one.path for one in stub.asked if one.method == "PUT"] == ["/v1/agent/service/register"]
