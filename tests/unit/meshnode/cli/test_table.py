from __future__ import annotations

import pytest

from meshnode.cli.table import columns


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([["A", "B"]], "A  B"),
        ([["Name", "X"], ["n", "long"]], "Name  X\nn     long"),
        ([["A", "B"], ["", "b"], ["a", ""]], "A  B\n   b\na"),
        ([["A", "B", "C"], ["a"]], "A  B  C\na"),
    ],
)
def test_columns_are_as_wide_as_their_widest_cell_and_two_apart(rows: list[list[str]], text: str) -> None:
    assert columns(rows) == text
