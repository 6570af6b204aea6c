"""``acl bootstrap``, ``acl set-agent-token`` and ``acl translate-rules``."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

SECRET = "1c2b7b0a-0000-4f2f-8b5e-6f0e6f3f7b11"


def test_bootstrap_prints_the_first_token(agent: StubAgent, run: Any) -> None:
    token = {"AccessorID": "a", "SecretID": SECRET, "Description": "Bootstrap Token (Global Management)",
             "Local": False, "CreateTime": "2018-10-22T11:27:04.479026Z",
             "Policies": [{"ID": "1", "Name": "all"}]}  # fmt: skip
    agent.answer("PUT /v1/acl/bootstrap", token)
    assert run("acl", "bootstrap").out == (
        f"AccessorID:   a\nSecretID:     {SECRET}\nDescription:  Bootstrap Token (Global Management)\n"
        "Local:        false\nCreate Time:  2018-10-22 11:27:04.479026 +0000 UTC\nPolicies:\n   1 - all\n"
    )
    assert json.loads(run("acl", "bootstrap", "-format=json").out) == token


def test_bootstrap_of_an_older_agent_has_a_secret_only(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/acl/bootstrap", {"ID": SECRET})
    assert f"\nSecretID:     {SECRET}\n" in run("acl", "bootstrap").out


def test_bootstrap_works_once(agent: StubAgent, run: Any) -> None:
    agent.answer("PUT /v1/acl/bootstrap", b"Permission denied: ACL bootstrap no longer allowed", status=403)
    done = run("acl", "bootstrap")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Failed ACL bootstrapping: Unexpected response code: 403 (Permission denied")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("default", "acl_token"),
        ("agent", "acl_agent_token"),
        ("master", "acl_agent_master_token"),
        ("recovery", "acl_agent_master_token"),
        ("replication", "acl_replication_token"),
    ],
)
def test_a_token_of_the_agent_is_set_and_not_shown(agent: StubAgent, run: Any, kind: str, name: str) -> None:
    agent.answer(f"PUT /v1/agent/token/{name}")
    done = run("acl", "set-agent-token", kind, SECRET)
    assert (done.code, done.out, done.err) == (0, f'ACL token "{kind}" set successfully\n', "")
    assert json.loads(agent.last.body) == {"Token": SECRET}


def test_a_token_can_be_given_without_being_seen(
    agent: StubAgent, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.answer("PUT /v1/agent/token/acl_token")
    (tmp_path / "token").write_text(f"{SECRET}\n")
    run("acl", "set-agent-token", "default", f"@{tmp_path / 'token'}")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{SECRET}\n".encode())))
    run("acl", "set-agent-token", "default", "-")
    assert [json.loads(asked.body) for asked in agent.asked] == [{"Token": SECRET}] * 2


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Error! Missing TYPE and TOKEN arguments"),
        (["agent"], "Error! Missing TOKEN argument"),
        ([SECRET], "Unknown token type: write default, agent, master or replication before the token"),
        ([SECRET, "agent"], "Unknown token type"),
        (["agent", SECRET, "x"], "Error! Too many arguments: expected 2 got 3"),
        (["agent", "\udcff"], "Error! the token holds characters that no token has"),
    ],
)
def test_what_cannot_be_set_is_refused_without_showing_it(
    agent: StubAgent, run: Any, args: list[str], words: str
) -> None:
    done = run("acl", "set-agent-token", *args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err
    assert SECRET not in done.err


def test_rules_are_translated_by_the_agent(agent: StubAgent, run: Any, tmp_path: Path) -> None:
    agent.answer("POST /v1/acl/rules/translate", b'key_prefix "" {}\n')
    done = run("acl", "translate-rules", 'key "" {}')
    assert (done.code, done.out, done.err) == (0, 'key_prefix "" {}\n', "")
    assert agent.last.body == b'key "" {}'
    (tmp_path / "rules").write_bytes(b"node x")
    run("acl", "translate-rules", f"@{tmp_path / 'rules'}")
    assert agent.last.body == b"node x"


def test_the_rules_of_a_token_are_translated(
    agent: StubAgent, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.answer("GET /v1/acl/tokens", [{"AccessorID": "a1b2"}])
    agent.answer("GET /v1/acl/rules/translate/a1b2", b"new")
    agent.answer("GET /v1/acl/token/self", {"Rules": "old"})
    agent.answer("POST /v1/acl/rules/translate", b"new")
    assert run("acl", "translate-rules", "-token-accessor", "a1").out == "new\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{SECRET}\n".encode())))
    assert run("acl", "translate-rules", "-token-secret", "-token=mine", "-").out == "new\n"
    assert [asked.headers.get("X-Consul-Token") for asked in agent.asked] == [None, None, SECRET, "mine"]
    assert agent.last.body == b"old"
    agent.answer("GET /v1/acl/token/self", {"Rules": ""})
    done = run("acl", "translate-rules", "-token-secret", SECRET)
    assert (done.code, done.err) == (1, "Token is not a legacy token with rules\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "Error! Missing TRANSLATE argument"),
        (["a", "b"], "Error! Too many arguments: expected 1 got 2"),
        (["-token-accessor", "-token-secret", "a"], "Error! -token-accessor and -token-secret don't go together"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_refused(
    agent: StubAgent, run: Any, args: list[str], words: str
) -> None:
    done = run("acl", "translate-rules", *args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err
