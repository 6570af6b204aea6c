"""Metrics for readers: the JSON of ``/v1/agent/metrics`` and the text format 0.0.4 of Prometheus."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from meshnode.base.metrics import INTERVAL, Aggregate, Interval, Key, Labels, Metrics, Series

__all__ = ["PROMETHEUS_TYPE", "metrics_as_json", "metrics_as_prometheus"]

PROMETHEUS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
QUANTILES: Final = (0.5, 0.9, 0.99)
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_:]")
_TYPES: Final = {"gauge": "gauge", "counter": "counter", "sample": "summary"}


def metrics_as_json(interval: Interval, timestamp: str) -> dict[str, Any]:
    """The summary that go-metrics prints; ``timestamp`` is the start of the interval as text."""
    gauges = [
        {"Name": key.name, "Value": value, "Labels": dict(key.labels)}
        for key, value in sorted(interval.gauges.items())
    ]
    return {
        "Timestamp": timestamp,
        "Gauges": gauges,
        "Points": [],
        "Counters": _aggregates(interval.counters),
        "Samples": _aggregates(interval.samples),
    }


def _aggregates(table: Mapping[Key, Aggregate]) -> list[dict[str, Any]]:
    return [
        {
            "Name": key.name,
            "Count": found.count,
            "Rate": found.sum / INTERVAL,
            "Sum": found.sum,
            "Min": found.minimum,
            "Max": found.maximum,
            "Mean": found.mean,
            "Stddev": found.stddev,
            "Labels": dict(key.labels),
        }
        for key, found in sorted(table.items())
    ]


def metrics_as_prometheus(metrics: Metrics, now: float, retention: float) -> str:
    """Every series that changed within ``retention`` seconds; two names that become one are kept apart by type."""
    families: dict[str, tuple[str, str, list[str]]] = {}
    for key, series in metrics.live_series(now, retention):
        name = _NOT_IN_NAMES.sub("_", key.name)
        name = f"_{name}" if name[:1].isdigit() else name
        kind, _, lines = families.setdefault(name, (series.kind, key.name, []))
        if kind == series.kind:
            lines += _lines(name, key.labels, series)
    text: list[str] = []
    for name, (kind, original, lines) in families.items():
        text += [f"# HELP {name} {_escaped(original)}", f"# TYPE {name} {_TYPES[kind]}", *lines]
    return "\n".join(text) + "\n" if text else ""


def _lines(name: str, labels: Labels, series: Series) -> list[str]:
    if series.kind != "sample":
        return [f"{name}{_braces(labels)} {series.total!r}"]
    quantiles = [
        f"{name}{_braces((*labels, ('quantile', str(fraction))))} {series.quantile(fraction)!r}"
        for fraction in QUANTILES
    ]
    return [
        *quantiles,
        f"{name}_sum{_braces(labels)} {series.total!r}",
        f"{name}_count{_braces(labels)} {series.count}",
    ]


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = (f'{_NOT_IN_NAMES.sub("_", name)}="{_escaped(value)}"' for name, value in labels)
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
