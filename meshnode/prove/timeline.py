"""When each port spoke: payload per span of time, in at most ``MAX_SPANS`` spans, however long the capture is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["MAX_SPANS", "Timeline"]

MAX_SPANS: Final = 120
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SECONDS: Final = 200_000_000_000


@dataclass(slots=True)
class Timeline:
    """Spans of ``width`` seconds, which doubles when there would be too many."""

    width: int = 1
    spans: dict[int, Counter[int]] = field(default_factory=dict)
    _first: int | None = None
    _last: int = 0

    def add(self, port: int, at: float, count: int) -> None:
        """``count`` bytes of payload were seen on ``port``, at ``at`` seconds since the epoch."""
        span = int(min(max(at, 0.0), _MAX_SECONDS)) // self.width
        known = self.spans.get(span)
        if known is None:
            first = span if self._first is None else min(self._first, span)
            last = span if self._first is None else max(self._last, span)
            self._first, self._last = first, last
            known = self.spans[span] = Counter()
            known[port] += count
            while self._last - self._first >= MAX_SPANS:
                self._double()
            return
        known[port] += count

    def _double(self) -> None:
        merged: dict[int, Counter[int]] = {}
        for span, counts in self.spans.items():
            merged.setdefault(span // 2, Counter()).update(counts)
        self.width *= 2
        self.spans = merged
        self._first, self._last = min(merged), max(merged)

    def as_dict(self) -> dict[str, object]:
        """The spans in order as JSON data, with zeros where nothing was seen."""
        ports = sorted({port for counts in self.spans.values() for port in counts})
        first, last = (self._first or 0, self._last) if self.spans else (0, -1)
        empty: Counter[int] = Counter()
        return {
            "start": (_EPOCH + timedelta(seconds=first * self.width)).isoformat(),
            "width_seconds": self.width,
            "ports": {
                str(port): [self.spans.get(span, empty)[port] for span in range(first, last + 1)]
                for port in ports
            },
        }
