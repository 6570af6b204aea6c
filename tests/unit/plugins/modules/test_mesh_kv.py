"""C(mesh_kv) against a real agent."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _kv, mesh_api
from ansible_collections.meshnode.lab.plugins.modules import mesh_kv

from tests.unit.plugins.api_agents import ApiAgent, ansible
from tests.unit.plugins.module_run import Outcome, run_module

Run = Callable[..., Outcome]


@pytest.fixture
def run(open_agent: ApiAgent, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(check: bool = False, **args: Any) -> Outcome:
        return run_module(mesh_kv.main, capsys, check=check, **{**open_agent.plain, **args})

    return call


@pytest.fixture
def name() -> str:
    return f"t/{uuid.uuid4()}"


def stored(agent: ApiAgent, prefix: str) -> dict[str, str]:
    status, text = agent.agent.api(f"/v1/kv/{prefix}?recurse")
    if status == 404:
        return {}
    return {row["Key"]: base64.b64decode(row["Value"] or "").decode() for row in json.loads(text)}


def four(run: Run, **args: Any) -> list[bool]:
    """Changed? of check, run, check again, run again."""
    outcomes = [run(check, **args) for check in (True, False, True, False)]
    assert [one["msg"] for one in outcomes] == [None] * 4
    return [one["changed"] for one in outcomes]


def test_a_key_is_written_once_and_deleted_once(run: Run, open_agent: ApiAgent, name: str) -> None:
    assert run(True, key=name, value="x")["changed"]
    assert stored(open_agent, name) == {}
    assert four(run, key=name, value="one, two") == [True, True, False, False]
    assert stored(open_agent, name) == {name: "one, two"}
    assert four(run, key=name, state="absent") == [True, True, False, False]
    assert stored(open_agent, name) == {}


@pytest.mark.parametrize("tail", ["with space", "ünï", "a?b#c%41", "a//b", "plus+and&"])
def test_a_key_with_strange_characters_is_that_key(
    run: Run, open_agent: ApiAgent, name: str, tail: str
) -> None:
    assert four(run, key=f"{name}/{tail}", value="v") == [True, True, False, False]
    assert stored(open_agent, name) == {f"{name}/{tail}": "v"}


def test_flags_stay_unless_they_are_given(run: Run, open_agent: ApiAgent, name: str) -> None:
    assert four(run, key=name, value="a", flags=2**64 - 1) == [True, True, False, False]
    run(key=name, value="b")
    assert open_agent.agent.get(f"/v1/kv/{name}")[0]["Flags"] == 2**64 - 1
    assert run(key=name, value="b", flags=0)["diff"] == {
        "before": {name: {"flags": 2**64 - 1, "value": "b"}},
        "after": {name: "b"},
    }


def test_bytes_are_kept_and_shown_as_base64(run: Run, open_agent: ApiAgent, name: str) -> None:
    text = base64.b64encode(b"\x00\xff").decode()
    assert run(key=name, value_b64=text)["diff"]["after"] == {name: f"(base64) {text}"}
    assert not run(key=name, value_b64=text)["changed"]
    assert open_agent.agent.get(f"/v1/kv/{name}")[0]["Value"] == text


def test_cas_wants_the_index_that_it_was_told(run: Run, name: str) -> None:
    made = run(key=name, value="a", cas=0)
    assert made["changed"]
    assert not run(key=name, value="a", cas=0)["changed"]
    refused = run(key=name, value="b", cas=0)
    assert (
        refused["msg"]
        == f"mesh_kv: cas: {name} has modify_index {made['modify_index']}, not 0: read the key again, and decide again"
    )
    changed = run(key=name, value="b", cas=made["modify_index"])
    assert changed["modify_index"] > made["modify_index"]
    assert "not 1" in run(key=name, state="absent", cas=1)["msg"]
    assert run(key=name, state="absent", cas=changed["modify_index"])["changed"]


TREE = {"log": "info", "limits": {"n": 3, "half": 0.5, "on": True}, "empty": ""}


def test_a_tree_is_written_whole_and_leaves_the_rest_alone(run: Run, open_agent: ApiAgent, name: str) -> None:
    run(key=f"{name}/old", value="o")
    assert four(run, tree=TREE, prefix=name) == [True, True, False, False]
    wanted = {"log": "info", "limits/n": "3", "limits/half": "0.5", "limits/on": "true", "empty": ""}
    below = {f"{name}/{key}": value for key, value in wanted.items()}
    assert stored(open_agent, name) == below | {f"{name}/old": "o"}
    assert four(run, tree=TREE, prefix=f"{name}/", exclusive=True) == [True, True, False, False]
    assert stored(open_agent, name) == below


def test_exclusive_leaves_a_neighbour_whose_name_starts_alike(
    run: Run, open_agent: ApiAgent, name: str
) -> None:
    run(key=f"{name}-neighbour", value="n")
    run(tree={"a": "1"}, prefix=name, exclusive=True)
    assert set(stored(open_agent, name)) == {f"{name}-neighbour", f"{name}/a"}


def test_a_tree_of_more_keys_than_a_transaction_has(run: Run, open_agent: ApiAgent, name: str) -> None:
    tree = {f"k{n}": "x" * 9000 for n in range(130)}
    assert four(run, tree=tree, prefix=name) == [True, True, False, False]
    assert len(stored(open_agent, name)) == 130
    assert four(run, tree={}, prefix=name, exclusive=True) == [True, True, False, False]
    assert stored(open_agent, name) == {}


def test_a_folder_goes_with_recurse(run: Run, open_agent: ApiAgent, name: str) -> None:
    run(tree=TREE, prefix=name)
    gone = run(True, key=f"{name}/limits/", recurse=True, state="absent")
    assert gone["keys"] == [f"{name}/limits/{key}" for key in ("half", "n", "on")]
    assert four(run, key=f"{name}/limits/", recurse=True, state="absent") == [True, True, False, False]
    assert set(stored(open_agent, name)) == {f"{name}/log", f"{name}/empty"}


def test_a_change_by_another_one_in_between_is_not_lost(open_agent: ApiAgent, run: Run, name: str) -> None:
    run(key=name, value="a")
    api = mesh_api.MeshApi(**open_agent.plain)
    change = _kv.plan(api, _kv.Wish({name: b"mine"}))
    run(key=name, value="theirs")
    with pytest.raises(
        mesh_api.MeshApiError, match=f"{name}: was changed by another one just now .*: run again"
    ):
        _kv.apply(api, change)
    assert stored(open_agent, name) == {name: "theirs"}


def test_sensitive_values_are_nowhere_in_the_output(run: Run, name: str) -> None:
    secret, other = "correct horse battery", "another one that is secret"
    printed = [
        run(key=name, value=secret, sensitive=True)["_printed"],
        run(key=name, value_b64=base64.b64encode(other.encode()).decode(), sensitive=True)["_printed"],
        run(prefix=f"{name}/t", tree={"a": {"b": secret}}, sensitive=True)["_printed"],
        run(key=name, value=secret, flags="no number", sensitive=True)["_printed"],
        run(key=name, value=secret, flags="no number")["_printed"],
    ]
    assert "argument 'flags' is of type" in printed[3]
    for text in printed:
        assert secret not in text
        assert other not in text
        assert base64.b64encode(other.encode()).decode() not in text
    assert run(key=name, value="z", sensitive=True)["diff"] == {
        "before": {name: "(hidden)"},
        "after": {name: "(hidden, new)"},
    }


def test_values_that_are_not_sensitive_are_shown(run: Run, name: str) -> None:
    assert run(key=name, value="plain text")["diff"]["after"] == {name: "plain text"}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"key": "/a", "value": "x"}, "key: '/a' starts with a slash: leave the slash out"),
    ({"key": "", "value": "x"}, "key: is empty: name a key"),
    ({"key": "a/../b", "value": "x"}, "has a part that is . or ..: name it otherwise"),
    ({"key": "k" * 5000, "value": "x"}, "key: a key has at most 4096 bytes"),
    ({"key": "a"}, "value: is missing: give value or value_b64, or state=absent"),
    ({"key": "a", "value_b64": "$"}, "value_b64: is not base64: write the output of the filter b64encode"),
    ({"key": "a", "value": "x" * 524289}, "value: has 524289 bytes: a value has at most 524288"),
    ({"key": "a", "value": "x", "flags": -1}, "flags: -1 is out of range"),
    ({"key": "a", "value": "x", "flags": 2**64}, "is out of range: write a number from 0 to"),
    ({"key": "a", "value": "x", "cas": -1}, "cas: -1 is no index"),
    ({"key": "a", "value": "x", "recurse": True}, "recurse: goes with state=absent"),
    ({"key": "a", "value": "x", "exclusive": True}, "exclusive: goes with tree and prefix"),
    ({"key": "", "recurse": True, "state": "absent"}, "key: is empty, and would delete every key"),
    ({"key": "a", "recurse": True, "state": "absent", "cas": 1}, "cas: is about one key"),
    ({"tree": {"a": ["x"]}, "prefix": "p"}, "tree.a: is a list: write text, a number or a mapping"),
    ({"tree": {"a": {"b": None}}, "prefix": "p"}, "tree.a.b: is empty: write text"),
    ({"tree": {"": "x"}, "prefix": "p"}, "tree: '' is no name"),
    ({"tree": {"a": {"b": 1}, "a/b": 2}, "prefix": "p"}, "tree.a/b: the key p/a/b comes twice"),
    ({"tree": {"a": "x"}, "prefix": "/"}, "prefix: '/' starts with a slash"),
    ({"tree": {"a": "x"}, "prefix": "", "exclusive": True}, "prefix: is empty: name the folder"),
    ({"tree": {"a": "x"}, "prefix": "p", "state": "absent"}, "tree: goes with state=present"),
    ({"tree": {"a": "x"}}, "prefix: is missing: name the folder that the tree is for"),
    ({"key": "a", "value": "x", "prefix": "p"}, "prefix: goes with tree: give both, or a key"),
    ({}, "one of the following is required: key, tree"),
    ({"key": "a", "value": "x", "timeout": 0}, "timeout: 0 is out of range: write seconds"),
    (
        {"key": "a", "value": "x", "address": "ftp://h"},
        "address: 'ftp://h' is not an address: write host:port",
    ),
]


@pytest.mark.parametrize(("args", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_a_bad_value_is_named_with_its_fix(run: Run, args: dict[str, Any], message: str) -> None:
    outcome = run(**args)
    assert outcome["failed"]
    assert message in outcome["msg"]


def test_ansible_itself_over_https_with_the_variables_of_consul(
    open_agent: ApiAgent, tmp_path: Path, name: str
) -> None:
    def call(*more: str) -> str:
        task = ("localhost", "-m", "meshnode.lab.mesh_kv", "-a", f"key={name} value=v")
        done = ansible(tmp_path, "ansible", *task, *more, **open_agent.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert [call(*more).split("=>")[0].split("|")[1].strip() for more in (["-C"], [], ["-C"], [])] == [
        "CHANGED", "CHANGED", "SUCCESS", "SUCCESS",
    ]  # fmt: skip
    assert stored(open_agent, name) == {name: "v"}
