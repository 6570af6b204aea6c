from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_stub import StubAgent

A, B = "59f86a9b-d3b6-166c-32a0-be4ab4d94caa", "59f86aff-1c1d-4e0b-8f0f-9dcb3f8c1c34"
SECRET = "1c2b7b0a-0000-4f2f-8b5e-6f0e6f3f7b11"
POLICY = "06acc965-df4b-5a99-58cb-3250930c6324"
TOKEN: dict[str, Any] = {
    "AccessorID": A, "SecretID": SECRET, "Description": "for web", "Local": False,
    "Policies": [{"ID": POLICY, "Name": "web-policy"}], "CreateTime": "2018-10-22T11:21:39.60Z",
    "Hash": "AP8=", "CreateIndex": 59, "ModifyIndex": 60,
}  # fmt: skip
PRINTED = (
    f"AccessorID:   {A}\nSecretID:     {SECRET}\nDescription:  for web\nLocal:        false\n"
    "Create Time:  2018-10-22 11:21:39.6 +0000 UTC\n"
    f"Policies:\n   {POLICY} - web-policy\n"
)


@pytest.fixture
def servers(agent: StubAgent) -> StubAgent:
    agent.answer("GET /v1/acl/tokens", [{"AccessorID": A}, {"AccessorID": B}])
    agent.answer("GET /v1/acl/policies", [{"ID": POLICY, "Name": "web-policy"}])
    agent.answer("GET /v1/acl/roles", [{"ID": "abcd", "Name": "r"}])
    for call in ("PUT /v1/acl/token", f"GET /v1/acl/token/{A}", f"PUT /v1/acl/token/{A}",
                 f"PUT /v1/acl/token/{A}/clone", "GET /v1/acl/token/self"):  # fmt: skip
        agent.answer(call, TOKEN)
    agent.answer(f"DELETE /v1/acl/token/{A}", b"true")
    return agent


@pytest.mark.parametrize(
    ("args", "call", "out"),
    [
        (["create", "-policy-name=web-policy"], "PUT /v1/acl/token", PRINTED),
        (["read", f"-id={A}"], f"GET /v1/acl/token/{A}", PRINTED),
        (["read", "-id=59f86a9"], f"GET /v1/acl/token/{A}", PRINTED),
        (["read", "-accessor-id=59f86a9"], f"GET /v1/acl/token/{A}", PRINTED),
        (["read", "-self"], "GET /v1/acl/token/self", PRINTED),
        (["update", f"-id={A}"], f"PUT /v1/acl/token/{A}", "Token updated successfully.\n" + PRINTED),
        (["clone", f"-id={A}"], f"PUT /v1/acl/token/{A}/clone", "Token cloned successfully.\n" + PRINTED),
        (["delete", "-id=59f86a9"], f"DELETE /v1/acl/token/{A}", f'Token "{A}" deleted successfully\n'),
    ],
)
def test_each_command_makes_its_call_and_prints_the_token(
    servers: StubAgent, run: Any, args: list[str], call: str, out: str
) -> None:
    done = run("acl", "token", *args)
    assert (done.code, done.out, done.err) == (0, out, "")
    assert f"{servers.last.method} {servers.last.path}" == call


def test_metadata_is_shown_when_asked_for(servers: StubAgent, run: Any) -> None:
    out = run("acl", "token", "read", "-meta", "-id", A).out
    assert "\nHash:         00ff\nCreate Index: 59\nModify Index: 60\nPolicies:\n" in out


def test_roles_identities_rules_and_expiry_are_shown(servers: StubAgent, run: Any) -> None:
    more = {
        "Roles": [{"ID": "r1", "Name": "ops"}], "ExpirationTime": "2020-01-01T00:00:00+02:00", "Rules": 'key "" {}',
        "ServiceIdentities": [{"ServiceName": "web"}, {"ServiceName": "db", "Datacenters": ["a", "b"]}],
    }  # fmt: skip
    servers.answer(f"GET /v1/acl/token/{A}", TOKEN | more | {"Policies": None})
    assert run("acl", "token", "read", "-id", A).out.splitlines()[5:] == [
        "Expiration Time:  2020-01-01 00:00:00 +0200 +0200",
        "Policies:",
        "Roles:",
        "   r1 - ops",
        "Service Identities:",
        "   web (Datacenters: all)",
        "   db (Datacenters: a, b)",
        "Rules:",
        'key "" {}',
    ]


def test_json_is_what_the_agent_answered(servers: StubAgent, run: Any) -> None:
    assert json.loads(run("acl", "token", "read", "-format=json", "-id", A).out) == TOKEN


