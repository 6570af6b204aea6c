"""A registry of gauges, counters and samples, kept by intervals as go-metrics keeps them.

Pure: ``now`` (monotonic seconds) is an argument. Names are dotted (``consul.http.GET.v1.status.leader``); labels are a
sorted tuple of pairs, so a name and its labels are one hashable key. What a reader sees is the last *finished*
interval, or the present one when there is no other; totals since the start are kept beside it for Prometheus.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from meshnode.base.metric_names import MetricNames

__all__ = ["INTERVAL", "MAX_SERIES", "Aggregate", "Interval", "Key", "Labels", "Metrics", "Series"]

Labels = tuple[tuple[str, str], ...]

#: Seconds of one interval (go-metrics' in-memory sink, as Consul sets it up).
INTERVAL: Final = 10.0
#: Different (name, labels) pairs; further ones are dropped and counted in ``Metrics.dropped``.
MAX_SERIES: Final = 10_000
#: Latest observations of a sample that its quantiles are computed from.
MAX_OBSERVATIONS: Final = 256


class Key(NamedTuple):
    """What a series is called."""

    name: str
    labels: Labels = ()


class Aggregate:
    """Count, sum, extremes, mean and standard deviation of the values that were added."""

    __slots__ = ("count", "maximum", "minimum", "square_sum", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self.square_sum = 0.0
        self.minimum = math.inf
        self.maximum = -math.inf

    def add(self, value: float) -> None:
        """Take one more value into account."""
        self.count += 1
        self.sum += value
        self.square_sum += value * value
        if value < self.minimum:
            self.minimum = value
        if value > self.maximum:
            self.maximum = value

    @property
    def mean(self) -> float:
        """Arithmetic mean; 0 of nothing."""
        return self.sum / self.count if self.count else 0.0

    @property
    def stddev(self) -> float:
        """Standard deviation of a sample (n - 1), as go-metrics computes it; 0 of fewer than two values."""
        if self.count < 2:
            return 0.0
        spread = self.count * self.square_sum - self.sum * self.sum
        return math.sqrt(max(0.0, spread) / (self.count * (self.count - 1)))


class Interval:
    """What was recorded from ``start`` on, for ``INTERVAL`` seconds."""

    __slots__ = ("counters", "gauges", "samples", "start")

    def __init__(self, start: float, gauges: dict[Key, float] | None = None) -> None:
        self.start = start
        self.gauges: dict[Key, float] = gauges or {}
        self.counters: dict[Key, Aggregate] = {}
        self.samples: dict[Key, Aggregate] = {}


class Series:
    """A series since the start of the agent; ``updated`` is when it last changed."""

    __slots__ = ("count", "kind", "recent", "total", "updated")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 0
        self.total = 0.0
        self.updated = 0.0
        self.recent: deque[float] = deque(maxlen=MAX_OBSERVATIONS if kind == "sample" else 0)

    def quantile(self, fraction: float) -> float:
        """The nearest-rank quantile of the latest observations; NaN of nothing."""
        ordered = sorted(self.recent)
        return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))] if ordered else math.nan


class Metrics:
    """Where every part of the agent records what it measures, under the names that ``names`` gives."""

    def __init__(self, now: float, names: MetricNames | None = None) -> None:
        self.dropped = 0
        self._names = names or MetricNames()
        self._outside: dict[tuple[str, bool], Key | None] = {}
        self._present = Interval(now - now % INTERVAL)
        self._finished: Interval | None = None
        self._series: dict[Key, Series] = {}

    def rename(self, names: MetricNames) -> None:
        """Record under other names from now on; what was recorded stays under the old ones until it is stale."""
        self._names = names
        self._outside.clear()

    def set_gauge(self, name: str, value: float, now: float, labels: Labels = ()) -> None:
        """Record the present value of something."""
        key = self._called(name, labels, gauge=True)
        if key is None:
            return
        series = self._touch(key, "gauge", value, now)
        if series is not None:
            series.total = value
            self._at(now).gauges[key] = value

    def increment(self, name: str, now: float, by: float = 1.0, labels: Labels = ()) -> None:
        """Count ``by`` more of something."""
        key = self._called(name, labels, gauge=False)
        if key is None:
            return
        series = self._touch(key, "counter", by, now)
        if series is not None:
            series.total += by
            _aggregate(self._at(now).counters, key).add(by)

    def add_sample(self, name: str, value: float, now: float, labels: Labels = ()) -> None:
        """Record one observation; durations are in milliseconds, as Consul's are."""
        key = self._called(name, labels, gauge=False)
        if key is None:
            return
        series = self._touch(key, "sample", value, now)
        if series is not None:
            series.count += 1
            series.total += value
            series.recent.append(value)
            _aggregate(self._at(now).samples, key).add(value)

    def latest(self, now: float) -> Interval:
        """The last finished interval, or the present one while it is the first."""
        present = self._at(now)
        return self._finished if self._finished is not None else present

    def live_series(self, now: float, retention: float) -> Iterator[tuple[Key, Series]]:
        """Series that changed within the last ``retention`` seconds, sorted by name."""
        for key in sorted(self._series):
            if now - self._series[key].updated <= retention:
                yield key, self._series[key]

    def _called(self, name: str, labels: Labels, *, gauge: bool) -> Key | None:
        try:
            known = self._outside[name, gauge]
        except KeyError:
            outside = self._names.outside(name, gauge=gauge)
            known = Key(outside) if outside is not None else None
            if len(self._outside) < MAX_SERIES:
                self._outside[name, gauge] = known
        return known if known is None or not labels else Key(known.name, labels)

    def _touch(self, key: Key, kind: str, value: float, now: float) -> Series | None:
        if not math.isfinite(value):
            self.dropped += 1
            return None
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MAX_SERIES:
                self.dropped += 1
                return None
            series = self._series[key] = Series(kind)
        elif series.kind != kind:
            self.dropped += 1
            return None
        series.updated = now
        return series

    def _at(self, now: float) -> Interval:
        start = now - now % INTERVAL
        if start > self._present.start:
            # An interval in which nothing was recorded is finished too: it was empty.
            idle = start - self._present.start >= 2 * INTERVAL
            gauges = dict(self._present.gauges)
            self._finished = Interval(start - INTERVAL, gauges) if idle else self._present
            self._present = Interval(start, dict(gauges))
        return self._present


def _aggregate(table: dict[Key, Aggregate], key: Key) -> Aggregate:
    found = table.get(key)
    if found is None:
        found = table[key] = Aggregate()
    return found
