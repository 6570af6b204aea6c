"""The methods of 1.2.3 over the tokens of 1.4."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshnode.acl.authorizer import Access, PermissionDeniedError, Resource
from meshnode.acl.model import ANONYMOUS_ACCESSOR
from meshnode.acl.resolve import AclSettings, authorizer_of_texts, resolve
from meshnode.control.command import AclTokenSet
from meshnode.control.endpoints.acl import METHODS
from meshnode.control.machine import StateMachine
from meshnode.control.method import Moment, ReadMethod
from meshnode.rpc.method import RpcError

ON = AclSettings(enabled=True, default_allow=False, datacenter="dc1", master_token="master")
RULES = 'key "app/" { policy = "write" }'


class Server:
    def __init__(self) -> None:
        self.machine = StateMachine()
        self.ids = 0

    def new_id(self) -> str:
        self.ids += 1
        return f"id-{self.ids}"

    def call(self, name: str, body: dict[str, Any], token: str = "master") -> Any:
        authorizer = resolve(self.machine.acl, token, ON, 5.0)
        method = METHODS[name]
        if isinstance(method, ReadMethod):
            return method.read(self.machine, body, authorizer)[1]
        command = method.plan(self.machine, body, authorizer, Moment(5.0, self.new_id))
        return method.reply(self.machine, self.machine.apply(self.machine.last_index + 1, command))

    def set(self, kind: str = "client", **form: Any) -> str:
        made: str = self.call("ACL.Apply", {"Op": "set", "ACL": {"Type": kind, **form}})
        return made

    def delete(self, secret: str) -> Any:
        return self.call("ACL.Apply", {"Op": "delete", "ACL": {"ID": secret}})

    def info(self, secret: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("ACL.Get", {"ACL": secret}, "")["ACLs"]
        return found


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_client_token_has_its_rules(server: Server) -> None:
    made = server.set(Name="app", Rules=RULES)
    assert server.info(made) == [
        {"ID": made, "Name": "app", "Type": "client", "Rules": RULES, "CreateIndex": 1, "ModifyIndex": 1}
    ]
    authorizer = resolve(server.machine.acl, made, ON, 5.0)
    assert authorizer.decide(Resource.KEY, "app/x", Access.WRITE).allowed
    assert not authorizer.decide(Resource.KEY, "other", Access.READ).allowed


def test_a_management_token_can_do_everything_and_its_rules_do_not_count(server: Server) -> None:
    made = server.set("management", ID="root", Rules='key "" { policy = "deny" }')
    assert made == "root"
    assert resolve(server.machine.acl, "root", ON, 5.0).unrestricted
    assert server.info("root")[0]["Rules"] == ""


def test_setting_an_id_that_is_there_changes_that_token(server: Server) -> None:
    server.set(ID="x", Name="one", Rules=RULES)
    server.set("management", ID="x", Name="two")
    shown = server.info("x")[0]
    assert (shown["Name"], shown["Type"], shown["CreateIndex"], shown["ModifyIndex"]) == (
        "two",
        "management",
        1,
        2,
    )
    server.set(ID="x", Name="three")
    assert not resolve(server.machine.acl, "x", ON, 5.0).unrestricted
    assert len(server.machine.acl.tokens()) == 2


def test_the_anonymous_token_takes_legacy_rules(server: Server) -> None:
    assert server.info("anonymous")[0]["Type"] == "client"
    server.set(ID="anonymous", Rules=RULES)
    assert resolve(server.machine.acl, "", ON, 5.0).decide(Resource.KEY, "app/", Access.WRITE).allowed
    token = server.machine.acl.token(ANONYMOUS_ACCESSOR)
    assert token is not None
    assert token.rules == RULES


@pytest.mark.parametrize(
    ("body", "because"),
    [
        ({"Op": "set", "ACL": {"Type": "boss"}}, "Invalid ACL Type: write client or management"),
        ({"Op": "set", "ACL": {}}, "Invalid ACL Type"),
        ({"Op": "set", "ACL": {"Type": "client", "Rules": "keyy"}}, "ACL rule compilation failed: Rules:1:5"),
        (
            {"Op": "set", "ACL": {"Type": "client", "ID": "manage"}},
            "Permission denied: Cannot modify root ACL",
        ),
        ({"Op": "delete", "ACL": {}}, "Missing ACL ID"),
        ({"Op": "fold", "ACL": {}}, "Invalid ACL Operation: use one of set, delete"),
        ({"Op": "set", "ACL": 7}, "ACL must be a struct"),
    ],
)
def test_what_can_not_be_is_refused_in_consuls_words(
    server: Server, body: dict[str, Any], because: str
) -> None:
    with pytest.raises(RpcError) as raised:
        server.call("ACL.Apply", body)
    assert because in str(raised.value)


def test_a_token_is_deleted_and_one_that_is_not_there_is_too(server: Server) -> None:
    server.set(ID="x")
    assert (server.delete("x"), server.delete("x"), server.info("x")) == ("", "", [])
    with pytest.raises(PermissionDeniedError, match="Cannot delete anonymous token"):
        server.delete("anonymous")


def test_a_token_of_the_new_kind_is_out_of_reach(server: Server) -> None:
    policy = server.call("ACL.PolicySet", {"Policy": {"Name": "p"}})
    made = server.call("ACL.TokenSet", {"ACLToken": {"Policies": [{"ID": policy["ID"]}]}, "Create": False})
    assert server.info(made["SecretID"]) == []
    for change in (lambda: server.set(ID=made["SecretID"]), lambda: server.delete(made["SecretID"])):
        with pytest.raises(RpcError, match="Cannot use legacy endpoint to modify a non-legacy token"):
            change()


def test_the_list_has_all_that_the_old_api_can_say_by_id(server: Server) -> None:
    server.set(ID="z")
    server.set("management", ID="b")
    policy = server.call("ACL.PolicySet", {"Policy": {"Name": "p"}})
    server.call("ACL.TokenSet", {"ACLToken": {"Policies": [{"ID": policy["ID"]}]}})
    assert [row["ID"] for row in server.call("ACL.List", {})["ACLs"]] == ["anonymous", "b", "z"]


def test_the_new_api_turns_a_legacy_token_into_one_of_its_own(server: Server) -> None:
    secret = server.set(Rules=RULES)
    token = server.machine.acl.token_by_secret(secret)
    assert token is not None
    kept = server.call("ACL.TokenSet", {"ACLToken": {"AccessorID": token.accessor_id, "Description": "d"}})
    assert (kept["Rules"], server.info(secret)[0]["Name"]) == (RULES, "d")
    with pytest.raises(RpcError, match="Cannot clone a legacy ACL"):
        server.call("ACL.TokenClone", {"ACLToken": {"AccessorID": token.accessor_id}})
    server.call("ACL.PolicySet", {"Policy": {"Name": "p"}})
    form = {"AccessorID": token.accessor_id, "Policies": [{"Name": "p"}]}
    assert "Rules" not in server.call("ACL.TokenSet", {"ACLToken": form})
    assert server.info(secret) == []


def test_an_agent_hears_the_rules_of_a_secret_and_not_twice(server: Server) -> None:
    secret = server.set(Rules=RULES)
    reply = server.call("ACL.GetPolicy", {"ACL": secret, "Datacenter": "dc1"}, "")
    texts = [(row["Origin"], row["Rules"], row["Legacy"]) for row in reply["Policies"]]
    assert texts == [("the token's own rules", RULES, True)]
    assert authorizer_of_texts(texts, ON).decide(Resource.KEY, "app/x", Access.WRITE).allowed
    again = server.call("ACL.GetPolicy", {"ACL": secret, "Datacenter": "dc1", "ETag": reply["ETag"]}, "")
    assert again == {**reply, "Policies": []}
    with pytest.raises(RpcError, match=r"^ACL not found$"):
        server.call("ACL.GetPolicy", {"ACL": "nope"}, "")


def test_an_agent_hears_when_a_token_ends(server: Server) -> None:
    secret = server.set()
    token = server.machine.acl.token_by_secret(secret)
    assert token is not None
    ending = replace(token, accessor_id="e", secret_id="ends", expiration_time=99.0)
    server.machine.apply(5, AclTokenSet(ending, create=True))
    assert server.call("ACL.GetPolicy", {"ACL": "ends"}, "")["Until"] == 99.0