def test_a_list_shows_no_secrets(servers: StubAgent, run: Any) -> None:
    servers.answer("GET /v1/acl/tokens", [TOKEN | {"Legacy": True}, TOKEN])
    done = run("acl", "token", "list")
    entry = PRINTED.replace(f"SecretID:     {SECRET}\n", "").replace("UTC\n", "UTC\nLegacy:       {}\n")
    assert done.out == entry.format("true") + "\n" + entry.format("false")
    as_json = run("acl", "token", "list", "-format=json").out
    assert len(json.loads(as_json)) == 2
    assert SECRET not in done.out + as_json


@pytest.mark.parametrize(("flags", "out"), [([], ""), (["-format=json"], "[]\n")])
def test_an_empty_list_is_no_failure(agent: StubAgent, run: Any, flags: list[str], out: str) -> None:
    agent.answer("GET /v1/acl/tokens", None)
    done = run("acl", "token", "list", *flags)
    assert (done.code, done.out, done.err) == (0, out, "")


def test_everything_about_a_new_token_is_sent(servers: StubAgent, run: Any) -> None:
    run("acl", "token", "create", "-description=d", "-local", "-accessor", A, "-secret", B, "-expires-ttl=1h",
        "-policy-id=06ac", "-policy-name=p", "-role-id=ab", "-role-name=n",
        "-service-identity=web:dc1,dc2")  # fmt: skip
    assert json.loads(servers.last.body) == {
        "Description": "d", "Local": True, "AccessorID": A, "SecretID": B, "ExpirationTTL": "1h0m0s",
        "Policies": [{"Name": "p"}, {"ID": POLICY}], "Roles": [{"Name": "n"}, {"ID": "abcd"}],
        "ServiceIdentities": [{"ServiceName": "web", "Datacenters": ["dc1", "dc2"]}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "description", "policies"),
    [
        ([], "for web", []),
        (["-description=new"], "new", []),
        (["-description="], "", []),
        (["-policy-name=p"], "for web", [{"Name": "p"}]),
        (["-merge-policies"], "for web", TOKEN["Policies"]),
        (["-merge-policies", "-policy-name=p"], "for web", [*TOKEN["Policies"], {"Name": "p"}]),
        (["-merge-policies", "-policy-name=web-policy", "-policy-id=06"], "for web", TOKEN["Policies"]),
    ],
)
def test_an_update_replaces_the_links_or_adds_to_them(
    servers: StubAgent, run: Any, flags: list[str], description: str, policies: list[Any]
) -> None:
    assert run("acl", "token", "update", "-id", A, *flags).code == 0
    sent = json.loads(servers.last.body)
    assert (sent["Description"], sent["Policies"], sent["AccessorID"]) == (description, policies, A)


def test_the_anonymous_token_has_a_name(agent: StubAgent, run: Any) -> None:
    agent.answer("GET /v1/acl/token/00000000-0000-0000-0000-000000000002", TOKEN)
    assert run("acl", "token", "read", "-id=anonymous").code == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["read", "-id=59"], "Error determining token ID: Partial token ID is not unique: 2 begin with 59"),
        (["delete", "-id=00"], "Error determining token ID: No such token ID with prefix: 00"),
        (["create", "-policy-id=zz"], "No such policy ID with prefix: zz"),
        (["create"], "Cannot create a token without specifying -policy-name, -policy-id"),
        (["create", "-service-identity=:dc1"], "-service-identity: ':dc1' is none: write NAME"),
        (["read"], "Must specify the -id parameter"),
        (["update"], "Must specify the -id parameter"),
        (["delete"], "Must specify the -id parameter"),
        (["clone"], "Must specify the -id parameter"),
        (["list", "x"], "acl token list takes no arguments"),
        (["create", "-policy-name=p", "-format=xml"], "-format: 'xml' is not a format"),
    ],
)
def test_what_cannot_be_done_is_refused(servers: StubAgent, run: Any, args: list[str], words: str) -> None:
    done = run("acl", "token", *args)
    assert (done.code, done.out) == (1, "")
    assert words in done.err
    assert not [asked for asked in servers.asked if asked.method != "GET"]


@pytest.mark.parametrize(
    ("args", "failing"),
    [
        (["create", "-policy-name=p", "-secret", SECRET], "Failed to create new token"),
        (["read", "-id", A], f'Error reading token "{A}"'),
        (["update", "-id", A], "Error when retrieving current token"),
        (["delete", "-id", A], f'Error deleting token "{A}"'),
        (["clone", "-id", A], "Error cloning token"),
        (["list"], "Failed to retrieve the token list"),
    ],
)
def test_a_refusal_names_the_action_and_no_secret(
    agent: StubAgent, run: Any, args: list[str], failing: str
) -> None:
    done = run(
        "acl",
        "token",
        *args,
    )
    assert (done.code, done.out) == (1, "")
    assert done.err == f"{failing}: Unexpected response code: 404 (no such path)\n"
