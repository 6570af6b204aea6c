"""``?filter=`` on the rows of an answer."""

from __future__ import annotations

import pytest

from meshnode.http.errors import HttpError
from meshnode.http.filter.fields import CATALOG_NODES
from meshnode.http.filtering import Rows, filtered
from meshnode.http.message import Request

ROWS: Rows = [{"Node": "a", "Meta": {"x": "1"}}, {"Node": "b", "Meta": {}}]


@pytest.mark.parametrize(
    ("query", "left"),
    [("", ["a", "b"]), ("filter=", ["a", "b"]), ("stale", ["a", "b"]), ("filter=Node==a", ["a"]),
     ("filter=Meta+is+empty", ["b"]), ('filter=Node+!=+"a"+and+Meta.x==1', [])],
)  # fmt: skip
def test_the_rows_that_match_are_left_in_their_order(query: str, left: list[str]) -> None:
    keep = filtered(Request("GET", "/v1/x", query), CATALOG_NODES)
    assert [row["Node"] for row in keep(ROWS)] == left


@pytest.mark.parametrize("query", ["filter=Node", "filter=Nodes==a", "filter=%22"])
def test_an_expression_that_cannot_be_read_is_refused_before_there_are_rows(query: str) -> None:
    with pytest.raises(HttpError, match=r"^Invalid filter: ") as refused:
        filtered(Request("GET", "/v1/x", query), CATALOG_NODES)
    assert refused.value.status == 400
