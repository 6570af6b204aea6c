"""The ACL methods against the state machine itself: who may call what, what is written, and what is shown to whom."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest

from meshnode.acl.authorizer import ALLOW_ALL, PermissionDeniedError
from meshnode.acl.model import ANONYMOUS_ACCESSOR, GLOBAL_MANAGEMENT_ID
from meshnode.acl.resolve import AclSettings, resolve
from meshnode.control.command import AclReapTokens
from meshnode.control.endpoints.acl import METHODS, bootstrap_methods
from meshnode.control.endpoints.acl_shapes import HIDDEN, NO_TIME
from meshnode.control.machine import StateMachine
from meshnode.control.method import ReadMethod
from meshnode.control.wire import from_wire
from meshnode.rpc.method import RpcError
from tests.support.acl_server import AT, ON, AclServer

TTL = 1_000_000_000


@pytest.fixture
def server() -> AclServer:
    return AclServer()


#: method -> (body, whether reading is enough; None: no right is needed)
CALLS: dict[str, tuple[dict[str, Any], bool | None]] = {
    "ACL.Bootstrap": ({}, None),
    "ACL.BootstrapTokens": ({}, None),
    "ACL.TokenRead": ({"TokenID": "r"}, True),
    "ACL.TokenList": ({}, True),
    "ACL.TokenSet": ({"ACLToken": {}}, False),
    "ACL.TokenClone": ({"ACLToken": {"AccessorID": "r"}}, False),
    "ACL.TokenDelete": ({"TokenID": "x"}, False),
    "ACL.PolicyRead": ({"PolicyID": "read"}, True),
    "ACL.PolicyList": ({}, True),
    "ACL.PolicySet": ({"Policy": {"Name": "n"}}, False),
    "ACL.PolicyDelete": ({"PolicyID": "x"}, False),
    "ACL.RoleRead": ({"RoleName": "role"}, True),
    "ACL.RoleList": ({}, True),
    "ACL.RoleSet": ({"Role": {"Name": "n"}}, False),
    "ACL.RoleDelete": ({"RoleID": "x"}, False),
    "ACL.RulesTranslate": ({"Rules": ""}, True),
    "ACL.ReplicationStatus": ({}, None),
    "ACL.Apply": ({"Op": "set", "ACL": {"Type": "client"}}, False),
    "ACL.Get": ({"ACL": "anonymous"}, None),
    "ACL.List": ({}, False),
    "ACL.GetPolicy": ({"ACL": "reader"}, None),
}


def test_every_method_is_in_the_table() -> None:
    assert set(CALLS) == set(METHODS)


@pytest.mark.parametrize("name", CALLS)
def test_while_access_control_is_off_no_method_answers(name: str) -> None:
    with pytest.raises(RpcError, match=r"^ACL support disabled$"):
        AclServer(AclSettings()).call(name, CALLS[name][0])


@pytest.mark.parametrize("token", ["", "reader", "writer", "master"])
@pytest.mark.parametrize("name", CALLS)
def test_reads_need_acl_read_and_writes_acl_write(server: AclServer, name: str, token: str) -> None:
    server.call("ACL.RoleSet", {"Role": {"Name": "role"}})
    body, reading_is_enough = CALLS[name]
    allowed = (
        reading_is_enough is None
        or token in {"writer", "master"}
        or (reading_is_enough and token == "reader")
    )
    if allowed:
        server.call(name, body, token)
    else:
        before = b"".join(server.machine.snapshot())
        with pytest.raises(PermissionDeniedError, match=r"^Permission denied: "):
            server.call(name, body, token)
        assert b"".join(server.machine.snapshot()) == before


@pytest.mark.parametrize("name", CALLS)
def test_bodies_and_replies_survive_the_way_to_another_server(server: AclServer, name: str) -> None:
    def sent(value: Any) -> Any:
        return from_wire(msgpack.unpackb(msgpack.packb(value, use_bin_type=False), raw=True))

    server.call("ACL.RoleSet", {"Role": {"Name": "role", "Policies": [{"Name": "acl-read"}]}})
    body = CALLS[name][0]
    assert sent(body) == body
    reply = server.call(name, sent(body), "master")
    assert sent(reply) == reply


# Tokens


def test_a_token_is_made_with_ids_links_by_name_and_a_time(server: AclServer) -> None:
    made = server.token(
        Description="d",
        Policies=[{"Name": "acl-read"}, {"ID": "write"}],
        ServiceIdentities=[{"ServiceName": "web", "Datacenters": ["dc1"]}, {"ServiceName": "db"}],
        ExpirationTTL=3600 * TTL,
    )
    assert len(made.pop("Hash")) == 44
    assert made == {
        "AccessorID": "10000000-0000-4000-8000-000000000001",
        "SecretID": "10000000-0000-4000-8000-000000000002",
        "Description": "d",
        "Policies": [{"ID": "read", "Name": "acl-read"}, {"ID": "write", "Name": "acl-write"}],
        "Roles": [],
        "ServiceIdentities": [{"ServiceName": "web", "Datacenters": ["dc1"]}, {"ServiceName": "db"}],
        "Local": False,
        "ExpirationTime": "2023-11-14T23:13:20Z",
        "CreateTime": "2023-11-14T22:13:20Z",
        "CreateIndex": 5,
        "ModifyIndex": 5,
    }


def test_the_secret_is_shown_to_writers_and_to_its_owner(server: AclServer) -> None:
    def shown(token: str, **body: Any) -> Any:
        reply = server.call("ACL.TokenRead", body, token)
        assert reply["Redacted"] is (reply["Token"]["SecretID"] == HIDDEN)
        return reply["Token"]["SecretID"]

    assert shown("writer", TokenID="R") == "reader"
    assert shown("reader", TokenID="w") == HIDDEN
    assert shown("reader", TokenID="reader", TokenIDType="secret") == "reader"
    assert shown("", TokenID="", TokenIDType="secret") == "anonymous"
    assert shown("reader", TokenID="", TokenIDType="secret") == "reader"


def test_a_token_of_the_configuration_can_be_read_by_its_owner_only(server: AclServer) -> None:
    body = {"TokenID": "master", "TokenIDType": "secret"}
    token = server.call("ACL.TokenRead", body, "master")["Token"]
    assert (token["SecretID"], token["Policies"][0]["Name"]) == ("master", "global-management")
    with pytest.raises(RpcError, match="ACL not found"):
        server.call("ACL.TokenRead", body, "writer")


def test_a_list_has_no_secrets_and_can_be_narrowed(server: AclServer) -> None:
    role = server.call("ACL.RoleSet", {"Role": {"Name": "role"}})
    local = server.token(Roles=[{"Name": "role"}], Local=True)

    def listed(**body: Any) -> list[str]:
        return [row["AccessorID"] for row in server.call("ACL.TokenList", body, "reader")["Tokens"]]

    everything = server.call("ACL.TokenList", {}, "reader")["Tokens"]
    assert not [row for row in everything if "SecretID" in row or "Rules" in row]
    assert listed() == [ANONYMOUS_ACCESSOR, local["AccessorID"], "r", "w"]
    assert listed(Policy="READ") == ["r"]
    assert listed(Role=role["ID"]) == listed(IncludeLocal=True) == [local["AccessorID"]]
    assert listed(IncludeGlobal=True) == [ANONYMOUS_ACCESSOR, "r", "w"]


def test_an_update_replaces_the_links_and_keeps_secret_and_times(server: AclServer) -> None:
    made = server.token(Policies=[{"ID": "read"}], ExpirationTTL=60 * TTL, Local=True)
    server.at += 5
    form = {"AccessorID": made["AccessorID"].upper(), "Policies": [{"ID": "write"}]}
    changed = server.call("ACL.TokenSet", {"ACLToken": form})
    for name in ("AccessorID", "SecretID", "CreateTime", "ExpirationTime", "Local", "CreateIndex"):
        assert changed[name] == made[name]
    assert changed["Policies"] == [{"ID": "write", "Name": "acl-write"}]
    assert changed["ModifyIndex"] > made["ModifyIndex"]


@pytest.mark.parametrize(
    ("form", "because"),
    [
        ({"AccessorID": "x"}, "AccessorID is not a valid UUID"),
        ({"SecretID": "x"}, "SecretID is not a valid UUID"),
        ({"AccessorID": "00000000-0000-0000-0000-000000000099"}, "are reserved"),
        ({"Policies": [{"Name": "nope"}]}, "No such ACL policy with name 'nope'"),
        ({"Policies": [{"ID": "nope"}]}, "No such ACL policy with ID 'nope'"),
        ({"Policies": [{}]}, "Link to a policy without ID and Name"),
        ({"Roles": [{"Name": "nope"}]}, "No such ACL role with name 'nope'"),
        ({"Policies": "acl-read"}, "Policies must be a list of structs"),
        ({"Description": 7}, "Description must be text"),
        ({"ServiceIdentities": [{}]}, "missing the service name"),
        ({"ExpirationTTL": 59 * TTL}, "from 1m0s to 24h0m0s in the future"),
        ({"ExpirationTTL": 86401 * TTL}, "from 1m0s to 24h0m0s in the future"),
        ({"ExpirationTTL": -1}, "from 1m0s to 24h0m0s in the future"),
        ({"ExpirationTime": "soon"}, "ExpirationTime 'soon' is not a time"),
        ({"ExpirationTime": "2023-11-14T22:13:19Z"}, "in the future"),
        ({"ExpirationTime": "2023-11-14T23:13:19Z", "ExpirationTTL": 60 * TTL}, "cannot both be set"),
    ],
)
def test_a_new_token_that_can_not_be_is_refused_with_the_reason(
    server: AclServer, form: dict[str, Any], because: str
) -> None:
    with pytest.raises(RpcError) as raised:
        server.token(**form)
    assert because in str(raised.value)
    assert len(server.machine.acl.tokens()) == 3


@pytest.mark.parametrize("seconds", [60, 86400])
def test_the_shortest_and_the_longest_life_are_taken(server: AclServer, seconds: int) -> None:
    accessor = server.token(ExpirationTTL=seconds * TTL)["AccessorID"]
    token = server.machine.acl.token(accessor)
    assert token is not None
    assert token.expiration_time == AT + seconds


def test_the_leader_removes_tokens_that_are_over(server: AclServer) -> None:
    accessor = server.token(ExpirationTTL=60 * TTL)["AccessorID"]
    assert server.machine.acl.next_expiration() == AT + 60
    assert server.apply(AclReapTokens(AT + 60)) is True
    with pytest.raises(RpcError, match="ACL not found"):
        server.call("ACL.TokenRead", {"TokenID": accessor})


def test_a_token_can_not_be_made_twice_nor_updated_when_gone(server: AclServer) -> None:
    made = server.token()
    with pytest.raises(RpcError, match="is already in use"):
        server.token(AccessorID=made["AccessorID"])
    with pytest.raises(RpcError, match="SecretID is already in use"):
        server.token(SecretID=made["SecretID"])
    with pytest.raises(RpcError, match="Cannot find token 'gone'"):
        server.call("ACL.TokenSet", {"ACLToken": {"AccessorID": "gone"}})
    with pytest.raises(RpcError, match="Changing a tokens SecretID"):
        server.call("ACL.TokenSet", {"ACLToken": {**made, "SecretID": "other"}})


def test_a_clone_has_the_rights_and_other_ids(server: AclServer) -> None:
    clone = server.call("ACL.TokenClone", {"ACLToken": {"AccessorID": "r", "Description": "copy"}})
    assert clone["Policies"] == [{"ID": "read", "Name": "acl-read"}]
    assert clone["Description"] == "copy"
    assert {clone["AccessorID"], clone["SecretID"]}.isdisjoint({"r", "reader"})
    with pytest.raises(RpcError, match="ACL not found"):
        server.call("ACL.TokenClone", {"ACLToken": {"AccessorID": "gone"}})


def test_nobody_deletes_the_token_of_the_request(server: AclServer) -> None:
    with pytest.raises(RpcError, match="Deletion of the request's authorization token is not permitted"):
        server.call("ACL.TokenDelete", {"TokenID": "W"})
    with pytest.raises(RpcError, match="Accessor ID is missing"):
        server.call("ACL.TokenDelete", {})
    with pytest.raises(RpcError, match="not permitted on the anonymous token"):
        server.call("ACL.TokenDelete", {"TokenID": ANONYMOUS_ACCESSOR})
    assert server.call("ACL.TokenDelete", {"TokenID": "r"}) is True
    assert server.machine.acl.token("r") is None


# Policies and roles


def test_a_policy_is_made_read_changed_and_deleted(server: AclServer) -> None:
    form = {
        "Name": "kv",
        "Description": "d",
        "Rules": 'key "a" { policy = "read" }',
        "Datacenters": ["dc1"],
    }
    made = server.call("ACL.PolicySet", {"Policy": form})
    assert {name: made[name] for name in form} == form
    assert server.call("ACL.PolicyRead", {"PolicyID": made["ID"].upper()})["Policy"] == made
    assert server.call("ACL.PolicyRead", {"PolicyName": "KV"})["Policy"] == made
    stub = next(row for row in server.call("ACL.PolicyList")["Policies"] if row["Name"] == "kv")
    assert stub == {name: value for name, value in made.items() if name != "Rules"}
    changed = server.call("ACL.PolicySet", {"Policy": {"ID": made["ID"], "Name": "kv2"}})
    assert (changed["Rules"], changed["CreateIndex"]) == ("", made["CreateIndex"])
    assert changed["Hash"] != made["Hash"]
    assert server.call("ACL.PolicyDelete", {"PolicyID": made["ID"]}) is True
    with pytest.raises(RpcError, match=r"^ACL not found: there is no policy with name 'kv2'"):
        server.call("ACL.PolicyRead", {"PolicyName": "kv2"})


def test_a_policy_with_bad_rules_is_refused_with_the_place(server: AclServer) -> None:
    with pytest.raises(
        RpcError, match=r'Invalid Policy: Rules:1:1: no rule is called "kye": did you mean key'
    ):
        server.call("ACL.PolicySet", {"Policy": {"Name": "bad", "Rules": 'kye "a" {}'}})
    with pytest.raises(RpcError, match="Cannot find policy"):
        server.call("ACL.PolicySet", {"Policy": {"Name": "x", "ID": "gone"}})
    with pytest.raises(RpcError, match="builtin global-management"):
        server.call("ACL.PolicyDelete", {"PolicyID": GLOBAL_MANAGEMENT_ID})


def test_a_role_is_made_read_changed_and_deleted(server: AclServer) -> None:
    form = {
        "Name": "role",
        "Policies": [{"Name": "acl-read"}],
        "ServiceIdentities": [{"ServiceName": "web"}],
    }
    made = server.call("ACL.RoleSet", {"Role": form})
    assert made["Policies"] == [{"ID": "read", "Name": "acl-read"}]
    assert made["ServiceIdentities"] == [{"ServiceName": "web"}]
    assert server.call("ACL.RoleRead", {"RoleID": made["ID"]})["Role"] == made
    assert server.call("ACL.RoleRead", {"RoleName": "ROLE"})["Role"] == made
    assert server.call("ACL.RoleList", {"Policy": "read"})["Roles"] == [made]
    assert server.call("ACL.RoleList", {"Policy": "write"})["Roles"] == []
    token = server.token(Roles=[{"Name": "role"}])
    server.call("ACL.TokenRead", {"TokenID": "r"}, token["SecretID"])
    changed = server.call("ACL.RoleSet", {"Role": {"ID": made["ID"], "Name": "role"}})
    assert changed["Policies"] == []
    with pytest.raises(PermissionDeniedError):
        server.call("ACL.TokenRead", {"TokenID": "r"}, token["SecretID"])
    assert server.call("ACL.RoleDelete", {"RoleID": made["ID"]}) is True
    with pytest.raises(RpcError, match="there is no role with ID"):
        server.call("ACL.RoleRead", {"RoleID": made["ID"]})


# Bootstrap, translation, replication


def test_the_first_token_can_do_everything_and_is_made_once(server: AclServer) -> None:
    made = server.call("ACL.BootstrapTokens", {"ResetIndex": 5}, "")
    assert made["Policies"] == [{"ID": GLOBAL_MANAGEMENT_ID, "Name": "global-management"}]
    assert resolve(server.machine.acl, made["SecretID"], ON, AT).unrestricted
    index = server.machine.acl.bootstrap_index
    for body in ({}, {"ResetIndex": index}):
        with pytest.raises(RpcError, match=rf"ACL bootstrap no longer allowed \(reset index: {index}\)"):
            server.call("ACL.BootstrapTokens", body, "")


def test_the_operator_may_reset_the_bootstrap_on_the_servers_disk(server: AclServer) -> None:
    first = server.call("ACL.Bootstrap", {}, "")
    assert (first["Type"], first["Name"]) == ("management", "Bootstrap Token (Global Management)")
    server.methods |= bootstrap_methods(lambda: server.machine.acl.bootstrap_index)
    second = server.call("ACL.Bootstrap", {}, "")
    assert second["ID"] != first["ID"]


def test_with_a_master_token_there_is_nothing_to_bootstrap(server: AclServer) -> None:
    server.methods |= bootstrap_methods(lambda: 0, has_master=lambda: True)
    with pytest.raises(
        RpcError, match="ACL bootstrap no longer allowed: the servers have an acl_master_token"
    ):
        server.call("ACL.BootstrapTokens", {}, "")
    assert server.machine.acl.reset_index() == 0


def test_legacy_rules_are_translated_for_who_may_read(server: AclServer) -> None:
    reply = server.call("ACL.RulesTranslate", {"Rules": 'key "a" { policy = "read" }'}, "reader")
    assert reply == {"Rules": 'key_prefix "a" { policy = "read" }'}
    with pytest.raises(RpcError, match=r"^Failed to translate the rules: Rules:1:1"):
        server.call("ACL.RulesTranslate", {"Rules": "x = 1"}, "reader")


def test_nothing_is_replicated(server: AclServer) -> None:
    reply = server.call("ACL.ReplicationStatus", {"Datacenter": "dc1"}, "")
    assert (reply["Enabled"], reply["Running"], reply["SourceDatacenter"]) == (False, False, "dc1")
    assert reply["LastSuccess"] == reply["LastError"] == NO_TIME


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("junk", [7, "x", [1], {"a": None}, True, b"\xff"])
def test_a_body_of_junk_ends_in_an_error_or_an_answer(server: AclServer, name: str, junk: object) -> None:
    fields = ("ACLToken", "TokenID", "TokenIDType", "PolicyID", "PolicyName", "Policy", "Role", "RoleID", "RoleName",
              "ACL", "Op", "Rules", "Datacenter", "ETag", "IncludeLocal", "Create")  # fmt: skip
    for field in fields:
        with contextlib.suppress(RpcError, PermissionDeniedError):
            server.call(name, {**CALLS[name][0], field: junk}, "master")
    assert server.machine.acl.policy(GLOBAL_MANAGEMENT_ID) is not None


def test_the_authorizer_of_everybody_is_what_off_means() -> None:
    method = METHODS["ACL.PolicyList"]
    assert isinstance(method, ReadMethod)
    with pytest.raises(RpcError, match="ACL support disabled"):
        method.read(StateMachine(), {}, ALLOW_ALL)
