"""What a caller sees of lists."""

from __future__ import annotations

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, Access, Decision, Resource
from meshnode.catalog.coordinates import NodeCoordinate
from meshnode.catalog.model import Check, Instance, Node, NodeDump, Service
from meshnode.control.endpoints.sight import Sight
from meshnode.kv.sessions import Session
from tests.support.state_api import Grants

N1, N2, WEB, DB = Node("n1"), Node("n2"), Service("web"), Service("db")
OWN, OF_WEB, OF_DB = (
    Check("n1", "a"),
    Check("n1", "b", service_name="web"),
    Check("n2", "c", service_name="db"),
)


class Counting(Grants):
    asked: list[tuple[Resource, str]] = []

    def decide(self, resource: Resource, name: str, access: Access) -> Decision:
        self.asked.append((resource, name))
        return super().decide(resource, name, access)


@pytest.mark.parametrize(
    ("rights", "nodes", "checks", "instances"),
    [
        ([], [], [], []),
        (["node:n1:read"], [N1], [OWN], []),
        (["service:web:read"], [], [], []),
        (["node:n1:read", "service:web:read"], [N1], [OWN, OF_WEB], [Instance(N1, WEB)]),
        (["node:*:read", "service:db:read"], [N1, N2], [OWN, OF_DB], [Instance(N2, DB)]),
        (["node:*:write", "service:*:write"], [N1, N2], [OWN, OF_WEB, OF_DB], [Instance(N1, WEB), Instance(N2, DB)]),
    ],
)  # fmt: skip
def test_a_row_takes_its_node_and_its_service(
    rights: list[str], nodes: list[Node], checks: list[Check], instances: list[Instance]
) -> None:
    sight = Sight(Grants.of(*rights))
    assert sight.nodes([N1, N2]) == nodes
    assert sight.checks([OWN, OF_WEB, OF_DB]) == checks
    assert sight.instances([Instance(N1, WEB), Instance(N2, DB)]) == instances
    assert [row.node for row in sight.coordinates([NodeCoordinate("n1"), NodeCoordinate("n2")])] == [
        node.name for node in nodes
    ]


def test_a_node_is_dumped_with_what_may_be_seen_on_it() -> None:
    whole = NodeDump(N1, (DB, WEB), (OWN, OF_WEB))
    assert Sight(Grants.of("node:n1:read", "service:db:read")).dumps([whole]) == [NodeDump(N1, (DB,), (OWN,))]
    assert Sight(Grants.of("service:*:read")).dumps([whole]) == []


def test_a_session_is_seen_by_who_may_read_those_of_its_node() -> None:
    rows = [Session("a", "n1"), Session("b", "n2")]
    assert Sight(Grants.of("session:n2:read", "node:n1:read")).sessions(rows) == rows[1:]


def test_who_may_do_everything_gets_the_same_lists_back() -> None:
    sight, nodes, checks, instances = Sight(ALLOW_ALL), [N1], [OWN], [Instance(N1, WEB)]
    assert sight.nodes(nodes) is nodes
    assert sight.checks(checks) is checks
    assert sight.instances(instances) is instances


def test_each_name_is_asked_about_once() -> None:
    counting = Counting.of("node:*:read", "service:*:read")
    counting.asked.clear()
    Sight(counting).instances([Instance(N1, WEB)] * 100)
    assert counting.asked == [(Resource.NODE, "n1"), (Resource.SERVICE, "web")]
