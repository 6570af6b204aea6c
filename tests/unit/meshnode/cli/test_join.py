from __future__ import annotations

from typing import Any

from tests.support.http_stub import StubAgent


def test_each_address_is_one_call_and_all_that_answered_are_counted(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/agent/join/10.0.0.1")
    agent.answer("PUT /v1/agent/join/10.0.0.2%3A9301")
    agent.answer("PUT /v1/agent/join/10.0.0.3", b"no route", status=500)
    done = run("join", "10.0.0.1", "10.0.0.2:9301", "10.0.0.3")
    assert (done.code, done.out) == (0, "Successfully joined cluster by contacting 2 nodes.\n")
    assert done.err == "Error joining address '10.0.0.3': Unexpected response code: 500 (no route)\n"
    assert [asked.method for asked in agent.asked] == ["PUT"] * 3


def test_wan_is_passed_on(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/agent/join/a")
    assert run("join", "-wan", "a").code == 0
    assert agent.last.query == {"wan": "1"}


def test_nobody_who_answers_is_a_failure(agent: StubAgent, run: Any) -> None:
    done = run("join", "a", "b")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == "Failed to join any nodes."
    assert len(done.err.splitlines()) == 3


def test_no_address_is_refused(agent: StubAgent, run: Any) -> None:
    done = run("join")
    assert (done.code, done.err) == (1, "At least one address to join must be specified.\n")


def test_an_agent_that_is_not_there_is_said_for_each_address(run: Any) -> None:
    done = run("join", "-http-addr=127.0.0.1:1", "a")
    assert done.code == 1
    assert done.err.startswith("Error joining address 'a': can't reach the agent at http://127.0.0.1:1: ")


def test_a_bad_agent_address_is_said_once(run: Any) -> None:
    done = run("join", "-http-addr=ftp://x", "a", "b")
    assert (done.code, done.err.count("-http-addr")) == (1, 1)
