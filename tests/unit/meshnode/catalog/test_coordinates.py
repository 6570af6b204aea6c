"""Coordinates by node and segment, and the distance between two."""

from __future__ import annotations

import math

import pytest

from meshnode.catalog.coordinates import Coordinate, Coordinates, NodeCoordinate, distance

HERE = Coordinate((0.003, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), height=0.0)
THERE = Coordinate((0.0, 0.004, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), height=0.001)


def test_the_distance_is_euclidean_plus_the_heights() -> None:
    assert distance(HERE, THERE) == pytest.approx(0.006)
    assert distance(HERE, THERE) == distance(THERE, HERE)


def test_an_adjustment_counts_unless_it_makes_the_distance_negative() -> None:
    near = Coordinate(HERE.vector, height=0.0, adjustment=-0.002)
    assert distance(near, THERE) == pytest.approx(0.004)
    nearer = Coordinate(HERE.vector, height=0.0, adjustment=-1.0)
    assert distance(nearer, THERE) == pytest.approx(0.006)


@pytest.mark.parametrize(
    ("coordinate", "valid"),
    [
        (HERE, True),
        (Coordinate((0.0,) * 7), False),
        (Coordinate((0.0,) * 9), False),
        (Coordinate((math.nan,) * 8), False),
        (Coordinate(error=math.inf), False),
        (Coordinate(height=math.nan), False),
    ],
)
def test_a_coordinate_has_eight_finite_dimensions(coordinate: Coordinate, valid: bool) -> None:
    assert coordinate.valid is valid


def test_a_node_has_one_coordinate_a_segment_and_they_go_with_it() -> None:
    table = Coordinates()
    rows = [NodeCoordinate("B"), NodeCoordinate("a", "x"), NodeCoordinate("a", coord=HERE)]
    for row in rows:
        table.put(row)
    assert list(table) == [rows[2], rows[1], rows[0]]
    assert table.of_node("A") == [rows[2], rows[1]]
    table.put(NodeCoordinate("A", coord=THERE))
    assert table.of_node("a")[0].coord == THERE
    assert table.drop("a")
    assert not table.drop("a")
    assert list(table) == [rows[0]]
