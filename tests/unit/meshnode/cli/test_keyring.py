from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

K1, K2 = "AAAAAAAAAAAAAAAAAAAAAA==", "BBBBBBBBBBBBBBBBBBBBBB=="
POOLS = [
    {"WAN": True, "Datacenter": "dc1", "Segment": "", "Keys": {K1: 3}, "NumNodes": 3},
    {"WAN": False, "Datacenter": "dc1", "Segment": "", "Keys": {K2: 4, K1: 5}, "NumNodes": 5,
     "Messages": {"node2": "no such key"}},
]  # fmt: skip


def test_list_prints_each_pool_with_its_keys_sorted(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/operator/keyring", POOLS)
    done = run("keyring", "-list")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "==> Gathering installed encryption keys...\n"
        f"\nWAN:\n  {K1} [3/3]\n"
        f"\ndc1 (LAN):\n  ===> node2: no such key\n  {K1} [5/5]\n  {K2} [4/5]\n"
    )


def test_list_as_json_is_nothing_but_json(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/operator/keyring", POOLS)
    assert json.loads(run("keyring", "-list", "-format=json").out) == POOLS


def test_a_pool_that_reports_an_error_fails_the_command(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/operator/keyring", [POOLS[0] | {"Error": "1/3 nodes did not answer"}])
    assert run("keyring", "-list").code == 1


@pytest.mark.parametrize(
    ("flag", "method", "line"),
    [
        ("-install", "POST", "==> Installing new gossip encryption key...\n"),
        ("-use", "PUT", "==> Changing primary gossip encryption key...\n"),
        ("-remove", "DELETE", "==> Removing gossip encryption key...\n"),
    ],
)
def test_each_change_is_one_call_with_the_key_in_the_body(
    agent: StubAgent, run: Any, flag: str, method: str, line: str
) -> None:
    agent.answer(f"{method} /v1/operator/keyring")
    done = run("keyring", flag, K1, "-relay-factor=2")
    assert (done.code, done.out, done.err) == (0, line, "")
    assert json.loads(agent.last.body) == {"Key": K1}
    assert agent.last.query == {"relay-factor": "2"}


def test_one_pool_is_asked_for_by_its_name(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/operator/keyring")
    assert run("keyring", "-use", K1, "-pool=wan").code == 0
    assert agent.last.query == {"pool": "wan"}


def test_a_refusal_comes_after_the_line_and_fails(agent: StubAgent, run: Any) -> None:
    agent.answer("DELETE /v1/operator/keyring", b"removing the primary key is not allowed", status=500)
    done = run("keyring", "-remove", K1)
    assert (done.code, done.out) == (1, "==> Removing gossip encryption key...\n")
    assert done.err == "error: Unexpected response code: 500 (removing the primary key is not allowed)\n"


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["-list", "-use", K1],
        ["-install", K1, "-remove", K2],
        ["-list", "-relay-factor=6"],
        ["-list", "-relay-factor=-1"],
        ["-list", "-format=xml"],
        ["-list", "-pool=dc1"],
        ["-list", "word"],
        ["-install"],
    ],
)
def test_anything_but_exactly_one_operation_is_refused(agent: StubAgent, run: Any, args: list[str]) -> None:
    done = run("keyring", *args)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert agent.asked == []
