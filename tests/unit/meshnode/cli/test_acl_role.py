from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

ID = "c630d4ef-6b29-d0d4-e0f0-9b3e2c1b1a11"
ROLE: dict[str, Any] = {
    "ID": ID, "Name": "ops", "Description": "who runs it", "Policies": [{"ID": "p1", "Name": "kv"}],
    "ServiceIdentities": [{"ServiceName": "web", "Datacenters": ["dc1"]}], "Hash": "AP8=", "CreateIndex": 1,
    "ModifyIndex": 2,
}  # fmt: skip
PRINTED = (
    f"ID:           {ID}\nName:         ops\nDescription:  who runs it\nPolicies:\n   p1 - kv\n"
    "Service Identities:\n   web (Datacenters: dc1)\n"
)


@pytest.fixture
def servers(agent: StubAgent) -> StubAgent:
    agent.answer("GET /v1/acl/roles", [ROLE])
    for call in ("PUT /v1/acl/role", f"GET /v1/acl/role/{ID}", f"PUT /v1/acl/role/{ID}"):
        agent.answer(call, ROLE)
    agent.answer(f"DELETE /v1/acl/role/{ID}", b"true")
    return agent


@pytest.mark.parametrize(
    ("args", "call", "out"),
    [
        (["create", "-name=ops", "-policy-name=kv"], "PUT /v1/acl/role", PRINTED),
        (["read", "-id=c6"], f"GET /v1/acl/role/{ID}", PRINTED),
        (["read", "-name=ops"], f"GET /v1/acl/role/{ID}", PRINTED),
        (["update", "-id=c6"], f"PUT /v1/acl/role/{ID}", "Role updated successfully\n" + PRINTED),
        (["delete", "-id=c6"], f"DELETE /v1/acl/role/{ID}", f'Role "{ID}" deleted successfully\n'),
    ],
)
def test_each_command_makes_its_call_and_prints_the_role(
    servers: StubAgent, run: Any, args: list[str], call: str, out: str
) -> None:
    done = run("acl", "role", *args)
    assert (done.code, done.out, done.err) == (0, out, "")
    assert f"{servers.last.method} {servers.last.path}" == call


def test_a_list_is_indented_below_the_names(servers: StubAgent, run: Any) -> None:
    assert run("acl", "role", "list").out == (
        f"ops:\n   ID:           {ID}\n   Description:  who runs it\n   Policies:\n      p1 - kv\n"
        "   Service Identities:\n      web (Datacenters: dc1)\n"
    )
    assert json.loads(run("acl", "role", "list", "-format=json").out) == [ROLE]


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (["-name=n"], {"Name": "n"}),
        (["-policy-name=kv"], {}),
        (["-policy-name=x"], {"Policies": [*ROLE["Policies"], {"Name": "x"}]}),
        (["-service-identity=db"], {"ServiceIdentities": [*ROLE["ServiceIdentities"], {"ServiceName": "db"}]}),
    ],
)  # fmt: skip
def test_an_update_adds_to_what_is_there(
    servers: StubAgent, run: Any, flags: list[str], changes: dict[str, Any]
) -> None:
    assert run("acl", "role", "update", "-id", ID, *flags).code == 0
    assert json.loads(servers.last.body) == ROLE | changes


def test_an_update_without_merging_empties_the_rest(servers: StubAgent, run: Any) -> None:
    run("acl", "role", "update", "-id", ID, "-no-merge", "-name=n")
    assert json.loads(servers.last.body) == {"ID": ID, "Name": "n", "Description": ""}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["create", "-policy-name=p"], "Missing require '-name' flag"),
        (["create", "-name=x"], "Cannot create a role without specifying -policy-name, -policy-id"),
        (["read"], "Must specify either the -id or -name parameters"),
        (["update", "-name=ops"], "Cannot update a role without specifying the -id parameter"),
    ],
)
def test_what_cannot_be_done_is_refused(agent: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("acl", "role", *args)
    assert (done.code, done.out, agent.asked) == (1, "", [])
    assert words in done.err
