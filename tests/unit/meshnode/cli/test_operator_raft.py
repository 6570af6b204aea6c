from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

SERVERS = [
    {"ID": "127a", "Node": "alice", "Address": "10.0.0.1:8300", "Leader": True, "ProtocolVersion": "3", "Voter": True},
    {"ID": "10.0.0.2:8300", "Node": "bob-2", "Address": "10.0.0.2:8300", "Leader": False, "ProtocolVersion": "",
     "Voter": False},
]  # fmt: skip


def test_peers_are_a_table(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/operator/raft/configuration", {"Servers": SERVERS, "Index": 22})
    done = run("operator", "raft", "list-peers", "-stale")
    assert (done.code, done.err, agent.last.query) == (0, "", {"stale": ""})
    assert done.out == (
        "Node   ID             Address        State     Voter  RaftProtocol\n"
        "alice  127a           10.0.0.1:8300  leader    true   3\n"
        "bob-2  10.0.0.2:8300  10.0.0.2:8300  follower  false  <=1\n"
    )


def test_peers_as_json_have_the_columns(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/operator/raft/configuration", {"Servers": SERVERS, "Index": 22})
    assert json.loads(run("operator", "raft", "list-peers", "-format=json").out)[0] == {
        "Node": "alice", "ID": "127a", "Address": "10.0.0.1:8300", "State": "leader", "Voter": True,
        "RaftProtocol": "3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "out"),
    [
        ("-address=10.0.0.1:8300", 'Removed peer with address "10.0.0.1:8300"\n'),
        ("-id=127a", 'Removed peer with id "127a"\n'),
    ],
)
def test_a_peer_is_removed(agent: StubAgent, run: Any, flag: str, out: str) -> None:
    agent.answer("DELETE /v1/operator/raft/peer")
    done = run("operator", "raft", "remove-peer", flag)
    assert (done.code, done.out, done.err) == (0, out, "")
    name, _, value = flag[1:].partition("=")
    assert agent.last.query == {name: value}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Error removing peer: an address or id is required for the peer to remove\n"),
        (["-id=x", "-address=y"], "Error removing peer: cannot give both an address and id\n"),
    ],
)
def test_exactly_one_name_of_a_peer_is_taken(agent: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("operator", "raft", "remove-peer", *args)
    assert (done.code, done.err, agent.asked) == (1, words, [])


def test_a_refusal_begins_as_consuls_does(agent: StubAgent, run: Any) -> None:
    assert run("operator", "raft", "list-peers").err.startswith("Error getting peers: Unexpected response")
    assert run("operator", "raft", "remove-peer", "-id=x").err.startswith("Error removing peer: Unexpected")
