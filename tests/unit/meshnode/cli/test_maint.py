from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_stub import StubAgent

NODE, SERVICE = "/v1/agent/maintenance", "/v1/agent/service/maintenance/web%2F1"


@pytest.mark.parametrize(
    ("args", "path", "query", "out"),
    [
        (["-enable"], NODE, {"enable": "true"}, "Node maintenance is now enabled\n"),
        (["-enable", "-reason=a b"], NODE, {"enable": "true", "reason": "a b"}, "Node maintenance is now enabled\n"),
        (["-disable"], NODE, {"enable": "false"}, "Node maintenance is now disabled\n"),
        (["-enable", "-service=web/1"], SERVICE, {"enable": "true"},
         'Service maintenance is now enabled for "web/1"\n'),
        (["-disable", "-service=web/1"], SERVICE, {"enable": "false"},
         'Service maintenance is now disabled for "web/1"\n'),
    ],
)  # fmt: skip
def test_each_switch(
    agent: StubAgent, run: Any, args: list[str], path: str, query: dict[str, str], out: str
) -> None:
    agent.answer(f"PUT {path}")
    done = run("maint", *args)
    assert (done.code, done.out, done.err) == (0, out, "")
    assert agent.last.query == query


def test_what_is_in_maintenance_is_listed(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/agent/self", {"Config": {"NodeName": "alpha"}})
    agent.answer(
        "GET /v1/agent/checks",
        {
            "_service_maintenance:web": {"ServiceID": "web", "Notes": "new disk"},
            "_node_maintenance": {"Notes": "moving"},
            "serfHealth": {"Notes": "ok"},
        },
    )
    assert run("maint").out == (
        "Node:\n  Name:   alpha\n  Reason: moving\n\nService:\n  ID:     web\n  Reason: new disk\n\n"
    )


def test_nothing_in_maintenance_prints_nothing(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/agent/self", {"Config": {"NodeName": "alpha"}})
    agent.answer("GET /v1/agent/checks", {})
    done = run("maint")
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-enable", "-disable"], "Only one of -enable or -disable may be provided"),
        (["-reason=x"], "Reason may only be provided with -enable"),
        (["-disable", "-reason=x"], "Reason may only be provided with -enable"),
        (["-service=x"], "Service requires either -enable or -disable"),
        (["word"], "maint takes no arguments"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(
    agent: StubAgent, run: Any, args: list[str], words: str
) -> None:
    done = run("maint", *args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err


@pytest.mark.parametrize(
    ("args", "failing"),
    [
        ([], "Error querying Consul agent"),
        (["-enable"], "Error enabling node maintenance"),
        (["-disable", "-service=x"], "Error disabling service maintenance"),
    ],
)
def test_a_refusal_begins_as_consuls_does(agent: StubAgent, run: Any, args: list[str], failing: str) -> None:
    assert run("maint", *args).err == f"{failing}: Unexpected response code: 404 (no such path)\n"
