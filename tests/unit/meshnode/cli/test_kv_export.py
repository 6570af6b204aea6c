from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_stub import StubAgent


def test_pairs_are_printed_as_go_indents_them(agent: StubAgent, run: Any) -> None:
    rows = [{"Key": "a/<ü>", "Value": "b25l", "Flags": 7}, {"Key": "a/empty", "Value": None, "Flags": 0}]
    agent.answer("GET /v1/kv/a", rows)
    done = run("kv", "export", "/a")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        '[\n\t{\n\t\t"key": "a/\\u003cü\\u003e",\n\t\t"flags": 7,\n\t\t"value": "b25l"\n\t},\n'
        '\t{\n\t\t"key": "a/empty",\n\t\t"flags": 0,\n\t\t"value": ""\n\t}\n]\n'
    )
    assert agent.last.query == {"recurse": ""}


@pytest.mark.parametrize("args", [[], ["none"]])
def test_nothing_below_the_prefix_is_an_empty_list(agent: StubAgent, run: Any, args: list[str]) -> None:
    done = run("kv", "export", *args)
    assert (done.code, done.out) == (0, "[]\n")


def test_two_prefixes_are_refused(agent: StubAgent, run: Any) -> None:
    done = run("kv", "export", "a", "b")
    assert (done.code, done.err, agent.asked) == (1, "Too many arguments (expected 1, got 2)\n", [])
