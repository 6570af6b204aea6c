"""``PreparedQuery.Apply``, ``Get``, ``List``, ``Explain``: shapes, refusals, and who may see what."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, Authorizer, PermissionDeniedError
from meshnode.catalog.model import Node
from meshnode.catalog.store import Registration
from meshnode.control.command import Register, SessionCreate
from meshnode.control.endpoints.prepared_query import METHODS, query_fields, query_of
from meshnode.control.machine import StateMachine
from meshnode.control.method import Moment, ReadMethod, WriteMethod
from meshnode.control.watch import QUERIES
from meshnode.kv.sessions import Session
from meshnode.rpc.method import RpcError
from tests.support.state_api import Grants

FULL: dict[str, Any] = {
    "ID": "",
    "Name": "my-query",
    "Session": "",
    "Token": "s3cret",
    "Template": {"Type": "", "Regexp": "", "RemoveEmptyTags": False},
    "Service": {
        "Service": "redis",
        "Failover": {"NearestN": 3, "Datacenters": ["dc1", "dc2"]},
        "OnlyPassing": True,
        "IgnoreCheckIDs": ["c1"],
        "Near": "node1",
        "Tags": ["primary", "!experimental"],
        "NodeMeta": {"instance_type": "m3.large"},
        "ServiceMeta": {"environment": "production"},
        "Connect": True,
    },
    "DNS": {"TTL": "10s"},
}
MANAGEMENT = Grants.of("acl::write")


class Server:
    """A state and the four methods on it."""

    def __init__(self) -> None:
        self.state = StateMachine()
        self._ids = (f"id-{number}" for number in itertools.count(1))

    def apply(self, operation: str, query: Mapping[str, Any], authorizer: Authorizer = ALLOW_ALL) -> Any:
        method = METHODS["PreparedQuery.Apply"]
        assert isinstance(method, WriteMethod)
        moment = Moment(0.0, lambda: next(self._ids))
        command = method.plan(self.state, {"Op": operation, "Query": query}, authorizer, moment)
        return method.reply(self.state, self.state.apply(self.state.last_index + 1, command))

    def read(self, name: str, authorizer: Authorizer = ALLOW_ALL, **body: Any) -> dict[str, Any]:
        method = METHODS[f"PreparedQuery.{name}"]
        assert isinstance(method, ReadMethod)
        assert method.watches(body) == (QUERIES,)
        return method.read(self.state, body, authorizer)[1]

    def tokens(self, authorizer: Authorizer) -> list[str]:
        return [query["Token"] for query in self.read("List", authorizer)["Queries"]]


def named(name: str, **fields: Any) -> dict[str, Any]:
    return {"Name": name, "Service": {"Service": "web"}, **fields}


def template(name: str) -> dict[str, Any]:
    return named(name, Template={"Type": "name_prefix_match"}, Service={"Service": "${name.full}"})


def test_what_is_written_is_what_is_read() -> None:
    server = Server()
    assert server.apply("create", FULL) == "id-1"
    expected = {**FULL, "ID": "id-1", "CreateIndex": 1, "ModifyIndex": 1}
    assert server.read("Get", QueryID="ID-1") == {"Queries": [expected]}
    assert list(server.read("List")["Queries"][0]) == list(expected)
    assert query_fields(query_of(FULL, "x"), secret=True) == {
        **FULL,
        "ID": "x",
        "CreateIndex": 0,
        "ModifyIndex": 0,
    }


def test_what_was_not_given_is_null_as_in_consul() -> None:
    server = Server()
    server.apply("create", named("q"))
    service = server.read("List")["Queries"][0]["Service"]
    assert [service[name] for name in ("IgnoreCheckIDs", "Tags", "NodeMeta", "ServiceMeta")] == [None] * 4
    assert service["Failover"] == {"NearestN": 0, "Datacenters": None}


def test_a_query_is_changed_and_deleted_by_its_id() -> None:
    server = Server()
    server.apply("create", named("q"))
    assert server.apply("update", named("other", ID="ID-1")) == "id-1"
    changed = server.read("List")["Queries"][0]
    assert (changed["Name"], changed["CreateIndex"], changed["ModifyIndex"]) == ("other", 1, 2)
    assert server.apply("delete", {"ID": "id-1"}) == "id-1"
    assert server.read("List") == {"Queries": []}


@pytest.mark.parametrize(
    ("operation", "query", "because"),
    [
        ("create", {**FULL, "ID": "x"}, "ID must be empty when creating a new prepared query"),
        ("create", named(""), "Must be bound to a session"),
        ("create", {"Name": "q"}, "Must provide a Service name to query"),
        ("create", named("q", Session="gone"), 'invalid session "gone"'),
        ("create", named("taken"), "name 'taken' aliases an existing query name"),
        ("create", named("q", Token="<hidden>"), "Bad Token"),
        ("create", named("q", Service={"Service": 7}), "Service must be text, not int"),
        ("update", named("q", ID="gone"), "Cannot modify non-existent prepared query: 'gone'"),
        ("delete", {"ID": "gone"}, "Cannot modify non-existent prepared query: 'gone'"),
        ("upsert", FULL, "Unknown prepared query operation: upsert: use one of create, update, delete"),
    ],
)
def test_a_refusal_says_why(operation: str, query: dict[str, Any], because: str) -> None:
    server = Server()
    server.apply("create", named("taken"))
    with pytest.raises(RpcError, match=because):
        server.apply(operation, query)
    assert len(server.read("List")["Queries"]) == 1


def test_nothing_is_found_under_a_name_that_is_none() -> None:
    server = Server()
    server.apply("create", template("geo-"))
    for name, body in (("Get", {"QueryID": "gone"}), ("Explain", {"QueryIDOrName": "gone"}), ("Explain", {})):
        with pytest.raises(RpcError, match=r"^Query not found$"):
            server.read(name, **body)
    with pytest.raises(RpcError, match="can only be resolved up by name, not by ID"):
        server.read("Explain", QueryIDOrName="id-1")


def test_explain_shows_the_query_that_a_template_makes() -> None:
    server = Server()
    server.apply(
        "create",
        named("seg", Template={"Type": "name_prefix_match"}, Service={"Service": "${agent.segment}"}),
    )
    server.apply("create", template("geo-"))
    assert server.read("Explain", QueryIDOrName="geo-db")["Query"]["Service"]["Service"] == "geo-db"
    explained = server.read("Explain", QueryIDOrName="seg", Agent={"Segment": "alpha"})["Query"]
    assert explained["Service"]["Service"] == "alpha"


# Who may


def test_writing_needs_query_write_on_the_name_before_and_after() -> None:
    server, grants = Server(), Grants.of("query:a:write", "query:b:read")
    server.apply("create", named("a"), grants)
    server.apply("create", named("c"))
    refused: tuple[tuple[str, dict[str, Any]], ...] = (
        ("create", named("b")),
        ("create", template("")),
        ("update", named("b", ID="id-1")),
        ("update", named("a", ID="id-2")),
        ("delete", {"ID": "id-2"}),
    )
    for operation, query in refused:
        with pytest.raises(PermissionDeniedError, match=r"^Permission denied"):
            server.apply(operation, query, grants)
    server.apply("update", named("b", ID="id-1"), MANAGEMENT)
    assert [query["Name"] for query in server.read("List")["Queries"]] == ["b", "c"]


def test_tokens_are_for_management_and_lists_for_who_may_read_the_name() -> None:
    server, reader = Server(), Grants.of("query:a:read")
    server.apply("create", named("a", Token="t1"))
    server.apply("create", named("b", Token="t2"))
    server.apply("create", named("c"))
    assert server.tokens(reader) == ["<hidden>"]
    assert server.tokens(Grants.of("query:*:write")) == ["<hidden>", "<hidden>", ""]
    assert server.tokens(MANAGEMENT) == server.tokens(ALLOW_ALL) == ["t1", "t2", ""]
    assert server.read("Get", reader, QueryID="id-1")["Queries"][0]["Token"] == "<hidden>"
    assert server.read("Explain", reader, QueryIDOrName="a")["Query"]["Token"] == "<hidden>"
    for name, body in (("Get", {"QueryID": "id-2"}), ("Explain", {"QueryIDOrName": "b"})):
        with pytest.raises(PermissionDeniedError):
            server.read(name, reader, **body)


def test_a_query_without_a_name_is_for_who_knows_its_id() -> None:
    server, nobody = Server(), Grants()
    server.state.apply(1, Register(Registration(Node("n", "10.0.0.1")), 0.0))
    server.state.apply(2, SessionCreate(Session("s", "n", checks=())))
    server.apply("create", named("", Session="s", Token="t"), nobody)
    assert server.read("Get", nobody, QueryID="id-1")["Queries"][0]["Token"] == "<hidden>"
    assert server.read("List", nobody) == {"Queries": []}
    assert server.tokens(MANAGEMENT) == ["t"]
