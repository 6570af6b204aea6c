"""What a protection costs, from measurements that were repeated in turn: intervals, ratios, an order of runs.

Repetitions of one mode aren't independent of the machine's mood, so modes take turns: each repetition runs every mode
once, in an order of its own, and modes are compared within repetitions. Intervals are percentile bootstrap intervals of
the median (Efron and Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "CONFIDENCE",
    "METRICS",
    "MIN_REPETITIONS",
    "RESAMPLES",
    "Interval",
    "Metric",
    "intervals",
    "median_interval",
    "percentile",
    "ratios",
    "schedule",
    "tell",
]

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 2000
#: Fewer repetitions have a median and nothing that could be called an interval.
MIN_REPETITIONS: Final = 3


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure: its name as a key, what it is called, its unit, and whether more of it is better."""

    key: str
    title: str
    unit: str
    more_is_better: bool


METRICS: Final = (
    Metric("requests_per_second", "requests a second on kept connections", "1/s", True),
    Metric("p50_ms", "latency (median)", "ms", False),
    Metric("p99_ms", "latency (99th percentile)", "ms", False),
    Metric("handshakes_per_second", "requests a second with a connection each", "1/s", True),
    Metric("megabytes_per_second", "throughput of large answers", "MB/s", True),
    Metric("cpu_ms_per_1000_requests", "processor time of 1 000 requests", "ms", False),
    Metric("cpu_s_per_gib", "processor time of a GiB", "s", False),
    Metric("wire_bytes_per_request", "bytes on the wire of a request", "B", False),
)


@dataclass(frozen=True, slots=True)
class Interval:
    """The median of repetitions and the interval that it is in, with ``CONFIDENCE``; ``count`` repetitions."""

    median: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        """``12.3 (11.8 to 13.0)``."""
        return f"{tell(self.median)} ({tell(self.low)} to {tell(self.high)})"


def tell(value: float) -> str:
    """Three digits that mean something, as people read them."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(digits, 0)}f}".replace(",", " ")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of ``values`` that ``share`` of them do not exceed (nearest rank); ``nan`` for none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median_interval(values: Sequence[float], rng: random.Random, resamples: int = RESAMPLES) -> Interval:
    """The bootstrap interval of the median of ``values``, which are finite and at least one."""
    drawn = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(resamples))
    tail = (1 - CONFIDENCE) / 2
    low, high = percentile(drawn, tail), percentile(drawn, 1 - tail)
    return Interval(statistics.median(values), low, high, len(values))


def intervals(
    samples: Mapping[str, Sequence[Mapping[str, float]]], rng: random.Random
) -> dict[str, dict[str, Interval]]:
    """Mode -> metric -> interval; ``samples`` has the figures of each repetition, and what has none is left out."""
    return {
        mode: {
            metric.key: median_interval(values, rng)
            for metric in METRICS
            if (values := _finite(repetitions, metric.key))
        }
        for mode, repetitions in samples.items()
    }


def ratios(
    samples: Mapping[str, Sequence[Mapping[str, float]]], mode: str, base: str, key: str, rng: random.Random
) -> Interval | None:
    """``mode`` in terms of ``base``, repetition by repetition; ``None`` when no repetition has both."""
    pairs = zip(samples.get(mode, ()), samples.get(base, ()), strict=False)
    found = [one[key] / other[key] for one, other in pairs if _usable(one, key) and _usable(other, key)]
    return median_interval(found, rng) if found else None


def schedule(modes: Sequence[str], repetitions: int, rng: random.Random) -> list[str]:
    """Every mode once in each repetition, each repetition in an order of its own."""
    order: list[str] = []
    for _ in range(repetitions):
        turn = list(modes)
        rng.shuffle(turn)
        order += turn
    return order


def _finite(repetitions: Sequence[Mapping[str, float]], key: str) -> list[float]:
    return [value for one in repetitions if math.isfinite(value := one.get(key, math.nan))]


def _usable(sample: Mapping[str, float], key: str) -> bool:
    return math.isfinite(sample.get(key, math.nan)) and sample[key] > 0
