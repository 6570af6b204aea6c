"""Intervals cover what they are about as often as they say, ratios are within repetitions, turns are fair."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.prove.cost import (
    CONFIDENCE,
    Interval,
    intervals,
    median_interval,
    percentile,
    ratios,
    schedule,
    tell,
)

FIGURES = st.floats(min_value=0.001, max_value=1e9)


@given(st.lists(FIGURES, min_size=1, max_size=12), st.integers())
def test_an_interval_holds_its_median_and_stays_within_what_was_measured(
    values: list[float], seed: int
) -> None:
    found = median_interval(values, random.Random(seed), 200)
    assert min(values) <= found.low <= found.high <= max(values)
    assert found.median == statistics.median(values)
    assert found.count == len(values)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    rng, covered, trials = random.Random(7), 0, 300
    for _ in range(trials):
        found = median_interval([rng.gauss(100, 10) for _ in range(15)], rng, 300)
        covered += found.low <= 100 <= found.high
    assert CONFIDENCE - 0.07 <= covered / trials <= 1.0


def test_more_repetitions_make_the_interval_narrower() -> None:
    rng = random.Random(3)
    few, many = ([rng.gauss(50, 5) for _ in range(count)] for count in (5, 80))
    wide, narrow = (median_interval(values, random.Random(1)) for values in (few, many))
    assert narrow.high - narrow.low < (wide.high - wide.low) / 2


def test_equal_repetitions_have_an_interval_without_width() -> None:
    assert median_interval([4.0] * 5, random.Random(0)) == Interval(4.0, 4.0, 4.0, 5)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([5.0], 0.99, 5.0),
        ([*map(float, range(1, 101))], 0.99, 99.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_a_percentile_is_one_of_the_values(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


def test_a_ratio_is_taken_within_repetitions_and_not_of_medians() -> None:
    # The machine slows down by the turn: each mode varies tenfold, their ratio not at all.
    speeds = [1000.0, 400.0, 100.0]
    samples = {
        "plain": [{"requests_per_second": speed} for speed in speeds],
        "tls": [{"requests_per_second": speed / 2} for speed in speeds],
    }
    found = ratios(samples, "tls", "plain", "requests_per_second", random.Random(0))
    assert found == Interval(0.5, 0.5, 0.5, 3)
    assert ratios(samples, "tls", "plain", "p50_ms", random.Random(0)) is None
    assert ratios(samples, "tls", "nobody", "requests_per_second", random.Random(0)) is None
    zero = {"a": [{"p50_ms": 1.0}], "b": [{"p50_ms": 0.0}]}
    assert ratios(zero, "a", "b", "p50_ms", random.Random(0)) is None


def test_a_figure_that_is_missing_or_no_number_is_left_out() -> None:
    samples = {"a": [{"p50_ms": math.nan, "p99_ms": 2.0}, {"p99_ms": 4.0}]}
    assert {key: one.median for key, one in intervals(samples, random.Random(0))["a"].items()} == {
        "p99_ms": 3.0
    }


@given(st.integers(1, 6), st.integers(1, 10), st.integers())
def test_each_mode_has_a_turn_in_each_repetition(count: int, repetitions: int, seed: int) -> None:
    modes = [f"mode{number}" for number in range(count)]
    order = schedule(modes, repetitions, random.Random(seed))
    for turn in range(repetitions):
        assert Counter(order[turn * count : (turn + 1) * count]) == Counter(modes)


def test_the_turns_differ_in_their_order() -> None:
    order = schedule(["a", "b", "c"], 30, random.Random(1))
    firsts = Counter(order[::3])
    assert all(firsts[mode] >= 4 for mode in "abc")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (12345.0, "12 300"),
        (math.inf, "-"),
    ],
)
def test_figures_are_told_with_three_digits(value: float, text: str) -> None:
    assert tell(value) == text
