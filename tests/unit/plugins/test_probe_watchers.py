"""The watchers of a chaos run, against an agent, a DNS server and doors that say what the test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.http_stub import StubAgent, stub_agent
from tests.unit.plugins.test_probe_script import probe

MEMBERS = "GET /v1/agent/members"
LEADER = "GET /v1/status/leader"


@pytest.fixture
def agent() -> Iterator[StubAgent]:
    with stub_agent() as stub:
        stub.answer(MEMBERS, [{"Name": "a", "Status": 1}, {"Name": "b", "Status": 1}])
        stub.answer(LEADER, "10.0.0.1:8300")
        yield stub


def members(agent: StubAgent, **more: Any) -> Any:
    return probe.Members({"agents": [f"http://{agent.address}"], "names": ["a", "b"], "timeout": 5, **more})


def test_everybody_alive_and_a_leader_is_well(agent: StubAgent) -> None:
    assert members(agent, token="secret").ask() == ""
    assert agent.last.headers["X-Consul-Token"] == "secret"


@pytest.mark.parametrize(
    ("call", "body", "why"),
    [
        (MEMBERS, [{"Name": "a", "Status": 1}, {"Name": "b", "Status": 4}], "b not alive"),
        (MEMBERS, [], "a, b not alive"),
        (MEMBERS, {"a": 1}, "TypeError"),
        (MEMBERS, [{"Status": 1}], "KeyError: 'Name'"),
        (MEMBERS, b"<html>", "JSONDecodeError"),
        (LEADER, "", "no leader"),
    ],
)
def test_an_agent_that_does_not_see_all_says_who_is_missing(
    agent: StubAgent, call: str, body: Any, why: str
) -> None:
    agent.answer(call, body)
    assert members(agent).ask().startswith(why)


def test_an_agent_that_answers_with_an_error_or_not_at_all_is_not_well(agent: StubAgent) -> None:
    agent.answer(MEMBERS, b"no", status=500)
    assert "/v1/agent/members answered 500" in members(agent).ask()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    assert "refused" in members(StubAgent(address)).ask()


@contextmanager
def dns_server(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served:
        served.bind(("127.0.0.1", 0))

        def serve() -> None:
            question, asker = served.recvfrom(512)
            served.sendto(answer(question), asker)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{served.getsockname()[1]}"


@pytest.mark.parametrize(
    ("flags", "answers", "why"),
    [(b"\x85\x80", 1, ""), (b"\x85\x80", 0, "answered code 0 with 0"), (b"\x85\x83", 1, "answered code 3")],
)
def test_a_name_is_known_when_there_is_an_address(flags: bytes, answers: int, why: str) -> None:
    with dns_server(
        lambda question: question[:2] + flags + b"\0\1" + answers.to_bytes(2, "big") + question[8:]
    ) as at:
        found = probe.Dns({"address": at, "name": "client1.node.consul."}).ask()
    assert found.startswith(why)
    assert bool(found) is bool(why)


def test_an_answer_to_another_question_and_silence_are_failures() -> None:
    with dns_server(lambda _question: b"\xff\xff\x85\x80") as at:
        assert "that are no answer to it" in probe.Dns({"address": at, "name": "a.consul"}).ask()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        target = probe.Dns({"address": address, "name": "a.consul", "timeout": 0.05})
        assert target.ask().startswith("TimeoutError")


@contextmanager
def door(answer: bytes) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_denied_connection_may_be_taken_and_ended_and_carries_not_a_byte() -> None:
    with door(b"") as at:
        assert probe.Denied({"address": at}).ask() == ""
    assert probe.Denied({"address": at}).ask() == ""  # nobody is there any more
    with door(b"H") as at:
        assert probe.Denied({"address": at}).ask() == "1 bytes came through: b'H'"


def test_failures_that_follow_each_other_are_one_outage_until_the_next_good_answer() -> None:
    tally = probe.Tally("x")
    for at, why in ((1.0, ""), (5.0, "no"), (6.0, "still no"), (7.5, ""), (9.0, "again")):
        tally.note(0.5, why, at=at)
    assert tally.outages == [
        {"began": 4.5, "ended": 7.5, "why": "no"},
        {"began": 8.5, "ended": None, "why": "again"},
    ]


def test_outages_are_bounded() -> None:
    tally = probe.Tally("x")
    for number in range(probe.MAX_OUTAGES + 5):
        tally.note(0.1, "no", at=float(2 * number))
        tally.note(0.1, "", at=float(2 * number + 1))
    assert len(tally.outages) == probe.MAX_OUTAGES
    assert tally.failed == probe.MAX_OUTAGES + 5
