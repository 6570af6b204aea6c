from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_stub import StubAgent


@pytest.mark.parametrize(
    ("args", "path", "query", "out"),
    [
        (["a/b"], "a/b", {}, "Success! Deleted key: a/b\n"),
        (["/a/b"], "a/b", {}, "Success! Deleted key: a/b\n"),
        (["-recurse", "a/"], "a/", {"recurse": ""}, "Success! Deleted keys with prefix: a/\n"),
        (["-recurse"], "", {"recurse": ""}, "Success! Deleted keys with prefix: \n"),
        (["-cas", "-modify-index=7", "a"], "a", {"cas": "7"}, "Success! Deleted key: a\n"),
        (["-datacenter=dc2", "-stale", "a"], "a", {"dc": "dc2"}, "Success! Deleted key: a\n"),
    ],
)
def test_each_way_to_delete(
    agent: StubAgent, run: Any, args: list[str], path: str, query: dict[str, str], out: str
) -> None:
    agent.answer(f"DELETE /v1/kv/{path}", b"true")
    done = run("kv", "delete", *args)
    assert (done.code, done.out, done.err) == (0, out, "")
    assert agent.last.query == query


def test_a_check_that_fails_is_a_failure(agent: StubAgent, run: Any) -> None:
    agent.answer("DELETE /v1/kv/a", b"false")
    done = run("kv", "delete", "-cas", "-modify-index=7", "a")
    assert (done.code, done.out, done.err) == (1, "", "Error! Did not delete key a: CAS failed\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Error! Missing KEY argument"),
        (["/"], "Error! Missing KEY argument"),
        (["a", "b"], "Too many arguments (expected 1, got 2)"),
        (["-cas", "a"], "Cannot delete a key that does not exist. Provide a -modify-index greater than"),
        (["-modify-index=1", "a"], "Cannot specify -modify-index without -cas!"),
        (["-cas", "-recurse", "-modify-index=1", "a"], "Cannot specify both -cas and -recurse!"),
    ],
)
def test_what_cannot_be_deleted_is_refused(agent: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("kv", "delete", *args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err


@pytest.mark.parametrize(
    ("flags", "failing"),
    [
        ([], "Error deleting key a"),
        (["-recurse"], "Error! Did not delete prefix a"),
        (["-cas", "-modify-index=1"], "Error! Did not delete key a"),
    ],
)
def test_a_refusal_begins_as_consuls_does(agent: StubAgent, run: Any, flags: list[str], failing: str) -> None:
    agent.answer("DELETE /v1/kv/a", b"no", status=500)
    assert run("kv", "delete", *flags, "a").err == f"{failing}: Unexpected response code: 500 (no)\n"
