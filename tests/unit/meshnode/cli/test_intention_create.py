"""``intention create``: what is sent, what is printed, and what is refused before anything is sent."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

BASE = "/v1/connect/intentions"
WEB_DB = {"SourceName": "web", "DestinationName": "db", "SourceType": "consul", "Meta": {}}


@pytest.fixture
def servers(agent: StubAgent) -> StubAgent:
    agent.answer(f"POST {BASE}", {"ID": "i1"})
    agent.answer(f"PUT {BASE}/exact", True)
    agent.answer(f"GET {BASE}/exact", b"Intention not found", 404)
    return agent


def sent(servers: StubAgent) -> list[tuple[str, Any]]:
    return [(asked.method, json.loads(asked.body)) for asked in servers.asked if asked.method != "GET"]


@pytest.mark.parametrize(
    ("args", "row", "out"),
    [
        (["web", "db"], {"Action": "allow"}, "web => db (allow)"),
        (["-allow", "web", "db"], {"Action": "allow"}, "web => db (allow)"),
        (["-deny", "web", "db"], {"Action": "deny"}, "web => db (deny)"),
        (["-deny", "*", "db"], {"Action": "deny", "SourceName": "*"}, "* => db (deny)"),
        (
            ["-meta", "a=1", "-meta=b==", "web", "db"],
            {"Action": "allow", "Meta": {"a": "1", "b": "="}},
            "web => db (allow)",
        ),
        (["-audit", "-deny", "web", "db"], {"Action": "deny", "Audit": True}, "web => db (deny)"),
        (["ns/web", "db"], {"Action": "allow", "SourceNS": "ns"}, "ns/web => db (allow)"),
    ],
)
def test_an_intention_is_created_from_the_command_line(
    servers: StubAgent, run: Any, args: list[str], row: dict[str, Any], out: str
) -> None:
    done = run("intention", "create", *args)
    assert (done.code, done.out, done.err) == (0, f"Created: {out}\n", "")
    assert sent(servers) == [("POST", WEB_DB | row)]


def test_a_refusal_names_the_intention(servers: StubAgent, run: Any) -> None:
    servers.answer(f"POST {BASE}", b"rpc error making call: duplicate intention found: X", 500)
    done = run("intention", "create", "-deny", "web", "socat")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        'Error creating intention "web => socat (deny)": Unexpected response code: 500 '
        "(rpc error making call: duplicate intention found: X)\n"
    )


@pytest.mark.parametrize(("known", "word"), [(True, "Updated"), (False, "Created")])
def test_replacing_says_what_it_did(servers: StubAgent, run: Any, known: bool, word: str) -> None:
    if known:
        servers.answer(f"GET {BASE}/exact", {"ID": "i1"})
    done = run("intention", "create", "-replace", "-deny", "web", "db")
    assert (done.code, done.out) == (0, f"{word}: web => db (deny)\n")
    assert sent(servers) == [("PUT", WEB_DB | {"Action": "deny", "ID": ""})]
    assert servers.last.query == {"source": "web", "destination": "db"}


def test_files_hold_one_intention_each(servers: StubAgent, run: Any, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"sourcename": "a", "DestinationName": "b", "Action": "deny"},
        {"SourceNS": "n", "SourceName": "c", "DestinationName": "d", "Permissions": [{}]},
    ]
    files = []
    for number, row in enumerate(rows):
        files.append(str(tmp_path / f"{number}.json"))
        Path(files[-1]).write_text(json.dumps(row))
    done = run("intention", "create", "-file", *files)
    assert (done.code, done.out) == (0, "Created: a => b (deny)\nCreated: n/c => d (1 permission)\n")
    assert [row["SourceName"] for _, row in sent(servers)] == ["a", "c"]


def test_a_dash_is_standard_input(servers: StubAgent, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b'{"SourceName": "a", "DestinationName": "b", "Action": "deny"}'
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert run("intention", "create", "-file", "-").out == "Created: a => b (deny)\n"


def test_as_json_it_is_what_the_agent_stored(servers: StubAgent, run: Any) -> None:
    servers.answer(f"GET {BASE}/exact", {"ID": "i1", "Action": "deny"})
    done = run("intention", "create", "-format=json", "-deny", "web", "db")
    assert json.loads(done.out) == {"ID": "i1", "Action": "deny"}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100000])
def test_nothing_is_sent_when_a_file_cannot_be_read(
    servers: StubAgent, run: Any, tmp_path: Path, content: bytes
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text('{"SourceName": "a"}')
    bad.write_bytes(content)
    done = run("intention", "create", "-file", str(good), str(bad))
    assert (done.code, done.out, servers.asked) == (1, "", [])
    assert f"Error parsing intention from {bad}: " in done.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-allow", "-deny", "a", "b"], "Only one of -allow or -deny may be specified."),
        (["a"], "Error: give SRC DST, not 1 arguments"),
        (["a", "b", "-deny"], "not 3 arguments: -deny must come before them"),
        (["-meta=x", "a", "b"], "-meta: 'x' is no pair: write key=value"),
        (["-file"], "-file: give one FILE or more"),
        (["-file", "-deny", "x"], "-allow, -deny, -audit and -meta are not for intentions from files"),
        (["-file", "/no/such"], "Failed to read file: '/no/such'"),
    ],
)
def test_what_is_not_meant_is_refused(servers: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("intention", "create", *args)
    assert (done.code, done.out, servers.asked) == (1, "", [])
    assert words in done.err
