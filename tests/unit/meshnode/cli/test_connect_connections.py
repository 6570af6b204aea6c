"""``connect connections``, and ``intention explain -connection``: what the node's proxies have told their agent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

PATH = "GET /v1/agent/connect/connections"
URI = "spiffe://d.consul/ns/default/dc/dc1/svc/"
LIVE = {
    "ID": 7, "Direction": "inbound", "Listener": "public", "Source": URI + "web", "Destination": URI + "db",
    "Serial": "ab:cd", "Peer": "10.0.0.2:4242", "Rule": "r-1", "Because": "Matched intention: ALLOW", "Age": 75.2,
    "BytesIn": 2048, "BytesOut": 12, "CloseCause": "", "ProxyID": "db-sidecar-proxy", "Service": "db",
}  # fmt: skip
CLOSED = {**LIVE, "ID": 8, "CloseCause": "cut: DENY", "EndedAgo": 3.04, "Age": 0.0041}
REFUSED = {
    "ID": 9, "Listener": "public", "Source": "", "Peer": "10.0.0.3:1", "Kind": "plaintext", "Ago": 0.0,
    "Because": "it does not speak TLS\x1b[2J", "ProxyID": "db-sidecar-proxy", "Service": "db",
}  # fmt: skip
ANSWER = {
    "Proxies": [{"ProxyID": "db-sidecar-proxy", "Service": "db"}],
    "Connections": [LIVE],
    "Closed": [CLOSED],
    "Refused": [REFUSED],
}


def test_live_connections_are_a_table(agent: StubAgent, run: Any) -> None:
    agent.answer(PATH, ANSWER)
    done = run("connect", "connections", "-service", "db", "-proxy", "db-sidecar-proxy")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "ID  Proxy             Direction  Source  Destination  Peer           Age    In      Out  Allowed because\n"
        "7   db-sidecar-proxy  inbound    web     db           10.0.0.2:4242  1m15s  2.0KiB  12B  "
        "Matched intention: ALLOW\n"
    )
    assert agent.last.query == {"service": "db", "proxy": "db-sidecar-proxy"}


def test_closed_and_refused_connections_are_tables_of_their_own(agent: StubAgent, run: Any) -> None:
    agent.answer(PATH, ANSWER)
    done = run("connect", "connections", "-closed", "-refused")
    closed, refused = (part.splitlines() for part in done.out.split("\n\n"))
    assert closed[0].split()[-5:] == ["Ended", "Lasted", "In", "Out", "Cause"]
    assert closed[1].endswith("3s     4ms     2.0KiB  12B  cut: DENY")
    assert refused[1].split(maxsplit=8) == [
        "9", "db-sidecar-proxy", "public", "-", "10.0.0.3:1", "0s", "plaintext", "-", "it does not speak TLS\\x1b[2J",
    ]  # fmt: skip


def test_nothing_is_said_in_words(agent: StubAgent, run: Any) -> None:
    agent.answer(PATH, {})
    assert run("connect", "connections").out == "No proxy reports to this agent.\n"
    assert run("connect", "connections", "-service=x").out == "No such proxy reports to this agent.\n"
    agent.answer(PATH, {"Proxies": ANSWER["Proxies"]})
    assert run("connect", "connections").out == "No connections are open.\n"
    assert run("connect", "connections", "-closed").out == "No connections have ended.\n"
    assert run("connect", "connections", "-refused").out == "No connections were refused.\n"


def test_json_is_the_answer(agent: StubAgent, run: Any) -> None:
    agent.answer(PATH, ANSWER)
    assert json.loads(run("connect", "connections", "-format=json").out) == ANSWER


def test_an_agent_without_the_route_says_so(agent: StubAgent, run: Any) -> None:
    done = run("connect", "connections")
    assert (done.code, done.err) == (
        1,
        "Error retrieving connections: Unexpected response code: 404 (no such path)\n",
    )


def test_one_connection_is_explained(agent: StubAgent, run: Any) -> None:
    agent.answer(PATH, ANSWER)
    done = run("intention", "explain", "-connection", "7")
    assert (done.code, done.err) == (0, "")
    lines = {
        label.strip(): text.strip()
        for label, _, text in (line.partition(": ") for line in done.out.splitlines())
    }
    assert lines["Connection"] == "7, open for 1m15s"
    assert lines["Proxy"] == "db-sidecar-proxy, listener public, inbound"
    assert lines["Peer"] == "10.0.0.2:4242, certificate ab:cd"
    assert (lines["Rule"], lines["Allowed because"]) == ("r-1", "Matched intention: ALLOW")
    assert agent.last.query == {"id": "7"}


@pytest.mark.parametrize(
    ("number", "first", "last"),
    [
        ("8", "Connection:           8, ended 3s ago after 4ms", "Ended because:        cut: DENY"),
        (
            "9",
            "Connection:           9, refused 0s ago (plaintext)",
            "Refused because:      it does not speak TLS",
        ),
    ],
)
def test_an_ended_and_a_refused_one_say_why(
    agent: StubAgent, run: Any, number: str, first: str, last: str
) -> None:
    agent.answer(PATH, ANSWER)
    lines = run("intention", "explain", "-connection", number).out.splitlines()
    assert (lines[0], lines[-1][: len(last)]) == (first, last)


DENIED = {
    **REFUSED, "ID": 10, "Source": URI + "web", "Kind": "denied", "Rule": "r-2", "Because": "Permission 1 (deny)",
    "Request": "GET /admin", "Connection": 7,
}  # fmt: skip
OUTBOUND = {**CLOSED, "ID": 11, "Direction": "outbound", "Local": "10.0.0.2:4243"}


def test_a_refused_request_is_explained_by_its_own_number_and_with_its_connection(
    agent: StubAgent, run: Any
) -> None:
    agent.answer(PATH, ANSWER | {"Refused": [REFUSED, DENIED]})
    own = run("intention", "explain", "-connection", "10").out
    assert own.splitlines()[:2] == [
        "Request:              10, refused 0s ago (denied)",
        "Asked:                GET /admin, on connection 7",
    ]
    assert own.splitlines()[-2:] == [
        "Rule:                 r-2",
        "Refused because:      Permission 1 (deny)",
    ]
    both = run("intention", "explain", "-connection", "7").out
    assert both.startswith("Connection:           7, open for 1m15s\n")
    assert both.endswith("\n\n" + own)
    table = run("connect", "connections", "-refused").out.splitlines()
    assert "denied     GET /admin  Permission 1 (deny)" in table[2]
    agent.answer(PATH, ANSWER | {"Refused": [{**DENIED, "Request": ""}]})
    unread = run("intention", "explain", "-connection", "10").out.splitlines()
    assert unread[1] == "Asked:                on connection 7"


EXPLAIN = "GET /v1/connect/intentions/explain"


def test_where_it_came_from_a_connection_is_explained_by_what_intentions_say(
    agent: StubAgent, run: Any
) -> None:
    agent.answer(PATH, {"Closed": [OUTBOUND]})
    agent.answer(EXPLAIN, {"Text": ["web => db: denied", "Reason: Matched intention: DENY"]})
    out = run("intention", "explain", "-connection", "11").out
    assert "Known there as:       10.0.0.2:4243\n" in out
    assert out.endswith(
        "\n\nThe other side decides. Now it goes by:\nweb => db: denied\nReason: Matched intention: DENY\n"
    )
    assert agent.last.query == {"source": "web", "destination": "db"}


def test_whoever_may_not_read_intentions_is_told_the_rest(agent: StubAgent, run: Any) -> None:
    agent.answer(PATH, {"Connections": [OUTBOUND]})
    agent.answer(EXPLAIN, b"Permission denied", 403)
    done = run("intention", "explain", "-connection", "11")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(
        "The other side decides. What intentions say can't be read here: Permission denied\n"
    )


def test_an_explanation_may_be_json(agent: StubAgent, run: Any) -> None:
    agent.answer(PATH, ANSWER)
    found = json.loads(run("intention", "explain", "-connection=8", "-format=json").out)
    assert found == {"Connections": [], "Closed": [CLOSED], "Refused": []}


def test_a_connection_that_nobody_knows_is_an_error(agent: StubAgent, run: Any) -> None:
    agent.answer(PATH, ANSWER)
    done = run("intention", "explain", "-connection", "1")
    assert done.code == 1
    assert done.err.startswith("No proxy of this node knows connection 1:")


def test_of_several_proxies_the_one_named_is_asked_about(agent: StubAgent, run: Any) -> None:
    agent.answer(PATH, ANSWER)
    assert run("intention", "explain", "-connection", "7", "-proxy", "db-sidecar-proxy").code == 0
    assert agent.last.query == {"id": "7", "proxy": "db-sidecar-proxy"}
    agent.answer(PATH, {})
    done = run("intention", "explain", "-connection", "7", "-proxy", "db-sidecar-proxy")
    assert done.err.startswith("Proxy db-sidecar-proxy does not know connection 7: ids are")
    assert "-proxy belongs to -connection" in run("intention", "explain", "web", "db", "-proxy", "x").err


def test_a_connection_is_a_number_and_stands_alone(agent: StubAgent, run: Any) -> None:
    assert "is not a whole number" in run("intention", "explain", "-connection", "x").err
    assert "too small" in run("intention", "explain", "-connection", "0").err
    assert "takes no arguments" in run("intention", "explain", "-connection", "1", "web", "db").err
    assert run("intention", "explain", "web", "db", "-connection", "1").code == 1
