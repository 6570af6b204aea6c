"""Executing prepared queries: health, nearness, limits, rights, and other datacenters."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, Authorizer
from meshnode.catalog.coordinates import Coordinate, NodeCoordinate
from meshnode.catalog.model import Check, Node, Service
from meshnode.catalog.store import Registration
from meshnode.control.command import QuerySet, Register, UpdateCoordinates
from meshnode.control.endpoints.prepared_execute import Here, execute, execute_remote
from meshnode.control.endpoints.prepared_query import query_of
from meshnode.control.machine import StateMachine
from meshnode.control.prepared.failover import AskDatacenter
from meshnode.rpc.method import RpcError
from tests.support.state_api import Grants

HERE = Here("dc1", ("dc1", "dc2", "dc3", "dc4"))


def state_of(**service: Any) -> StateMachine:
    """Nodes a, b, c, d at 0, 1, 2, 3 with an instance of web each, that on d critical; a query for it."""
    state = StateMachine()
    for place, name in enumerate("abcd"):
        node = Node(name, f"10.0.0.{place}", datacenter="dc1")
        status = "critical" if name == "d" else "passing"
        checks = (Check(name, "c", status=status, service_id="web"),)
        registration = Registration(node, Service("web", "web", native=name == "b"), checks)
        state.apply(state.last_index + 1, Register(registration, 0.0))
        where = NodeCoordinate(name, "", Coordinate((float(place),) + (0.0,) * 7))
        state.apply(state.last_index + 1, UpdateCoordinates((where,)))
    fields = {"Name": "q", "Service": {"Service": "web", **service}, "DNS": {"TTL": "7s"}, "Token": ""}
    state.apply(state.last_index + 1, QuerySet(query_of(fields, "id"), create=True))
    return state


def run(
    state: StateMachine,
    body: Mapping[str, Any] | None = None,
    *answers: Mapping[str, Any] | None,
    authorize: Callable[[str], Authorizer] = lambda _: ALLOW_ALL,
    seed: int = 0,
) -> tuple[dict[str, Any], list[AskDatacenter]]:
    steps = execute(state, {"QueryIDOrName": "q", **(body or {})}, authorize, random.Random(seed), HERE)
    asked: list[AskDatacenter] = []
    waiting = list(answers)
    try:
        asked.append(next(steps))
        while True:
            asked.append(steps.send(waiting.pop(0)))
    except StopIteration as end:
        reply: dict[str, Any] = end.value
        return reply, asked


def names(reply: Mapping[str, Any]) -> str:
    return "".join(row["Node"]["Node"] for row in reply["Nodes"])


def test_healthy_instances_come_in_an_order_of_the_generators() -> None:
    reply, asked = run(state_of())
    assert (sorted(names(reply)), asked) == (["a", "b", "c"], [])
    assert {key: reply[key] for key in reply if key != "Nodes"} == {
        "Service": "web", "DNS": {"TTL": "7s"}, "Datacenter": "dc1", "Failovers": 0,
    }  # fmt: skip
    assert list(reply["Nodes"][0]) == ["Node", "Service", "Checks"]
    assert len({names(run(state_of(), seed=seed)[0]) for seed in range(20)}) > 1


@pytest.mark.parametrize(
    ("near", "body", "expected"),
    [
        ("", {"Source": {"Datacenter": "dc1", "Node": "c"}}, "cba"),
        ("a", {}, "abc"),
        ("a", {"Source": {"Datacenter": "dc1", "Node": "c"}}, "cba"),
        ("_agent", {"Agent": {"Datacenter": "dc1", "Node": "c"}}, "cba"),
        ("_ip", {"Source": {"Datacenter": "dc1", "Ip": "10.0.0.2"}}, "cba"),
        ("_ip", {"Source": {"Ip": "10.9.9.9"}, "Agent": {"Datacenter": "dc1", "Node": "c"}}, "cba"),
        ("", {"Source": {"Node": "_ip", "Ip": "10.0.0.2"}}, "cba"),
        ("", {"Source": {"Node": "d"}, "Limit": 1}, "c"),
        ("a", {"Limit": 2}, "ab"),
        ("a", {"Limit": 9}, "abc"),
    ],
)
def test_the_nearest_come_first_and_a_limit_cuts_the_rest(
    near: str, body: dict[str, Any], expected: str
) -> None:
    assert names(run(state_of(Near=near), body)[0]) == expected


def test_a_node_in_another_datacenter_is_near_nothing_here() -> None:
    body = {"Source": {"Datacenter": "dc2", "Node": "c"}}
    orders = {names(run(state_of(), body, seed=seed)[0]) for seed in range(20)}
    assert len(orders) > 1


def test_the_node_itself_comes_first_even_if_another_seems_nearer() -> None:
    state = state_of()
    twisted = Coordinate((2.0,) + (0.0,) * 7, height=5.0)
    state.apply(state.last_index + 1, UpdateCoordinates((NodeCoordinate("c", "", twisted),)))
    assert names(run(state, {"Source": {"Node": "C"}})[0])[0] == "c"


def test_connect_asks_for_the_endpoints_of_the_mesh() -> None:
    assert names(run(state_of(), {"Connect": True})[0]) == "b"
    assert names(run(state_of(Connect=True))[0]) == "b"


def test_the_querys_own_token_decides_what_is_seen_else_the_callers() -> None:
    rights = {
        "all": ALLOW_ALL,
        "some": Grants.of("node:a:read", "node:b:read", "service:web:read"),
        "": Grants(),
    }
    state = state_of()
    assert names(run(state, {"Token": "some"}, authorize=rights.__getitem__)[0]) in {"ab", "ba"}
    assert names(run(state, authorize=rights.__getitem__)[0]) == ""
    _, query = state.queries.get("id")
    assert query is not None
    state.apply(
        99,
        QuerySet(query_of({"Name": "q", "Service": {"Service": "web"}, "Token": "all"}, "id"), create=False),
    )
    assert len(run(state, authorize=rights.__getitem__)[0]["Nodes"]) == 3


def test_other_datacenters_are_asked_until_one_has_nodes() -> None:
    state = state_of(Service="api", Failover={"NearestN": 1, "Datacenters": ["dc4", "dc3", "gone"]})
    nodes = [{"Node": {}, "Service": {}, "Checks": []}]
    empty = {"Service": "api", "Nodes": None, "DNS": {"TTL": "7s"}, "Datacenter": "dc4"}
    there = {"Service": "api", "Nodes": nodes, "DNS": {"TTL": "8s"}, "Datacenter": "dc3", "Failovers": 9}
    reply, asked = run(state, {"Limit": 5, "Token": "t", "Connect": True}, None, empty, there)
    assert [step.datacenter for step in asked] == ["dc2", "dc4", "dc3"]
    assert {step.method for step in asked} == {"PreparedQuery.ExecuteRemote"}
    assert reply == {**there, "Failovers": 3}
    sent = asked[0].body
    assert (sent["Datacenter"], sent["Limit"], sent["Connect"], sent["Token"]) == ("dc2", 5, True, "t")
    assert sent["Query"]["Service"]["Service"] == "api"


def test_when_nobody_has_nodes_the_list_is_empty_and_the_tries_are_counted() -> None:
    state = state_of(Service="api", Failover={"NearestN": 2})
    reply, asked = run(state, {}, None, None)
    assert (reply["Nodes"], reply["Failovers"], reply["Datacenter"], len(asked)) == ([], 2, "dc1", 2)
    assert run(state_of(Service="api"))[0]["Failovers"] == 0


def test_what_one_datacenter_sends_another_one_executes() -> None:
    asking = state_of(Service="web2", Failover={"NearestN": 1})
    template = query_of(
        {"Name": "", "Template": {"Type": "name_prefix_match"},
         "Service": {"Service": "${name.full}", "Failover": {"NearestN": 1}}, "DNS": {"TTL": "1s"}},
        "t",
    )  # fmt: skip
    asking.apply(asking.last_index + 1, QuerySet(template, create=True))
    _, asked = run(asking, {"QueryIDOrName": "nope", "Limit": 2}, None)
    body = {**asked[0].body, "Query": {**asked[0].body["Query"]}}
    assert body["Query"]["Service"]["Service"] == "nope"
    body["Query"]["Service"] = {**body["Query"]["Service"], "Service": "web"}
    reply = execute_remote(state_of(), body, lambda _: ALLOW_ALL, random.Random(0), Here("dc2"))
    assert (len(reply["Nodes"]), reply["Datacenter"], reply["DNS"], reply["Failovers"]) == (
        2,
        "dc2",
        {"TTL": "1s"},
        0,
    )


def test_a_query_that_is_not_there_and_a_limit_below_zero_are_errors() -> None:
    with pytest.raises(RpcError, match=r"^Query not found$"):
        run(state_of(), {"QueryIDOrName": "gone"})
    with pytest.raises(RpcError, match="Limit is -1"):
        run(state_of(), {"Limit": -1})
