"""The reads: what they return, in which order, and with which index."""

from __future__ import annotations

import pytest

from meshnode.catalog import queries
from meshnode.catalog.model import Check, Node, Service, serf_check
from meshnode.catalog.store import Catalog, Registration

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "ab000000-0000-4000-8000-000000000002"


@pytest.fixture
def catalog() -> Catalog:
    """Indexes: 1 node b, 2 node a, 3 db on b, 4 web on b, 5 web on a, 6 proxy of web on a, 7 serfHealth of a."""
    catalog = Catalog(set())
    b, a = (
        Node("b", "10.0.0.2", B, meta={"rack": "1", "os": "x"}),
        Node("A", "10.0.0.1", A, meta={"rack": "1"}),
    )
    steps = [
        Registration(b),
        Registration(a),
        Registration(b, Service("db")),
        Registration(b, Service("web", "web-2", tags=("Blue", "v1")), (_up("b", "web-2", "passing"),)),
        Registration(a, Service("web", "web-1", tags=("green",)), (_up("A", "web-1", "warning"),)),
        Registration(a, Service("web-proxy", kind="connect-proxy", proxy_destination="web", port=20000)),
        Registration(a, None, (serf_check("A", alive=True),)),
    ]
    for index, step in enumerate(steps, 1):
        assert not catalog.register(index, step).fault
    return catalog


def _up(node: str, service_id: str, status: str) -> Check:
    return Check(node, f"{service_id}-up", status=status, service_id=service_id)


def _names(instances: list[queries.Instance]) -> list[tuple[str, str]]:
    return [(i.node.name, i.service.id) for i in instances]


def test_an_empty_catalog_answers_with_index_one() -> None:
    empty = Catalog(set())
    answers = [
        queries.nodes(empty),
        queries.services(empty),
        queries.node_services(empty, "n"),
        queries.node_checks(empty, "n"),
        queries.service_instances(empty, "s"),
        queries.connect_instances(empty, "s"),
        queries.service_checks(empty, "s"),
        queries.checks_in_state(empty, "any"),
        queries.dump(empty),
        queries.all_coordinates(empty),
        queries.node_coordinates(empty, "n"),
    ]
    assert {index for index, _ in answers} == {1}
    assert not any(value for _, value in answers)


def test_nodes_are_in_the_order_of_their_names_and_filtered_by_all_pairs(catalog: Catalog) -> None:
    assert [n.name for n in queries.nodes(catalog)[1]] == ["A", "b"]
    assert [n.name for n in queries.nodes(catalog, {"rack": "1"})[1]] == ["A", "b"]
    assert [n.name for n in queries.nodes(catalog, {"rack": "1", "os": "x"})[1]] == ["b"]
    assert queries.nodes(catalog, {"rack": "2"}) == (2, [])


def test_services_are_names_with_the_tags_of_all_instances(catalog: Catalog) -> None:
    assert queries.services(catalog) == (
        6,
        {"db": (), "web": ("Blue", "green", "v1"), "web-proxy": ()},
    )
    assert queries.services(catalog, {"os": "x"}) == (6, {"db": (), "web": ("Blue", "v1")})


@pytest.mark.parametrize(
    ("asked", "found"),
    [("a", "A"), ("B", "b"), (A[:2], "A"), (A, "A"), (B.upper(), "b"), ("ab", "b"), ("zz", None), ("", None)],
)
def test_a_node_is_found_by_name_or_by_the_start_of_its_id(
    catalog: Catalog, asked: str, found: str | None
) -> None:
    node = queries.node_services(catalog, asked)[1]
    assert (node.node.name if node is not None else None) == found


def test_the_start_of_an_id_that_two_nodes_share_finds_neither() -> None:
    catalog = Catalog(set())
    catalog.register(1, Registration(Node("x", "a", A)))
    catalog.register(2, Registration(Node("y", "a", A[:-1] + "9")))
    assert queries.node_services(catalog, A[:8])[1] is None


def test_instances_come_by_node_with_the_checks_of_the_node_first(catalog: Catalog) -> None:
    index, found = queries.service_instances(catalog, "WEB")
    assert _names(found) == [("A", "web-1"), ("b", "web-2")]
    assert [[c.check_id for c in i.checks] for i in found] == [["serfHealth", "web-1-up"], ["web-2-up"]]
    assert index == 7, "a check of the node counts for its services"


