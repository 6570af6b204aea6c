"""Rows sorted by the round trip from a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.catalog.coordinates import Coordinate, NodeCoordinate, distance
from meshnode.catalog.model import Check, Instance, Node, Service
from meshnode.catalog.store import Catalog, Registration
from meshnode.control.near import apart, check_node, instance_node, nearest_first, node_name, sorted_near


def at(place: float) -> Coordinate:
    return Coordinate((place,) + (0.0,) * 7)


def catalog(places: dict[str, float | None]) -> Catalog:
    made = Catalog(set())
    for number, (name, place) in enumerate(places.items(), 1):
        made.register(number, Registration(Node(name, f"10.0.0.{number}")))
        if place is not None:
            made.update_coordinates(number, (NodeCoordinate(name, "", at(place)),))
    return made


PLACES = {"a": 5.0, "b": None, "c": 1.0, "d": 2.0, "e": None, "f": 2.0}


def near(body: dict[str, Any]) -> str:
    return "".join(sorted_near(catalog(PLACES), body, "fedcba", str))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"Source": {"Node": "c"}}, "cfdaeb"),
        ({"Source": {"Node": "C", "Datacenter": "dc1"}}, "cfdaeb"),
        ({"Source": {"Node": "a", "Datacenter": "dc1"}, "Datacenter": "dc1"}, "afdceb"),
        ({"Source": {"Node": "a", "Datacenter": "dc1"}, "Datacenter": "dc2"}, "fedcba"),
        ({"Source": {"Node": "b"}}, "fedcba"),
        ({"Source": {"Node": "gone"}}, "fedcba"),
        ({"Source": {"Node": ""}}, "fedcba"),
        ({}, "fedcba"),
        ({"Source": {"Node": "_ip", "Ip": "10.0.0.3"}}, "cfdaeb"),
        ({"Source": {"Node": "_ip", "Ip": "10.9.9.9"}}, "fedcba"),
        ({"Source": {"Node": "_ip"}}, "fedcba"),
    ],
)
def test_known_nodes_come_by_distance_and_the_others_last_in_their_order(
    body: dict[str, Any], expected: str
) -> None:
    assert near(body) == expected


@given(st.lists(st.sampled_from(sorted(PLACES))), st.sampled_from(["a", "c", "d"]))
def test_it_is_a_stable_sort_of_the_same_rows(names: list[str], source: str) -> None:
    made = catalog(PLACES)
    rows = list(enumerate(names))
    ordered = nearest_first(made.tables.coordinates, source, rows, lambda row: row[1])
    distances = [(apart(made.tables.coordinates, source, name), number) for number, name in rows]
    assert [number for number, _ in ordered] == [number for _, number in sorted(distances)]


def test_nodes_are_compared_inside_the_segment_in_which_they_are_nearest() -> None:
    made = catalog({"a": 0.0, "b": 9.0})
    made.update_coordinates(9, (NodeCoordinate("a", "x", at(1.0)), NodeCoordinate("b", "x", at(2.0))))
    made.update_coordinates(10, (NodeCoordinate("b", "y", at(0.0)),))
    assert apart(made.tables.coordinates, "a", "b") == distance(at(1.0), at(2.0))
    assert apart(made.tables.coordinates, "a", "gone") == float("inf")


@pytest.mark.parametrize(
    ("node_of", "row"),
    [
        (node_name, Node("n")),
        (instance_node, Instance(Node("n"), Service("web"))),
        (check_node, Check("n", "c")),
        (check_node, NodeCoordinate("n")),
    ],
)
def test_every_kind_of_row_has_a_node(node_of: Callable[[Any], str], row: Any) -> None:
    assert node_of(row) == "n"
