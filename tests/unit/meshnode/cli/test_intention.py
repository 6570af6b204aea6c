"""``intention check``, ``delete``, ``explain``, ``get``, ``list`` and ``match``: calls, output and exit codes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

ID = "6b28316e-b762-4008-bdfb-4eada6deec0a"
BASE = "/v1/connect/intentions"
ROW: dict[str, Any] = {
    "ID": ID, "Description": "", "SourceNS": "default", "SourceName": "web", "DestinationNS": "default",
    "DestinationName": "socat", "SourceType": "consul", "Action": "deny", "DefaultAddr": "", "DefaultPort": 0,
    "Meta": {}, "Precedence": 9, "CreatedAt": "2018-06-27T17:53:05.123456789Z", "UpdatedAt": "2018-06-27T17:53:05Z",
    "CreateIndex": 1, "ModifyIndex": 2,
}  # fmt: skip
PRINTED = (
    f"Source:       web\nDestination:  socat\nAction:       deny\nID:           {ID}\n"
    "Created At:   Wednesday, 27-Jun-18 17:53:05 UTC\n"
)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(("allowed", "out", "code"), [(True, "Allowed\n", 0), (False, "Denied\n", 1)])
def test_a_check_is_a_word_and_an_exit_code(
    agent: StubAgent, run: Any, allowed: bool, out: str, code: int
) -> None:
    agent.answer(f"GET {BASE}/check", {"Allowed": allowed})
    done = run("intention", "check", "web", "socat")
    assert (done.code, done.out, done.err) == (code, out, "")
    assert agent.last.query == {"source": "web", "destination": "socat"}
    done = run("intention", "check", "-format=json", "-stale", "-datacenter=dc2", "ns/web", "*")
    assert (done.code, json.loads(done.out)) == (code, {"Allowed": allowed})
    assert agent.last.query == {"source": "ns/web", "destination": "*", "stale": "", "dc": "dc2"}


@pytest.mark.parametrize("args", [["web"], ["web", "socat"], ["-bad"], ["-format=x", "a", "b"], ["web", ""]])
def test_a_check_that_cannot_be_made_exits_with_2(agent: StubAgent, run: Any, args: list[str]) -> None:
    agent.answer(f"GET {BASE}/check", b"Permission denied", 403)
    done = run("intention", "check", *args)
    assert (done.code, done.out) == (2, "")
    assert done.err


def test_an_allowed_that_is_no_boolean_is_no_permission(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {BASE}/check", {"Allowed": "false"})
    assert run("intention", "check", "web", "socat").code == 1


@pytest.mark.parametrize("args", [["web", "socat"], [ID]])
def test_an_intention_is_shown_in_two_columns(agent: StubAgent, run: Any, args: list[str]) -> None:
    agent.answer(f"GET {BASE}/exact", ROW)
    agent.answer(f"GET {BASE}/{ID}", ROW)
    done = run("intention", "get", *args)
    assert (done.code, done.out, done.err) == (0, PRINTED, "")
    assert json.loads(run("intention", "get", "-format=json", *args).out) == ROW


def test_what_not_every_intention_has_is_shown_when_it_is_there(agent: StubAgent, run: Any) -> None:
    more = {"Description": "why", "Meta": {"b": "2", "a": "1"}, "Audit": True, "SourceNS": "ns1",
            "Action": "", "Permissions": [{}, {}], "CreatedAt": "soon"}  # fmt: skip
    agent.answer(f"GET {BASE}/{ID}", ROW | more)
    assert run("intention", "get", ID).out == (
        f"Source:       ns1/web\nDestination:  socat\nAction:       2 permissions\nID:           {ID}\n"
        "Audit:        denials are let through and reported\nDescription:  why\n"
        "Meta[a]:      1\nMeta[b]:      2\nCreated At:   soon\n"
    )


@pytest.mark.parametrize(
    ("args", "deleted"),
    [
        (["web", "socat"], ("/exact", {"source": "web", "destination": "socat"})),
        ([ID], (f"/{ID}", {})),
        (["-stale", ID], (f"/{ID}", {})),
        (["a/b"], ("/a%2Fb", {})),
    ],
)
def test_an_intention_is_deleted_by_name_or_id(
    agent: StubAgent, run: Any, args: list[str], deleted: tuple[str, dict[str, str]]
) -> None:
    agent.answer(f"GET {BASE}/exact", ROW)
    agent.answer(f"DELETE {BASE}{deleted[0]}", True)
    done = run("intention", "delete", *args)
    assert (done.code, done.out, done.err) == (0, "Intention deleted.\n", "")
    assert (agent.last.method, agent.last.path, agent.last.query) == ("DELETE", BASE + deleted[0], deleted[1])


@pytest.mark.parametrize("command", ["get", "delete"])
def test_names_that_no_intention_has_are_told_in_consuls_words(
    agent: StubAgent, run: Any, command: str
) -> None:
    agent.answer(f"GET {BASE}/exact", b"Intention not found", 404)
    done = run("intention", command, "web", "socat")
    assert (done.code, done.out) == (1, "")
    assert done.err == 'Error: intention with source "web" and destination "socat" not found.\n'


def test_an_agent_without_the_route_is_not_an_intention_that_is_missing(agent: StubAgent, run: Any) -> None:
    done = run("intention", "delete", "web", "socat")
    assert done.err == "Error deleting the intention: Unexpected response code: 404 (no such path)\n"


def test_a_list_is_a_table(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {BASE}", [])
    assert run("intention", "list").out == "There are no intentions.\n"
    assert run("intention", "list", "-format=json").out == "[]\n"
    agent.answer(f"GET {BASE}", [ROW, ROW | {"SourceName": "*", "Precedence": 8}])
    assert run("intention", "list").out == (
        "ID                                    Source  Action  Destination  Precedence\n"
        f"{ID}  web     deny    socat        9\n"
        f"{ID}  *       deny    socat        8\n"
    )


@pytest.mark.parametrize(
    ("flags", "by"), [([], "destination"), (["-destination"], "destination"), (["-source"], "source")]
)
def test_a_match_is_a_line_for_each_intention(agent: StubAgent, run: Any, flags: list[str], by: str) -> None:
    agent.answer(f"GET {BASE}/match", {"socat": [ROW, ROW | {"SourceName": "*", "Action": "allow"}]})
    done = run("intention", "match", *flags, "socat")
    assert (done.code, done.out) == (0, "web => socat (deny)\n* => socat (allow)\n")
    assert agent.last.query == {"by": by, "name": "socat"}
    assert json.loads(run("intention", "match", "-format=json", *flags, "socat").out)[0] == ROW


EXPLAINED = {"Allowed": False, "Reason": "r", "Text": ["web => db: denied", "Reason: r"]}


@pytest.mark.parametrize(
    ("args", "query"),
    [
        (["web", "db"], {}),
        (["web", "db", "-path", "/a", "-method=GET"], {"path": "/a", "method": "GET"}),
        (["-path", "/a", "web", "db"], {"path": "/a"}),
        (["web", "-path=/a", "db"], {"path": "/a"}),
        (["web", "db", "-header=K: v"], {"header": "K: v"}),
    ],
)
def test_an_explanation_is_what_the_agent_says(
    agent: StubAgent, run: Any, args: list[str], query: dict[str, str]
) -> None:
    agent.answer(f"GET {BASE}/explain", EXPLAINED)
    done = run("intention", "explain", *args)
    assert (done.code, done.out, done.err) == (0, "web => db: denied\nReason: r\n", "")
    assert agent.asked[0].query == {"source": "web", "destination": "db", **query}


def test_an_explanation_as_json_is_without_the_text(agent: StubAgent, run: Any) -> None:
    agent.answer(f"GET {BASE}/explain", EXPLAINED)
    assert json.loads(run("intention", "explain", "-format=json", "web", "db").out) == {
        "Allowed": False,
        "Reason": "r",
        "Cached": [],
    }


def test_with_it_comes_what_proxies_of_the_node_remember(agent: StubAgent, run: Any) -> None:
    web, other = ({"Source": f"spiffe://d.consul/ns/default/dc/dc1/svc/{name}"} for name in ("web", "mail"))
    rows = [
        {**web, "ProxyID": "p1", "Allowed": True, "PerRequest": False, "Fresh": True, "Age": 3.04},
        {**web, "ProxyID": "p2", "Allowed": False, "PerRequest": False, "Fresh": False, "Age": 75.2},
        {**web, "ProxyID": "p3", "Allowed": False, "PerRequest": True, "Fresh": True, "Age": 0.5},
        {**other, "ProxyID": "p4", "Allowed": True, "PerRequest": False, "Fresh": True, "Age": 1.0},
    ]
    agent.answer(f"GET {BASE}/explain", EXPLAINED)
    agent.answer("GET /v1/agent/connect/connections", {"Decisions": rows})
    assert run("intention", "explain", "web", "db").out.splitlines()[2:] == [
        "p1 remembers, 3s old: allowed, used without asking",
        "p2 remembers, 1m15s old: denied, asked again before it is used",
        "p3 remembers, 500ms old: each request by its permissions, used without asking",
    ]
    assert agent.last.query == {"service": "db"}
    shown = json.loads(run("intention", "explain", "default/web", "default/db", "-format=json").out)
    assert shown["Cached"] == rows[:3]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["get"], "Error: give SRC DST or ID, not 0 arguments"),
        (["get", "a", "b", "-stale"], "not 3 arguments: -stale must come before them"),
        (["delete", "a", "b", "c"], "Error: give SRC DST or ID, not 3 arguments"),
        (["match"], "Error: give NAME, not 0 arguments"),
        (["match", "-source", "-destination", "a"], "Only one of -source or -destination may be specified."),
        (["list", "a"], "intention list takes no arguments, got 'a'"),
        (["explain", "web"], "Error: give SRC DST, not 1 arguments"),
        (["explain", "web", "db", "-path"], "flag needs an argument: -path"),
        (["explain", "-header=x", "a", "b"], "-header: write name:value"),
        (["get", "-format=x", "a"], "-format: 'x' is not a format"),
    ],
)
def test_what_is_not_meant_is_refused(agent: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("intention", *args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err
