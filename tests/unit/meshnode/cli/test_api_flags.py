from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.goflags import FlagSet
from meshnode.cli.api_flags import ClientFlags
from tests.support.http_stub import StubAgent


@pytest.mark.parametrize(
    ("args", "query"),
    [([], {}), (["-datacenter=dc2"], {"dc": "dc2"}), (["-stale"], {"stale": ""}),
     (["-stale", "-datacenter", "x"], {"dc": "x", "stale": ""})],
)  # fmt: skip
def test_server_flags_become_query_parameters(args: list[str], query: dict[str, str]) -> None:
    flags = FlagSet("x", "Usage: x")
    client_flags = ClientFlags(flags, server=True)
    assert client_flags.query(flags.parse(args)) == query


def test_without_server_flags_there_are_none() -> None:
    flags = FlagSet("x", "Usage: x")
    assert ClientFlags(flags).query(flags.parse([])) == {}
    assert flags.named("datacenter") is None


def test_flags_reach_the_request(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/agent/reload")
    assert run("reload", f"-http-addr=http://{agent.address}", "-token=abc").code == 0
    assert agent.last.headers["X-Consul-Token"] == "abc"


@pytest.mark.parametrize(
    ("command", "begins"),
    [
        (["members"], "Error retrieving members: "),
        (["info"], "Error querying agent: "),
        (["leave"], "Error leaving: "),
        (["reload"], "Error reloading: "),
        (["force-leave", "x"], "Error force leaving: "),
        (["event", "-name=x"], "Error firing event: "),
        (["keyring", "-list"], "error: "),
        (["monitor"], "Error starting monitor: "),
    ],
)
def test_each_command_says_what_failed_when_nobody_answers(run: Any, command: list[str], begins: str) -> None:
    done = run(command[0], "-http-addr=127.0.0.1:1", *command[1:])
    assert done.code == 1
    assert done.err.startswith(begins + "can't reach the agent at http://127.0.0.1:1: ")
    assert done.err.count("\n") == 1


def test_a_change_goes_to_the_leader_whatever_is_asked_for() -> None:
    flags = FlagSet("x", "Usage: x")
    client_flags = ClientFlags(flags, server=True)
    assert client_flags.write_query(flags.parse(["-stale", "-datacenter=dc2"])) == {"dc": "dc2"}


def test_a_command_about_a_token_uses_that_one(agent: StubAgent) -> None:
    agent.answer("GET /v1/acl/token/self", {})
    flags = FlagSet("x", "Usage: x")
    client_flags = ClientFlags(flags)
    parsed = flags.parse([f"-http-addr={agent.address}", "-token=mine"])
    client_flags.client(parsed, token="other").get_json("/v1/acl/token/self")
    assert agent.last.headers["X-Consul-Token"] == "other"
