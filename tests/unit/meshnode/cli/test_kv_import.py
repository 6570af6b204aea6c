from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

DATA = json.dumps(
    [{"key": "a/b", "flags": 7, "value": "b25l"}, {"Key": "c", "value": ""}, {"key": "d", "value": None}]
)


@pytest.fixture
def store(agent: StubAgent) -> StubAgent:
    for key in ("a/b", "c", "d"):
        agent.answer(f"PUT /v1/kv/{key}", b"true")
    return agent


@pytest.mark.parametrize("source", ["argument", "file", "stdin"])
def test_each_entry_is_written_in_order(
    store: StubAgent, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "kv.json").write_text(DATA)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(DATA.encode())))
    argument = {"argument": DATA, "file": f"@{tmp_path / 'kv.json'}", "stdin": "-"}[source]
    done = run("kv", "import", argument)
    assert (done.code, done.out, done.err) == (0, "Imported: a/b\nImported: c\nImported: d\n", "")
    assert [(asked.path, asked.query, asked.body) for asked in store.asked] == [
        ("/v1/kv/a/b", {"flags": "7"}, b"one"),
        ("/v1/kv/c", {}, b""),
        ("/v1/kv/d", {}, b""),
    ]


def test_what_was_exported_can_be_imported(store: StubAgent, run: Any) -> None:
    store.answer("GET /v1/kv/", [{"Key": "a/b", "Value": "AP8=", "Flags": 3}])
    assert run("kv", "import", run("kv", "export").out).out == "Imported: a/b\n"
    assert (store.last.body, store.last.query) == (b"\x00\xff", {"flags": "3"})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("{", "Cannot unmarshal data: it is not JSON"),
        ("{}", "Cannot unmarshal data: it is no list"),
        ("[1]", 'Cannot unmarshal data: entry 0 has no "key"'),
        ('[{"key": "a"}, {"value": ""}]', 'Cannot unmarshal data: entry 1 has no "key"'),
        ('[{"key": "a", "flags": -1}]', 'entry 0: "flags" is not a number from 0'),
        ('[{"key": "a", "flags": "x"}]', 'entry 0: "flags" is not a number from 0'),
        ('[{"key": "a"}, {"key": "b", "value": "?"}]', "Error base 64 decoding value for key b"),
        ('[{"key": "b", "value": 1}]', "Error base 64 decoding value for key b"),
        ('[{"key": "/a", "value": ""}]', "Invalid key. Key must not begin with a '/': /a"),
        ('[{"key": "\\ud800", "value": ""}]', "is not Unicode text"),
        ("", "Error! Empty DATA argument"),
        ("@/no/such", "Error! Failed to read file: '/no/such'"),
    ],
)
def test_nothing_is_written_when_an_entry_is_wrong(agent: StubAgent, run: Any, data: str, words: str) -> None:
    done = run("kv", "import", data)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("args", [[], ["[]", "[]"]])
def test_exactly_one_argument_is_taken(agent: StubAgent, run: Any, args: list[str]) -> None:
    assert run("kv", "import", *args).code == 1


def test_a_refusal_names_the_key(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/kv/a/b", b"Permission denied", status=403)
    assert run("kv", "import", DATA).err == (
        "Error! Failed writing data for key a/b: Unexpected response code: 403 (Permission denied)\n"
    )
