"""``leave``, ``reload``, ``force-leave`` and ``info``: one call each."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_stub import StubAgent


@pytest.mark.parametrize(
    ("command", "call", "out"),
    [
        (["leave"], "PUT /v1/agent/leave", "Graceful leave complete\n"),
        (["reload"], "PUT /v1/agent/reload", "Configuration reload triggered\n"),
        (["force-leave", "node 1"], "PUT /v1/agent/force-leave/node%201", ""),
    ],
)
def test_success_prints_consuls_line(
    agent: StubAgent, run: Any, command: list[str], call: str, out: str
) -> None:
    agent.answer(call)
    done = run(*command)
    assert (done.code, done.out, done.err) == (0, out, "")
    assert agent.last.query == {}


def test_prune_is_passed_on(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/agent/force-leave/a")
    assert run("force-leave", "-prune", "a").code == 0
    assert agent.last.query == {"prune": "1"}


def test_info_prints_sorted_blocks_and_keys(agent: StubAgent, run: Any) -> None:
    agent.answer(
        "GET /v1/agent/self", {"Stats": {"serf_lan": {"b": "2", "a": "1"}, "agent": {"checks": "0"}}}
    )
    assert run("info").out == "agent:\n\tchecks = 0\nserf_lan:\n\ta = 1\n\tb = 2\n"


def test_an_agent_without_figures_prints_none(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/agent/self", {"Stats": None})
    assert (run("info").code, run("info").out) == (0, "")


@pytest.mark.parametrize(
    "args", [["leave", "x"], ["reload", "x"], ["info", "x"], ["force-leave"], ["force-leave", "a", "b"]]
)
def test_words_too_many_or_too_few_are_refused(agent: StubAgent, run: Any, args: list[str]) -> None:
    done = run(*args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
