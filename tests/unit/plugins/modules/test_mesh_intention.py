"""C(mesh_intention) against a real agent."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.modules import mesh_intention

from tests.support.http_stub import stub_agent
from tests.unit.plugins.api_agents import ApiAgent
from tests.unit.plugins.module_run import Outcome, run_module

Run = Callable[..., Outcome]


@pytest.fixture
def run(open_agent: ApiAgent, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(check: bool = False, **args: Any) -> Outcome:
        return run_module(mesh_intention.main, capsys, check=check, **{**open_agent.plain, **args})

    return call


@pytest.fixture
def name() -> str:
    return f"db-{uuid.uuid4()}"


def four(run: Run, **args: Any) -> list[bool]:
    """Changed? of check, run, check again, run again."""
    outcomes = [run(check, **args) for check in (True, False, True, False)]
    assert [one["msg"] for one in outcomes] == [None] * 4
    return [one["changed"] for one in outcomes]


def stored(agent: ApiAgent, destination: str) -> dict[str, dict[str, Any]]:
    rows = agent.agent.get("/v1/connect/intentions")
    return {row["SourceName"]: row for row in rows if row["DestinationName"] == destination}


def test_an_intention_is_made_once_changed_once_and_removed_once(
    run: Run, open_agent: ApiAgent, name: str
) -> None:
    assert run(True, source="web", destination=name, action="allow")["changed"]
    assert stored(open_agent, name) == {}
    assert four(run, source="web", destination=name, action="allow") == [True, True, False, False]
    first = stored(open_agent, name)["web"]
    assert first["Action"] == "allow"
    more = {"action": "deny", "description": "no more", "meta": {"ticket": 7, "urgent": True}, "audit": True}
    assert four(run, source="web", destination=name, **more) == [True, True, False, False]
    second = stored(open_agent, name)["web"]
    assert second["ID"] == first["ID"]
    assert (second["Action"], second["Description"], second["Meta"]) == (
        "deny", "no more", {"ticket": "7", "urgent": "true"},
    )  # fmt: skip
    assert second["Audit"] is True
    assert four(run, source="web", destination=name, state="absent") == [True, True, False, False]
    assert stored(open_agent, name) == {}


def test_what_the_task_leaves_out_gets_its_default(run: Run, open_agent: ApiAgent, name: str) -> None:
    run(source="web", destination=name, action="allow", description="some", meta={"a": "b"})
    changed = run(source="web", destination=name, action="allow")
    assert changed["diff"] == {
        "before": {f"web => {name}": {"action": "allow", "description": "some", "meta": {"a": "b"}}},
        "after": {f"web => {name}": {"action": "allow"}},
    }
    assert (stored(open_agent, name)["web"].get("Meta") or {}) == {}


def test_names_are_the_same_whatever_their_case(run: Run, name: str) -> None:
    run(source="web", destination=name, action="allow")
    assert not run(source="WEB", destination=name.upper(), action="allow")["changed"]


PERMISSIONS = [
    {
        "action": "deny",
        "path_prefix": "/admin",
        "header": [{"name": "x-key", "present": True, "invert": True}],
    },
    {"action": "allow", "path_exact": "/health", "methods": ["GET", "HEAD"]},
    {"action": "allow", "path_regex": "/v[0-9]+/.*"},
]


def test_permissions_are_compared_as_the_agent_gives_them_back(
    run: Run, open_agent: ApiAgent, name: str
) -> None:
    http = json.dumps({"Kind": "service-defaults", "Name": name, "Protocol": "http"}).encode()
    assert open_agent.agent.api("/v1/config", "PUT", http)[0] == 200
    assert four(run, source="web", destination=name, permissions=PERMISSIONS) == [True, True, False, False]
    found = stored(open_agent, name)["web"]["Permissions"]
    assert [one["Action"] for one in found] == ["deny", "allow", "allow"]
    assert found[1]["HTTP"]["Methods"] == ["GET", "HEAD"]
    other = [*PERMISSIONS[:2], {**PERMISSIONS[2], "action": "deny"}]
    assert four(run, source="web", destination=name, permissions=other) == [True, True, False, False]


def test_many_are_one_call_and_only_those_of_the_same_owner_go(
    run: Run, open_agent: ApiAgent, name: str
) -> None:
    run(source="by-hand", destination=name, action="deny")
    both = [
        {"source": "web", "destination": name, "action": "allow"},
        {"source": "*", "destination": name, "action": "deny", "description": "nobody else"},
    ]
    args: dict[str, Any] = {"managed_by": f"owner-{name}", "intentions": both}
    assert four(run, **args) == [True, True, False, False]
    assert set(stored(open_agent, name)) == {"by-hand", "web", "*"}
    assert stored(open_agent, name)["*"]["Meta"] == {"managed-by": f"owner-{name}"}
    args["intentions"] = both[:1]
    gone = run(True, **args)
    assert gone["removed"] == [f"default/* => default/{name}"]
    assert gone["written"] == []
    assert four(run, **args) == [True, True, False, False]
    assert set(stored(open_agent, name)) == {"by-hand", "web"}
    assert four(run, managed_by=f"owner-{name}", intentions=[]) == [True, True, False, False]
    assert set(stored(open_agent, name)) == {"by-hand"}


def test_it_works_over_https_with_a_client_certificate(
    open_agent: ApiAgent, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    args = {"source": "web", "destination": name, "action": "allow", **open_agent.secure}
    assert run_module(mesh_intention.main, capsys, **args)["changed"]
    assert not run_module(mesh_intention.main, capsys, **args)["changed"]
    refused = run_module(mesh_intention.main, capsys, **{**args, "client_cert": None, "client_key": None})
    assert "set client_cert and client_key" in refused["msg"]


def test_a_token_decides_and_is_never_shown(
    acl_agent: tuple[ApiAgent, str], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    agent, secret = acl_agent
    args = {"source": "web", "destination": name, "action": "allow", **agent.plain}
    refused = run_module(mesh_intention.main, capsys, **args)
    assert "token" in refused["msg"]
    done = run_module(mesh_intention.main, capsys, **args, token=secret)
    assert done["changed"]
    assert secret not in done["_printed"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"source": "", "destination": "db", "action": "allow"}, "source: is empty"),
        ({"source": "web", "destination": " ", "action": "allow"}, "destination: is empty"),
        ({"source": "web", "destination": "db"}, "action: write allow or deny"),
        (
            {"source": "web", "destination": "db", "action": "deny", "permissions": [{"action": "allow"}]},
            "action: write allow or deny",
        ),
        ({"source": "web", "destination": "db", "action": "deny", "meta": {"a": [1]}}, "meta.a: is not text"),
        (
            {"source": "web", "destination": "db", "action": "deny", "managed_by": "me"},
            "goes with intentions",
        ),
        ({"intentions": [], "state": "absent"}, "intentions: stands alone"),
        ({"intentions": [{"source": "web", "destination": "db"}]}, "intentions[0].action: write"),
        (
            {
                "intentions": [
                    {"source": "web", "destination": "db", "action": "deny"},
                    {"source": "Web", "destination": "db", "action": "allow"},
                ]
            },
            "Web => db is intentions[0] already",
        ),
        (
            {
                "managed_by": "me",
                "intentions": [
                    {"source": "a", "destination": "b", "action": "deny", "meta": {"managed-by": "you"}}
                ],
            },
            "is written by managed_by",
        ),
    ],
)
def test_a_wrong_option_is_named(run: Run, args: dict[str, Any], said: str) -> None:
    outcome = run(**args)
    assert outcome["failed"]
    assert said in outcome["msg"]


def test_what_the_agent_refuses_is_said_in_its_words(run: Run) -> None:
    outcome = run(source="web*", destination="db", action="allow")
    assert "wildcard" in outcome["msg"]


def test_an_answer_that_is_none_of_an_agent_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with stub_agent() as stub:
        stub.answer("GET /v1/connect/intentions", [{"Name": "x"}])
        args = {"source": "web", "destination": "db", "action": "allow", "address": stub.address}
        outcome = run_module(mesh_intention.main, capsys, **args)
    assert "something else than intentions" in outcome["msg"]
