"""The table of statuses, in full."""

from __future__ import annotations

import pytest

from meshnode.gossip.serf.member import Cause, Status, next_status

A, G, L, F = Status.ALIVE, Status.LEAVING, Status.LEFT, Status.FAILED

#: Rows: status before. Columns: joined, failed, departed, leave intent, join intent.
MATRIX = {
    A: (A, F, L, G, A),
    G: (A, L, L, G, A),
    L: (A, L, L, L, L),
    F: (A, F, F, L, F),
}


@pytest.mark.parametrize("before", MATRIX)
@pytest.mark.parametrize(
    ("column", "cause"),
    list(enumerate((Cause.JOINED, Cause.FAILED, Cause.DEPARTED, Cause.LEAVE_INTENT, Cause.JOIN_INTENT))),
)
def test_every_cause_leads_from_every_status_where_the_matrix_says(
    before: Status, column: int, cause: Cause
) -> None:
    assert next_status(before, cause) is MATRIX[before][column]


def test_statuses_have_the_numbers_and_names_of_serf() -> None:
    assert [(status.value, str(status)) for status in Status] == [
        (0, "none"), (1, "alive"), (2, "leaving"), (3, "left"), (4, "failed"),
    ]  # fmt: skip
