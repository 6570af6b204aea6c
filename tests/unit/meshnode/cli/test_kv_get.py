from __future__ import annotations

import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

MESHNODE = Path(sys.executable).with_name("meshnode")


def pair(key: str, value: bytes | None, **more: Any) -> dict[str, Any]:
    encoded = None if value is None else b64encode(value).decode()
    return {
        "Key": key,
        "Value": encoded,
        "Flags": 0,
        "LockIndex": 0,
        "CreateIndex": 5,
        "ModifyIndex": 7,
    } | more


DETAILS = (
    "CreateIndex      5\n"
    "Flags            42\n"
    "Key              a/b\n"
    "LockIndex        0\n"
    "ModifyIndex      7\n"
    "Session          -\n"
    "Value            one\n"
)


@pytest.mark.parametrize(
    ("flags", "value", "out"),
    [
        ([], b"one", "one\n"),
        ([], b"two\nlines\n", "two\nlines\n\n"),
        ([], b"", "\n"),
        ([], None, "\n"),
        (["-base64"], b"one", "b25l\n"),
        (["-detailed"], b"one", DETAILS),
        (["-detailed", "-base64"], b"one", DETAILS.replace("one", "b25l")),
    ],
)
def test_one_key_is_printed(agent: StubAgent, run: Any, flags: list[str], value: bytes, out: str) -> None:
    agent.answer("GET /v1/kv/a/b", [pair("a/b", value, Flags=42)])
    done = run("kv", "get", *flags, "a/b")
    assert (done.code, done.out, done.err) == (0, out, "")
    assert agent.last.query == {}


def test_the_session_of_a_lock_is_shown(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/kv/a", [pair("a", b"", Session="9f2")])
    assert "\nSession          9f2\n" in run("kv", "get", "-detailed", "a").out


def test_bytes_that_are_no_text_come_out_as_they_are(agent: StubAgent) -> None:
    agent.answer("GET /v1/kv/a", [pair("a", b"\xff\x00\xfe")])
    done = subprocess.run(
        [MESHNODE, "kv", "get", "-http-addr", agent.address, "a"], capture_output=True, check=True, timeout=30
    )
    assert done.stdout == b"\xff\x00\xfe\n"


def test_recurse_prints_each_pair_on_a_line(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/kv/a", [pair("a/b", b"one"), pair("a/c:d", b"two:2")])
    assert run("kv", "get", "-recurse", "a").out == "a/b:one\na/c:d:two:2\n"
    assert agent.last.query == {"recurse": ""}
    assert run("kv", "get", "-recurse", "-base64", "a").out == "a/b:b25l\na/c:d:dHdvOjI=\n"


def test_detailed_pairs_are_an_empty_line_apart(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/kv/", [pair("a/b", b"one", Flags=42)] * 2)
    assert run("kv", "get", "-recurse", "-detailed").out == DETAILS + "\n" + DETAILS


def test_keys_are_listed_up_to_the_separator(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/kv/", ["a/", "b"])
    assert run("kv", "get", "-keys").out == "a/\nb\n"
    assert agent.last.query == {"keys": "", "separator": "/"}
    run("kv", "get", "-keys", "-separator=", "-stale", "-datacenter=dc2", "/")
    assert agent.last.query == {"keys": "", "separator": "", "stale": "", "dc": "dc2"}


@pytest.mark.parametrize(
    ("key", "path"),
    [("/a", "/v1/kv/a"), ("a b/ü?#%", "/v1/kv/a%20b/%C3%BC%3F%23%25"), ("a/../b//c", "/v1/kv/a/../b//c"),
     ("\udcff", "/v1/kv/%FF")],
)  # fmt: skip
def test_a_key_is_found_whatever_is_in_its_name(agent: StubAgent, run: Any, key: str, path: str) -> None:
    agent.answer(f"GET {path}", [pair("k", b"v")])
    assert (run("kv", "get", key).out, agent.last.path) == ("v\n", path)


def test_a_key_that_is_not_there_is_a_failure(agent: StubAgent, run: Any) -> None:
    done = run("kv", "get", "a/b")
    assert (done.code, done.out, done.err) == (1, "", "Error! No key exists at: a/b\n")


@pytest.mark.parametrize("flag", ["-keys", "-recurse"])
def test_a_prefix_with_nothing_below_it_is_none(agent: StubAgent, run: Any, flag: str) -> None:
    done = run("kv", "get", flag, "a")
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Error! Missing KEY argument\n"),
        (["/"], "Error! Missing KEY argument\n"),
        (["a", "b"], "Too many arguments (expected 1, got 2)\n"),
        (["a", "-recurse"], "Too many arguments (expected 1, got 2): -recurse must come before KEY\n"),
        (["-recurs", "a"], "flag provided but not defined: -recurs: did you mean -recurse?\n"),
    ],
)
def test_what_cannot_be_asked_is_refused(agent: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("kv", "get", *args)
    assert (done.code, done.out, done.err) == (1, "", words)
    assert agent.asked == []


@pytest.mark.parametrize("flags", [[], ["-keys"], ["-recurse"]])
def test_a_refusal_begins_as_consuls_does(agent: StubAgent, run: Any, flags: list[str]) -> None:
    agent.answer("GET /v1/kv/a", b"Permission denied", status=403)
    done = run("kv", "get", *flags, "a")
    assert (done.code, done.out) == (1, "")
    assert done.err == "Error querying Consul agent: Unexpected response code: 403 (Permission denied)\n"
