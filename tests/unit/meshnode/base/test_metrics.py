"""Intervals, aggregates and their bounds."""

from __future__ import annotations

import math
import statistics

from meshnode.base.metrics import INTERVAL, MAX_SERIES, Aggregate, Key, Metrics


def test_an_aggregate_knows_count_sum_extremes_mean_and_deviation() -> None:
    aggregate, values = Aggregate(), [3.0, -1.0, 4.0, 1.5]
    assert (aggregate.mean, aggregate.stddev) == (0.0, 0.0)
    for value in values:
        aggregate.add(value)
    assert (aggregate.count, aggregate.sum, aggregate.minimum, aggregate.maximum) == (4, 7.5, -1.0, 4.0)
    assert aggregate.mean == statistics.mean(values)
    assert math.isclose(aggregate.stddev, statistics.stdev(values))


def test_equal_values_have_no_deviation_however_they_round() -> None:
    aggregate = Aggregate()
    for _ in range(1000):
        aggregate.add(0.1)
    assert aggregate.stddev < 1e-6


def test_readers_see_the_last_finished_interval() -> None:
    metrics = Metrics(100.0)
    metrics.increment("c", 101.0)
    assert metrics.latest(105.0).counters[Key("consul.c")].count == 1
    metrics.increment("c", 111.0, by=5)
    finished = metrics.latest(112.0)
    assert (finished.start, finished.counters[Key("consul.c")].sum) == (100.0, 1.0)
    assert metrics.latest(120.0).counters[Key("consul.c")].sum == 5.0


def test_an_idle_interval_is_empty_and_gauges_carry_over_to_the_next() -> None:
    metrics = Metrics(0.0)
    metrics.set_gauge("g", 2.0, 1.0)
    metrics.increment("c", 1.0)
    assert metrics.latest(INTERVAL).gauges == {Key("consul.g"): 2.0}
    assert metrics.latest(2 * INTERVAL).gauges == {Key("consul.g"): 2.0}
    assert metrics.latest(9 * INTERVAL).counters == {}


def test_a_name_has_one_kind_and_the_number_of_series_is_bounded() -> None:
    metrics = Metrics(0.0)
    metrics.increment("x", 0.0)
    metrics.set_gauge("x", 1.0, 0.0)
    assert metrics.dropped == 1
    for number in range(MAX_SERIES - 1):
        metrics.increment(f"n{number}", 0.0)
    assert metrics.dropped == 1
    metrics.increment("one too many", 0.0)
    assert metrics.dropped == 2
    metrics.increment("x", 0.0)
    assert metrics.dropped == 2


def test_what_is_not_a_number_is_dropped() -> None:
    metrics = Metrics(0.0)
    for value in (math.nan, math.inf, -math.inf):
        metrics.add_sample("s", value, 0.0)
    assert metrics.dropped == 3
    assert metrics.latest(0.0).samples == {}
