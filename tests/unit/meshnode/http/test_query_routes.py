"""``/v1/query`` on a state in memory: shapes, statuses, and what a request becomes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.catalog.model import Node, Service
from meshnode.catalog.store import Registration
from meshnode.control.command import Register
from meshnode.control.endpoints import prepared_query
from meshnode.control.endpoints.prepared_execute import EXECUTE, Here, execute
from meshnode.control.endpoints.table import METHODS
from meshnode.http import query_routes
from meshnode.http.api import Api
from meshnode.http.discovery import caller_address
from meshnode.http.message import Request
from meshnode.http.router import Route
from tests.support.state_api import StateApi, json_of

ROUTES = (
    Route("/v1/query", {"GET": query_routes.list_all, "POST": query_routes.create}),
    Route(
        "/v1/query/:uuid",
        {"GET": query_routes.get, "PUT": query_routes.update, "DELETE": query_routes.delete},
    ),
    Route("/v1/query/:uuid/execute", {"GET": query_routes.execute}),
    Route("/v1/query/:uuid/explain", {"GET": query_routes.explain}),
)
QUERY = {"name": "q", "service": {"SERVICE": "web", "tags": ["v1"]}, "dns": {"ttl": "10s"}, "unknown": 1}


class QueryApi(StateApi):
    """With the routes of queries, and a leader that executes them."""

    def __post_init__(self) -> None:
        self.methods = {**METHODS, **prepared_query.METHODS}
        self.bodies: list[Mapping[str, Any]] = []
        super().__post_init__()
        self.api = Api(self.view, random.Random(1), ROUTES)

    def read(self, query: Any) -> tuple[int, dict[str, Any]]:
        if query.method != EXECUTE:
            return super().read(query)
        self.bodies.append(query.body)
        steps = execute(self.machine, query.body, lambda _: ALLOW_ALL, random.Random(1), Here("dc1"))
        with pytest.raises(StopIteration) as end:
            next(steps)
        return 1, {**end.value.value, "LastContact": 0, "KnownLeader": True}


@pytest.fixture(params=[False, True], ids=["server", "client"])
def api(request: pytest.FixtureRequest) -> QueryApi:
    return QueryApi(client=request.param)


def created(api: QueryApi, **fields: Any) -> str:
    response = api.post("/v1/query", {**QUERY, **fields})
    assert response.status == 200, response.body
    made = json_of(response)
    assert list(made) == ["ID"]
    return str(made["ID"])


def test_a_query_is_created_read_changed_and_deleted(api: QueryApi) -> None:
    query_id = created(api)
    expected = {
        "ID": query_id, "Name": "q", "Session": "", "Token": "",
        "Template": {"Type": "", "Regexp": "", "RemoveEmptyTags": False},
        "Service": {
            "Service": "web", "Failover": {"NearestN": 0, "Datacenters": None}, "OnlyPassing": False,
            "IgnoreCheckIDs": None, "Near": "", "Tags": ["v1"], "NodeMeta": None, "ServiceMeta": None,
            "Connect": False,
        },
        "DNS": {"TTL": "10s"}, "CreateIndex": 1, "ModifyIndex": 1,
    }  # fmt: skip
    assert api.json("/v1/query") == api.json(f"/v1/query/{query_id}") == [expected]
    assert list(api.json("/v1/query")[0]) == list(expected)
    changed = api.put(f"/v1/query/{query_id}", {**QUERY, "ID": "another", "Name": "r"})
    assert (changed.status, changed.body) == (200, b"")
    assert [query["Name"] for query in api.json("/v1/query")] == ["r"]
    gone = api.delete(f"/v1/query/{query_id}")
    assert (gone.status, gone.body) == (200, b"")
    assert api.json("/v1/query") == []


def test_a_list_waits_for_a_change(api: QueryApi) -> None:
    created(api)
    blocked = api.blocked("/v1/query?index=1")
    created(api, Name="r")
    assert blocked.answer is not None
    assert [query["Name"] for query in sorted(json_of(blocked.answer), key=itemgetter("Name"))] == ["q", "r"]


def test_an_execution_shows_the_nodes_and_the_meta(api: QueryApi) -> None:
    created(api)
    api.apply(Register(Registration(Node("n1", "10.0.0.1"), Service("web", tags=("v1",), port=80)), 0.0))
    executed = api.json("/v1/query/q/execute?near=_agent&limit=3&connect=false")
    nodes = executed.pop("Nodes")
    assert executed == {
        "Service": "web", "DNS": {"TTL": "10s"}, "Datacenter": "dc1", "Failovers": 0,
        "Index": 0, "LastContact": 0, "KnownLeader": True, "ConsistencyLevel": "",
    }  # fmt: skip
    assert [row["Service"]["Port"] for row in nodes] == [80]
    assert api.bodies[-1] == {
        "QueryIDOrName": "q",
        "Limit": 3,
        "Connect": False,
        "Source": {"Datacenter": "dc1", "Node": "node1", "Ip": "127.0.0.1"},
        "Agent": {"Datacenter": "dc1", "Node": "node1"},
    }


def test_two_executions_are_two_answers(api: QueryApi) -> None:
    created(api)
    assert api.json("/v1/query/q/execute")["Nodes"] == []
    assert api.json("/v1/query/q/execute")["Nodes"] == []
    assert len(api.bodies) == 2


def test_explain_shows_what_would_be_executed(api: QueryApi) -> None:
    created(api, Name="geo-", Template={"Type": "name_prefix_match"}, Service={"Service": "${name.suffix}"})
    explained = api.json("/v1/query/geo-db/explain")
    assert list(explained) == ["Query", "Index", "LastContact", "KnownLeader", "ConsistencyLevel"]
    assert explained["Query"]["Service"]["Service"] == "db"


@pytest.mark.parametrize("path", ["/v1/query/gone", "/v1/query/gone/execute", "/v1/query/gone/explain"])
def test_a_query_that_is_not_there_is_404(api: QueryApi, path: str) -> None:
    response = api.get(path)
    assert (response.status, response.body) == (404, b"Query not found")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "because"),
    [
        ("POST", "/v1/query", b"", 400, "Request decode failed: the body is empty"),
        ("POST", "/v1/query", {"Service": {"Tags": "x"}}, 400, "Service.Tags: expected list, got string"),
        ("POST", "/v1/query", {"DNS": {"TTL": 10}}, 400, "DNS.TTL: expected string, got number"),
        ("POST", "/v1/query", {"Service": {"Failover": {"NearestN": 1.5}}}, 400, "Service.Failover.NearestN"),
        ("POST", "/v1/query", {**QUERY, "ID": "x"}, 500, "rpc error making call: ID must be empty"),
        ("POST", "/v1/query", {"Name": "q"}, 500, "Must provide a Service name to query"),
        ("PUT", "/v1/query/gone", QUERY, 500, "Cannot modify non-existent prepared query: 'gone'"),
        ("DELETE", "/v1/query/gone", None, 500, "Cannot modify non-existent prepared query: 'gone'"),
        ("GET", "/v1/query/q/execute?limit=x", None, 400, "Bad limit: 'x' must be a whole number"),
        ("GET", "/v1/query/q/execute?limit=-1", None, 400, "Bad limit"),
        ("GET", "/v1/query/q/execute?connect=maybe", None, 400, "Error parsing 'connect' value 'maybe'"),
        ("GET", "/v1/query/", None, 400, "Missing query ID"),
        ("GET", "/v1/query?stale&consistent", None, 400, "Cannot specify ?stale with ?consistent"),
    ],
)
def test_an_error_says_what_is_wrong(
    api: QueryApi, method: str, path: str, body: Any, status: int, because: str
) -> None:
    response = api.request(method, path, body)
    assert (response.status, because in response.body.decode()) == (status, True), response.body


@pytest.mark.parametrize(
    ("forwarded", "remote", "expected"),
    [
        ("", "10.0.0.7:51000", "10.0.0.7"),
        ("", "[fe80::1]:51000", "fe80::1"),
        ("", "10.0.0.7", "10.0.0.7"),
        ("", "a unix socket", ""),
        ("198.18.0.1", "10.0.0.7:1", "198.18.0.1"),
        ("198.18.0.1, 10.1.1.1", "10.0.0.7:1", "198.18.0.1"),
        ("nonsense", "10.0.0.7:1", "10.0.0.7"),
    ],
)
def test_the_caller_is_the_first_forwarded_address_else_the_peer(
    forwarded: str, remote: str, expected: str
) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert caller_address(Request("GET", "/", headers=headers, remote=remote)) == expected


def test_near_the_caller_is_left_to_the_server(api: QueryApi) -> None:
    created(api)
    api.json("/v1/query/q/execute?near=_ip")
    assert api.bodies[-1]["Source"] == {
        "Datacenter": "dc1",
        "Node": "_ip",
        "Ip": "127.0.0.1",
    }


_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
_texts = st.sampled_from(["web", "${match(1)}", "${", "name_prefix_match", "^(w)", "^(", "10s", "!", ""])
_lists = st.lists(_texts, max_size=2) | _scalars
_maps = st.dictionaries(_texts, _texts, max_size=2) | _scalars
_services = st.fixed_dictionaries(
    {"Service": _texts},
    optional={
        "Tags": _lists,
        "NodeMeta": _maps,
        "Near": _texts,
        "Failover": st.fixed_dictionaries(
            {}, optional={"NearestN": st.integers() | _texts, "Datacenters": _lists}
        ),
        "Connect": st.booleans() | _texts,
    },
)
_definitions = _scalars | st.fixed_dictionaries(
    {"Name": _texts, "Service": _services},
    optional={
        "Token": _texts,
        "Template": st.fixed_dictionaries(
            {}, optional={"Type": st.just("name_prefix_match") | _texts, "Regexp": _texts}
        ),
        "DNS": st.fixed_dictionaries({}, optional={"TTL": _texts | _scalars}),
        "Session": _scalars,
    },
)


@settings(max_examples=300, deadline=None)
@given(_definitions, st.sampled_from(["web", "x", "\u00e9"]))
def test_any_definition_is_stored_or_refused_with_a_sentence(definition: Any, name: str) -> None:
    api = QueryApi()
    response = api.post("/v1/query", definition)
    assert response.status in {200, 400, 500}
    assert response.body
    stored = api.json("/v1/query")
    assert len(stored) == (response.status == 200)
    assert api.get(f"/v1/query/{name}/execute").status in {200, 404}
    for query in stored:
        assert api.put(f"/v1/query/{query['ID']}", query).status == 200
