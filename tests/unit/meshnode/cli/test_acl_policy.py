from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

ID = "06acc965-df4b-5a99-58cb-3250930c6324"
POLICY: dict[str, Any] = {
    "ID": ID, "Name": "kv", "Description": "about keys", "Datacenters": ["dc1", "dc2"], "Rules": 'key "" {}',
    "Hash": "AP8=", "CreateIndex": 14, "ModifyIndex": 15,
}  # fmt: skip
PRINTED = (
    f"ID:           {ID}\nName:         kv\nDescription:  about keys\nDatacenters:  dc1, dc2\n"
    'Rules:\nkey "" {}\n'
)


@pytest.fixture
def servers(agent: StubAgent) -> StubAgent:
    agent.answer("GET /v1/acl/policies", [POLICY, {"ID": "06ff", "Name": "other"}])
    for call in ("PUT /v1/acl/policy", f"GET /v1/acl/policy/{ID}", f"PUT /v1/acl/policy/{ID}"):
        agent.answer(call, POLICY)
    agent.answer(f"DELETE /v1/acl/policy/{ID}", b"true")
    return agent


@pytest.mark.parametrize(
    ("args", "call", "out"),
    [
        (["create", "-name=kv"], "PUT /v1/acl/policy", PRINTED),
        (["read", "-id=06ac"], f"GET /v1/acl/policy/{ID}", PRINTED),
        (["read", "-name=kv"], f"GET /v1/acl/policy/{ID}", PRINTED),
        (["update", "-id=06ac"], f"PUT /v1/acl/policy/{ID}", "Policy updated successfully\n" + PRINTED),
        (["delete", "-name=kv"], f"DELETE /v1/acl/policy/{ID}", f'Policy "{ID}" deleted successfully\n'),
    ],
)
def test_each_command_makes_its_call_and_prints_the_policy(
    servers: StubAgent, run: Any, args: list[str], call: str, out: str
) -> None:
    done = run("acl", "policy", *args)
    assert (done.code, done.out, done.err) == (0, out, "")
    assert f"{servers.last.method} {servers.last.path}" == call


def test_a_list_shows_no_rules(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/acl/policies", [POLICY, POLICY | {"Name": "b", "Datacenters": None}])
    assert run("acl", "policy", "list", "-meta").out == (
        f"kv:\n   ID:           {ID}\n   Description:  about keys\n   Datacenters:  dc1, dc2\n"
        "   Hash:         00ff\n   Create Index: 14\n   Modify Index: 15\n"
        f"b:\n   ID:           {ID}\n   Description:  about keys\n   Datacenters:  \n"
        "   Hash:         00ff\n   Create Index: 14\n   Modify Index: 15\n"
    )
    assert len(json.loads(run("acl", "policy", "list", "-format=json").out)) == 2


@pytest.mark.parametrize("source", ["text", "file", "stdin"])
def test_rules_come_from_the_argument_a_file_or_standard_input(
    servers: StubAgent, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    rules = 'node "ü" {}\n'
    (tmp_path / "rules.hcl").write_text(rules)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(rules.encode())))
    given = {"text": rules, "file": f"@{tmp_path / 'rules.hcl'}", "stdin": "-"}[source]
    flags = ["-name=n", "-description=d", "-valid-datacenter=a", "-valid-datacenter=b", "-rules", given]
    assert run("acl", "policy", "create", *flags).code == 0
    assert json.loads(servers.last.body) == {
        "Name": "n", "Description": "d", "Rules": rules, "Datacenters": ["a", "b"],
    }  # fmt: skip


def test_rules_come_from_a_token_of_the_old_kind(servers: StubAgent, run: Any) -> None:
    servers.answer("GET /v1/acl/tokens", [{"AccessorID": "abcd"}])
    servers.answer("GET /v1/acl/rules/translate/abcd", b"by accessor\n")
    servers.answer("GET /v1/acl/token/self", {"Rules": "old"})
    servers.answer("POST /v1/acl/rules/translate", b"by secret")
    for flags, rules in (
        (["-from-token=ab"], "by accessor"),
        (["-from-token=s", "-token-secret"], "by secret"),
    ):
        assert run("acl", "policy", "create", "-name=n", *flags).code == 0
        assert json.loads(servers.last.body)["Rules"] == rules
    asked = len(servers.asked)
    done = run("acl", "policy", "create", "-name=n", "-rules=x", "-from-token=ab")
    assert (done.code, len(servers.asked)) == (1, asked)
    assert done.err == "Cannot specify both -rules and -from-token: give one\n"


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (["-id=06ac"], {}),
        (["-id=06ac", "-name=new"], {"Name": "new"}),
        (["-name=kv", "-description="], {"Description": ""}),
        (["-id=06ac", "-rules=x", "-valid-datacenter=a"], {"Rules": "x", "Datacenters": ["a"]}),
        (
            ["-id=06ac", "-no-merge", "-name=n"],
            {"Name": "n", "Description": "", "Rules": "", "Datacenters": None},
        ),
    ],
)
def test_an_update_keeps_what_is_not_given(
    servers: StubAgent, run: Any, flags: list[str], changes: dict[str, Any]
) -> None:
    assert run("acl", "policy", "update", *flags).code == 0
    kept = {name: POLICY[name] for name in ("ID", "Name", "Description", "Rules", "Datacenters")}
    assert json.loads(servers.last.body) == kept | changes


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["create"], "Missing require '-name' flag"),
        (["create", "-name=a", "-rules=@/no/such"], "Failed to read file: '/no/such'"),
        (["create", "-name=a", "-rules=\udcff"], "-rules: what is given is not UTF-8 text"),
        (["read"], "Must specify either the -id or -name parameters"),
        (["read", "-id=06"], "Error determining policy ID: Partial policy ID is not unique: 2 begin with 06"),
        (["delete", "-name=none"], "Error determining policy ID: No such policy with name none"),
    ],
)
def test_what_cannot_be_done_is_refused(servers: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("acl", "policy", *args)
    assert (done.code, done.out) == (1, "")
    assert words in done.err
    assert not [asked for asked in servers.asked if asked.method != "GET"]
