"""``Intention.*``: shapes, refusals, who may see and change what, and the default."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, Authorizer, PermissionDeniedError
from meshnode.control.command import ConfigEntrySet
from meshnode.control.endpoints.intention import MAX_MATCH_ENTRIES, METHODS, intention_methods
from meshnode.control.machine import StateMachine
from meshnode.control.method import Moment, ReadMethod, WriteMethod
from meshnode.intentions.decide import DefaultDecision, default_decision
from meshnode.rpc.method import RpcError
from tests.support.state_api import Grants

DB = Grants.of("intention:db:write")
READER = Grants.of("intention:db:read")


class Server:
    """A state and the five methods on it."""

    def __init__(self, default: DefaultDecision | None = None) -> None:
        self.state = StateMachine()
        self.methods = METHODS if default is None else intention_methods(lambda: default)
        self.at = 1_700_000_000.0
        self._ids = (f"id-{number}" for number in itertools.count(1))

    def apply(self, operation: str, intention: Mapping[str, Any], authorizer: Authorizer = ALLOW_ALL) -> Any:
        method = self.methods["Intention.Apply"]
        assert isinstance(method, WriteMethod)
        self.at += 1
        moment = Moment(self.at, lambda: next(self._ids))
        command = method.plan(self.state, {"Op": operation, "Intention": intention}, authorizer, moment)
        return method.reply(self.state, self.state.apply(self.state.last_index + 1, command))

    def speaks(self, service: str, protocol: str) -> None:
        entry = {"Kind": "service-defaults", "Name": service, "Protocol": protocol}
        assert self.state.apply(self.state.last_index + 1, ConfigEntrySet(entry)) is True

    def read(self, name: str, authorizer: Authorizer = ALLOW_ALL, **body: Any) -> dict[str, Any]:
        method = self.methods[f"Intention.{name}"]
        assert isinstance(method, ReadMethod)
        assert method.watches(body)
        return method.read(self.state, body, authorizer)[1]

    def check(
        self, source: str, destination: str, authorizer: Authorizer = ALLOW_ALL, **body: Any
    ) -> dict[str, Any]:
        return self.read(
            "Check", authorizer, Check={"SourceName": source, "DestinationName": destination}, **body
        )


def row(source: str, destination: str, action: str = "deny", **fields: Any) -> dict[str, Any]:
    return {"SourceName": source, "DestinationName": destination, "Action": action, **fields}


def titles(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{each['SourceName']} => {each['DestinationName']}" for each in rows]


def test_what_is_written_is_what_is_read_in_the_order_of_consuls_struct() -> None:
    server = Server()
    full = row("web", "db", Description="d", Meta={"b": "2", "a": "1"}, DefaultAddr="x", DefaultPort=8)
    assert server.apply("create", full) == "id-1"
    expected = {
        "ID": "id-1", "Description": "d", "SourceNS": "default", "SourceName": "web", "DestinationNS": "default",
        "DestinationName": "db", "SourceType": "consul", "Action": "deny", "DefaultAddr": "x", "DefaultPort": 8,
        "Meta": {"a": "1", "b": "2"}, "Precedence": 9, "CreatedAt": "2023-11-14T22:13:21Z",
        "UpdatedAt": "2023-11-14T22:13:21Z", "CreateIndex": 1, "ModifyIndex": 1,
    }  # fmt: skip
    got = server.read("Get", IntentionID="id-1")["Intentions"]
    assert got == server.read("List")["Intentions"] == [expected]
    assert list(got[0]) == list(expected)
    assert server.read("Get", Exact={"SourceName": "web", "DestinationName": "db"})["Intentions"] == [
        expected
    ]


def test_permissions_and_audit_are_shown_when_they_are_there() -> None:
    server = Server()
    permissions = [
        {
            "Action": "deny",
            "HTTP": {"PathPrefix": "/a", "Header": [{"Name": "x", "Exact": "1", "Invert": True}]},
        },
        {"Action": "allow", "HTTP": {"Methods": ["GET"]}},
    ]
    server.speaks("db", "http")
    server.apply("create", row("web", "db", "", Permissions=permissions, Audit=True))
    found = server.read("List")["Intentions"][0]
    assert (found["Action"], found["Permissions"], found["Audit"]) == ("", permissions, True)


@pytest.mark.parametrize("operation", ["create", "upsert", "update"])
def test_requests_can_be_told_apart_only_where_the_destination_speaks_http(operation: str) -> None:
    server = Server()
    server.apply("create", row("web", "db"))
    permissions = [{"Action": "allow", "HTTP": {"PathPrefix": "/"}}]
    fields = row("web" if operation == "update" else "api", "db", "", Permissions=permissions)
    with pytest.raises(
        RpcError, match='service "db" has protocol "tcp", which is incompatible with L7 intentions'
    ):
        server.apply(operation, {**fields, **({"ID": "id-1"} if operation == "update" else {})})
    for protocol in ("http", "http2", "grpc"):
        server.speaks("db", protocol)
        assert server.apply("upsert", fields)


def test_an_update_keeps_when_it_was_created() -> None:
    server = Server()
    server.apply("create", row("web", "db"))
    assert server.apply("update", row("web", "*", "allow", ID="id-1")) == "id-1"
    found = server.read("List")["Intentions"][0]
    assert (found["Action"], found["DestinationName"]) == ("allow", "*")
    assert (found["CreatedAt"], found["UpdatedAt"]) == ("2023-11-14T22:13:21Z", "2023-11-14T22:13:22Z")


def test_an_upsert_keeps_the_id_and_a_delete_by_name_may_find_nothing() -> None:
    server = Server()
    assert server.apply("upsert", row("web", "db")) == "id-1"
    assert server.apply("upsert", row("web", "db", "allow")) == "id-1"
    assert server.read("List")["Intentions"][0]["Action"] == "allow"
    assert server.apply("delete", row("web", "db")) == "id-1"
    assert server.apply("delete", row("web", "db")) == ""
    assert server.read("List")["Intentions"] == []


@pytest.mark.parametrize(
    ("operation", "fields", "because"),
    [
        ("create", row("a", "b", ID="x"), "ID must be empty when creating a new intention"),
        ("create", row("web", "db"),
         "duplicate intention found: DENY default/web => default/db (ID: id-1, Precedence: 9)"),
        ("create", row("w*", "db"), "Invalid intention: SourceName: wildcard character '*' cannot be used"),
        ("upsert", row("a", "b", ""), "Invalid intention: Action must be set to 'allow' or 'deny'"),
        ("update", row("a", "b", ID="x"), "Cannot modify non-existent intention: 'x'"),
        ("update", row("a", "b"), "Intention not found"),
        ("delete", {"ID": "x"}, "Cannot modify non-existent intention: 'x'"),
        ("delete", {}, "Cannot modify non-existent intention: ''"),
        ("replace", row("a", "b"), "Unknown intention operation: 'replace': use one of create, update"),
        ("create", row("a", "b", Meta=[1]), "Meta must be a struct"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(operation: str, fields: dict[str, Any], because: str) -> None:
    server = Server()
    server.apply("create", row("web", "db"))
    with pytest.raises(RpcError) as refused:
        server.apply(operation, fields)
    assert str(refused.value).startswith(because)
    assert titles(server.read("List")["Intentions"]) == ["web => db"]


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("create", row("x", "api")),
        ("create", row("x", "*")),
        ("upsert", row("x", "api")),
        ("update", row("web", "api", ID="id-1")),
        ("update", row("web", "db", ID="id-2")),
        ("delete", {"ID": "id-2"}),
        ("delete", row("web", "api")),
        ("delete", row("none", "api")),
    ],
)
def test_writing_needs_intentions_write_on_the_old_and_the_new_destination(
    operation: str, fields: dict[str, Any]
) -> None:
    server = Server()
    server.apply("create", row("web", "db"))
    server.apply("create", row("web", "api"))
    before = server.read("List")
    with pytest.raises(PermissionDeniedError):
        server.apply(operation, fields, DB)
    assert server.read("List") == before


def test_an_upsert_under_another_case_needs_the_right_to_what_is_there() -> None:
    server = Server()
    server.apply("create", row("web", "DB"))
    with pytest.raises(PermissionDeniedError):
        server.apply("upsert", row("web", "db", "allow"), DB)


def test_intentions_write_on_the_destination_is_enough() -> None:
    server = Server()
    assert server.apply("create", row("web", "db"), DB) == "id-1"
    assert server.apply("update", row("web", "db", "allow", ID="id-1"), DB) == "id-1"
    assert server.apply("delete", {"ID": "id-1"}, DB) == "id-1"
    with pytest.raises(PermissionDeniedError):
        server.apply("create", row("web", "db"), READER)


def test_a_list_holds_what_may_be_read_and_one_alone_is_refused() -> None:
    server = Server()
    for pair in (("web", "db"), ("web", "api"), ("*", "*")):
        server.apply("create", row(*pair))
    assert titles(server.read("List", READER)["Intentions"]) == ["web => db"]
    with pytest.raises(PermissionDeniedError):
        server.read("Get", READER, IntentionID="id-2")
    with pytest.raises(PermissionDeniedError):
        server.read("Get", READER, Exact={"SourceName": "web", "DestinationName": "api"})
    for kind in ("source", "destination"):
        with pytest.raises(PermissionDeniedError):
            server.read("Match", READER, Match={"Type": kind, "Entries": [{"Name": "db"}, {"Name": "web"}]})
    with pytest.raises(PermissionDeniedError):
        server.check("web", "api", READER)
    assert server.check("web", "db", READER)["Allowed"] is False


def test_a_match_is_in_the_order_of_precedence_for_each_name() -> None:
    server = Server()
    for pair in (("*", "*"), ("web", "*"), ("*", "db"), ("api", "db"), ("web", "db"), ("web", "api")):
        server.apply("create", row(*pair))
    entries = [{"Name": "db"}, {"Name": "none"}, {"Namespace": "other", "Name": "db"}]
    matches = server.read("Match", Match={"Type": "destination", "Entries": entries})["Matches"]
    assert [titles(match) for match in matches] == [
        ["api => db", "web => db", "* => db", "web => *", "* => *"],
        ["web => *", "* => *"],
        [],
    ]
    matches = server.read("Match", Match={"Type": "source", "Entries": [{"Name": "web"}]})["Matches"]
    assert [titles(match) for match in matches] == [
        ["web => api", "web => db", "* => db", "web => *", "* => *"]
    ]


@pytest.mark.parametrize(
    ("match", "because"),
    [
        (
            {"Type": "both", "Entries": [{"Name": "a"}]},
            "Match.Type 'both' is none: use one of source, destination",
        ),
        ({"Type": "source"}, "Match.Entries has 0 names: give 1 to 128"),
        (
            {"Type": "source", "Entries": [{"Name": "a"}] * (MAX_MATCH_ENTRIES + 1)},
            "Match.Entries has 129 names",
        ),
        ({"Type": "source", "Entries": [{}]}, "Match.Entries has an entry without a Name"),
    ],
)
def test_a_match_about_nothing_is_refused(match: dict[str, Any], because: str) -> None:
    with pytest.raises(RpcError, match=because.replace(".", r"\.")):
        Server().read("Match", Match=match)


def test_a_check_tells_the_candidates_the_winner_and_the_default() -> None:
    server = Server(default_decision("deny"))
    server.apply("create", row("*", "db", "allow"))
    server.apply("create", row("web", "db"))
    checked = server.check("web", "db")
    assert checked["Allowed"] is False
    explained = checked["Explain"]
    assert titles(explained.pop("Candidates")) == ["web => db", "* => db"]
    assert explained.pop("Text")[0] == "web => db: denied"
    assert explained == {
        "Source": "web", "Destination": "db", "Allowed": False, "Audited": False,
        "Reason": "Matched intention: DENY default/web => default/db (ID: id-2, Precedence: 9)",
        "IntentionID": "id-2", "Permission": None,
        "Default": {"Allowed": False, "Reason": "Default behavior configured by default_intention_policy"},
        "TrustDomain": "",
    }  # fmt: skip
    assert server.check("api", "db")["Allowed"] is True
    none = server.check("web", "api")
    assert (none["Allowed"], none["Explain"]["IntentionID"]) == (False, "")


def test_without_more_said_what_no_intention_is_about_is_allowed() -> None:
    assert Server().check("a", "b")["Explain"]["Reason"] == "ACLs disabled, access is allowed by default"


def test_a_check_may_be_about_a_request() -> None:
    server = Server(default_decision("deny"))
    permissions = [{"Action": "allow", "HTTP": {"PathPrefix": "/a", "Header": [{"Name": "K", "Exact": "v"}]}}]
    server.speaks("db", "http")
    server.apply("create", row("web", "db", "", Permissions=permissions))
    good = {"Method": "GET", "Path": "/a", "Headers": [{"Name": "k", "Value": "v"}]}
    assert server.check("web", "db", Request=good)["Explain"]["Permission"] == 0
    assert server.check("web", "db", Request=good)["Allowed"]
    assert not server.check("web", "db", Request={**good, "Path": "/a/../b"})["Allowed"]
    assert not server.check("web", "db", Request={**good, "Headers": []})["Allowed"]
    assert not server.check("web", "db")["Allowed"]


@pytest.mark.parametrize(
    ("check", "because"),
    [
        ({"DestinationName": "db"}, "Check.SourceName must be set"),
        ({"SourceName": "web"}, "Check.DestinationName must be set"),
        (
            {"SourceName": "web", "DestinationName": "db", "SourceType": "x"},
            "Check.SourceType must be 'consul'",
        ),
    ],
)
def test_a_check_about_nobody_is_refused(check: dict[str, Any], because: str) -> None:
    with pytest.raises(RpcError, match=because):
        Server().read("Check", Check=check)
