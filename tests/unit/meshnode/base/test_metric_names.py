"""Metrics are called and filtered as the operator configured."""

from __future__ import annotations

import pytest

from meshnode.base.metric_names import MetricNames
from meshnode.base.metrics import Metrics


@pytest.mark.parametrize(
    ("names", "gauge", "expected"),
    [
        (MetricNames(), False, "consul.http.get"),
        (MetricNames(prefix="mesh"), False, "mesh.http.get"),
        (MetricNames(host_name="web1"), True, "consul.web1.http.get"),
        (MetricNames(host_name="web1"), False, "consul.http.get"),
        (MetricNames(filters=("-consul.http",)), False, None),
        (MetricNames(filters=("-consul", "+consul.http.get")), False, "consul.http.get"),
        (MetricNames(filters=("+consul.http.get", "-consul")), False, "consul.http.get"),
        (MetricNames(filters=("+consul.rpc",), keeps_by_default=False), False, None),
        (MetricNames(host_name="web1", filters=("-consul.http",)), True, None),
    ],
)
def test_the_longest_filter_that_fits_decides_over_the_default(
    names: MetricNames, gauge: bool, expected: str | None
) -> None:
    assert names.outside("consul.http.get", gauge=gauge) == expected


def test_a_filtered_metric_is_not_recorded_and_a_reload_of_the_names_takes_effect() -> None:
    metrics = Metrics(0.0, MetricNames(filters=("-consul.http",)))
    metrics.increment("consul.http.get", 1.0)
    metrics.increment("consul.rpc.request", 1.0)
    assert [key.name for key, _ in metrics.live_series(1.0, 60.0)] == ["consul.rpc.request"]
    metrics.rename(MetricNames())
    metrics.increment("consul.http.get", 2.0)
    assert [key.name for key, _ in metrics.live_series(2.0, 60.0)] == [
        "consul.http.get",
        "consul.rpc.request",
    ]
