"""Reading what a proxy reports: any JSON ends in a report within its bounds, or in a refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.http.body import Fields
from meshnode.http.errors import HttpError
from meshnode.http.proxy_report import MAX_CONNECTIONS, MAX_ENDED, MAX_TEXT_CHARS, aged, parse_report

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "ID": st.integers(-1, 5) | VALUES, "Direction": st.sampled_from(["inbound", "outbound", "x"]),
        "Age": st.floats() | VALUES, "EndedAgo": VALUES, "Ago": st.floats(), "Peer": st.text() | VALUES,
        "BytesIn": VALUES,
    },
)  # fmt: skip
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "Service": st.text(max_size=3) | VALUES, "Pid": VALUES, "Roots": st.lists(st.text()) | VALUES,
        "Counters": st.dictionaries(st.text(max_size=5), VALUES) | VALUES, "Listeners": st.lists(ROWS) | VALUES,
        "Connections": st.lists(ROWS) | VALUES, "Closed": st.lists(ROWS) | VALUES, "Refused": st.lists(ROWS) | VALUES,
    },
)  # fmt: skip


@given(BODIES)
def test_any_body_is_a_report_or_a_400(body: dict[str, Any]) -> None:
    try:
        found = parse_report("p", Fields(body))
    except HttpError as error:
        refused = error.status
    else:
        refused = 0
    assert refused in (0, 400)
    if refused:
        return
    json.dumps([dict(row) for row in (*found.connections, *found.closed, *found.refused)], allow_nan=False)


@given(st.floats() | st.floats(-1, 2e12) | st.integers(), st.integers(-5, 1 << 62))
def test_an_age_and_a_count_that_are_taken_are_numbers_that_can_be_shown(age: float, count: int) -> None:
    body = {"Service": "s", "Connections": [{"Direction": "inbound", "Age": age, "BytesIn": count}]}
    if count < 0 or not 0 <= age <= 1e12:
        with pytest.raises(HttpError, match=r"Age|BytesIn"):
            parse_report("p", Fields(body))
        return
    (kept,) = parse_report("p", Fields(body)).connections
    assert (kept["Age"], kept["BytesIn"]) == (pytest.approx(age), count)


@given(st.integers(0, 3 * MAX_ENDED), st.text(min_size=MAX_TEXT_CHARS - 1, max_size=MAX_TEXT_CHARS + 2))
def test_rows_and_texts_stay_within_their_bounds(count: int, text: str) -> None:
    refused = [{"ID": number, "Because": text} for number in range(count)]
    found = parse_report("p", Fields({"Service": "s", "Refused": refused}))
    assert [row["ID"] for row in found.refused] == list(range(count))[-MAX_ENDED:]
    assert all(row["Because"] == text[:MAX_TEXT_CHARS] for row in found.refused)


def test_live_connections_past_the_bound_are_counted() -> None:
    for count, omitted in ((MAX_CONNECTIONS, 0), (MAX_CONNECTIONS + 1, 1)):
        rows = [{"Direction": "inbound", "ID": number} for number in range(count)]
        found = parse_report("p", Fields({"Service": "s", "Connections": rows}))
        assert (len(found.connections), found.omitted, found.connections[0]["ID"]) == (
            MAX_CONNECTIONS,
            omitted,
            0,
        )


def test_only_times_grow_older() -> None:
    row = {"ID": 5, "Age": 1.0, "EndedAgo": 0.5, "Ago": 2.0, "BytesIn": 7}
    assert aged(row, 1.25) == {"ID": 5, "Age": 2.25, "EndedAgo": 1.75, "Ago": 3.25, "BytesIn": 7}