def test_instances_without_checks_are_what_the_catalog_shows(catalog: Catalog) -> None:
    found = queries.service_instances(catalog, "web", checks=False)[1]
    assert [i.checks for i in found] == [(), ()]


@pytest.mark.parametrize(("tag", "ids"), [("blue", ["web-2"]), ("GREEN", ["web-1"]), ("red", [])])
def test_a_tag_is_compared_without_regard_to_case(catalog: Catalog, tag: str, ids: list[str]) -> None:
    assert [i.service.id for i in queries.service_instances(catalog, "web", tag=tag)[1]] == ids


def test_instances_are_filtered_by_passing_and_node_metadata(catalog: Catalog) -> None:
    assert _names(queries.service_instances(catalog, "web", passing=True)[1]) == [("b", "web-2")]
    assert _names(queries.service_instances(catalog, "web", node_meta={"os": "x"})[1]) == [("b", "web-2")]
    only = queries.service_instances(catalog, "web", passing=True, checks=False)[1]
    assert _names(only) == [("b", "web-2")]


def test_the_endpoints_of_connect_are_the_proxies_of_a_service(catalog: Catalog) -> None:
    index, found = queries.connect_instances(catalog, "web")
    assert _names(found) == [("A", "web-proxy")]
    assert index == 7
    assert queries.connect_instances(catalog, "web-proxy")[1] == []


def test_a_native_instance_is_its_own_endpoint(catalog: Catalog) -> None:
    catalog.register(8, Registration(Node("b", "10.0.0.2"), Service("web", "web-3", native=True)))
    index, found = queries.connect_instances(catalog, "web")
    assert (index, _names(found)) == (8, [("A", "web-proxy"), ("b", "web-3")])


def test_a_service_has_an_index_of_its_own_while_it_has_instances(catalog: Catalog) -> None:
    assert queries.service_instances(catalog, "db")[0] == 3
    assert queries.service_instances(catalog, "nope")[0] == 7
    assert queries.service_instances(catalog, "nope", checks=False)[0] == 6
    catalog.deregister(8, "b", "db")
    assert queries.service_instances(catalog, "db") == (8, [])


def test_a_change_of_the_node_moves_its_services_since_they_show_it(catalog: Catalog) -> None:
    catalog.register(8, Registration(Node("b", "10.0.0.99")))
    assert queries.service_instances(catalog, "db", checks=False)[0] == 8
    assert queries.service_instances(catalog, "web")[1][1].node.address == "10.0.0.99"
    assert queries.connect_instances(catalog, "web")[0] == 7, "the proxy is on another node"


def test_checks_by_node_service_and_state(catalog: Catalog) -> None:
    assert [c.check_id for c in queries.node_checks(catalog, "a")[1]] == ["serfHealth", "web-1-up"]
    assert [c.check_id for c in queries.service_checks(catalog, "web")[1]] == ["web-1-up", "web-2-up"]
    assert [c.check_id for c in queries.service_checks(catalog, "web", {"os": "x"})[1]] == ["web-2-up"]
    by_state = {
        state: [c.check_id for c in queries.checks_in_state(catalog, state)[1]]
        for state in ("any", "passing", "warning", "critical", "no-such")
    }
    assert by_state == {
        "any": ["serfHealth", "web-1-up", "web-2-up"],
        "passing": ["serfHealth", "web-2-up"],
        "warning": ["web-1-up"],
        "critical": [],
        "no-such": [],
    }
    assert [c.check_id for c in queries.checks_in_state(catalog, "any", {"os": "x"})[1]] == ["web-2-up"]


def test_a_dump_has_everything_of_one_node_or_of_all(catalog: Catalog) -> None:
    index, everything = queries.dump(catalog)
    assert index == 7
    assert [(d.node.name, len(d.services), len(d.checks)) for d in everything] == [("A", 2, 2), ("b", 2, 1)]
    assert queries.dump(catalog, "B")[1] == everything[1:]
    assert queries.dump(catalog, "c")[1] == []
