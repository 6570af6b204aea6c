"""The spans of a timeline: they add up, and there never are too many, whatever the clock of a capture says."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meshnode.prove.timeline import MAX_SPANS, Timeline


def spans(line: Timeline) -> dict[str, Any]:
    found: dict[str, Any] = line.as_dict()["ports"]  # type: ignore[assignment]
    return found


def test_payload_is_in_the_span_of_its_second() -> None:
    line = Timeline()
    for at, count in ((100.2, 5), (100.9, 6), (103.0, 7)):
        line.add(8300, at, count)
    line.add(8301, 101.5, 1)
    assert line.as_dict() == {
        "start": "1970-01-01T00:01:40+00:00",
        "width_seconds": 1,
        "ports": {"8300": [11, 0, 0, 7], "8301": [0, 1, 0, 0]},
    }


def test_an_empty_timeline_has_no_spans() -> None:
    assert spans(Timeline()) == {}


def test_spans_double_when_there_is_one_too_many() -> None:
    line = Timeline()
    for second in range(MAX_SPANS):
        line.add(1, 1000.0 + second, 1)
    assert (line.width, len(spans(line)["1"])) == (1, MAX_SPANS)
    line.add(1, 1000.0 + MAX_SPANS, 1)
    assert line.width == 2
    assert sum(spans(line)["1"]) == MAX_SPANS + 1


@given(st.lists(st.tuples(st.floats(-1e15, 1e15), st.integers(1, 10**6)), max_size=60))
def test_no_byte_is_lost_and_no_span_too_many_at_any_times(seen: list[tuple[float, int]]) -> None:
    line = Timeline()
    for at, count in seen:
        line.add(8300, at, count)
    total = spans(line).get("8300", [])
    assert len(total) <= MAX_SPANS
    assert sum(total) == sum(count for _, count in seen)
