"""``Coordinate.Update`` as agents call it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from meshnode.catalog.coordinates import Coordinate
from meshnode.control.endpoints.coordinate import parse_coordinate
from meshnode.rpc.method import RpcError

ZEROS = [0.0] * 8


def test_a_coordinate_is_read_from_consuls_struct() -> None:
    body = {"Vec": [1, *ZEROS[1:]], "Error": 0.5, "Adjustment": -0.25, "Height": 1}
    assert parse_coordinate(body) == Coordinate((1.0, *ZEROS[1:]), 0.5, -0.25, 1.0)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [({}, "incompatible coordinate"), ({"Vec": ZEROS[1:]}, "incompatible coordinate"),
     ({"Vec": [*ZEROS, 0.0]}, "incompatible coordinate"), ({"Vec": "01234567"}, "incompatible coordinate"),
     ({"Vec": ["x", *ZEROS[1:]]}, r"Coord.Vec\[0\] must be a number"),
     ({"Vec": ZEROS, "Error": math.nan}, "invalid coordinate"), ({"Vec": ZEROS, "Height": math.inf}, "invalid"),
     ({"Vec": ZEROS, "Error": True}, "Coord.Error must be a number"),
     ({"Vec": ZEROS, "Error": 10**400}, "Coord.Error is too large a number")],
)  # fmt: skip
def test_what_is_no_coordinate_is_refused(body: Any, sentence: str) -> None:
    with pytest.raises(RpcError, match=rf"^{sentence}"):
        parse_coordinate(body)
