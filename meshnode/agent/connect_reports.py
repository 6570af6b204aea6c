"""What the proxies of this node report, for as long as they do: who is connected to whom, by which certificate.

In: reports, and a monotonic clock. Out: the reports of proxies that are there, what they serve, and metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from meshnode.base.metrics import Metrics
from meshnode.http.errors import HttpError
from meshnode.http.proxy_report import ProxyReport

__all__ = ["FORGOTTEN_AFTER", "MAX_ENTRIES", "MAX_PROXIES", "ConnectReports"]

#: Seconds without a report after which a proxy is not there any more.
FORGOTTEN_AFTER: Final = 15.0
#: Proxies whose reports are kept.
MAX_PROXIES: Final = 512
#: Rows of all reports together; a report past it is kept without the connections that there is no room for.
MAX_ENTRIES: Final = 65_536
#: Seconds for which the counters of a silent proxy are remembered, so that nothing is counted twice when it is back.
REMEMBERED: Final = 3600.0


@dataclass(slots=True)
class _Known:
    report: ProxyReport
    at: float


class ConnectReports:
    """``clock`` is monotonic seconds; counters go to ``metrics`` as ``consul.proxy.<service>.<counter>``."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics: Final = metrics
        self._clock: Final = clock
        self._known: dict[str, _Known] = {}

    def take(self, report: ProxyReport) -> bool:
        """Keep ``report`` in place of the last one of this proxy; whether it has begun to listen since then.

        Raises :class:`HttpError` 400 when a living proxy of another service has this id, 429 when there are too many.
        """
        now = self._clock()
        self._forget(now)
        key = report.proxy_id.lower()
        known = self._known.get(key)
        if known is not None and known.report.service != report.service:
            if now - known.at <= FORGOTTEN_AFTER:
                raise HttpError(
                    400,
                    f'Service: a proxy of "{known.report.service}" reports as {report.proxy_id}: take another id',
                )
            known = None
        if known is None and len(self._known) >= MAX_PROXIES and not self._drop_silent(now):
            raise HttpError(429, f"this agent keeps the reports of {MAX_PROXIES} proxies at most")
        self._count(known.report if known is not None else None, report, now)
        others = sum(one.report.entries for name, one in self._known.items() if name != key)
        self._known[key] = _Known(_fitting(report, MAX_ENTRIES - others), now)
        before = known.report if known is not None and known.report.pid == report.pid else None
        return bool(report.listeners) and not (before is not None and before.listeners)

    def live(self) -> list[tuple[ProxyReport, float]]:
        """The proxies that are there, by id, and how many seconds ago each one reported."""
        now = self._clock()
        self._forget(now)
        return [
            (one.report, now - one.at)
            for _, one in sorted(self._known.items())
            if now - one.at <= FORGOTTEN_AFTER
        ]

    def served(self) -> dict[str, dict[str, str]]:
        """Service -> ``<proxy id>/<listener>`` -> serial number of the certificate that it presents."""
        found: dict[str, dict[str, str]] = {}
        for report, _ in self.live():
            for listener in report.listeners:
                if listener["Serial"]:
                    name = f"{report.proxy_id}/{listener['Name']}"
                    found.setdefault(report.service, {})[name] = listener["Serial"]
        return found

    def _forget(self, now: float) -> None:
        """Let go of what silent proxies held, and of the longest silent ones altogether."""
        for key, one in list(self._known.items()):
            silence = now - one.at
            if silence > REMEMBERED:
                del self._known[key]
            elif silence > FORGOTTEN_AFTER and (one.report.entries or one.report.listeners):
                one.report = replace(
                    one.report, listeners=(), connections=(), closed=(), refused=(), decisions=()
                )

    def _drop_silent(self, now: float) -> bool:
        silent = [key for key, one in self._known.items() if now - one.at > FORGOTTEN_AFTER]
        if silent:
            del self._known[min(silent, key=lambda key: self._known[key].at)]
        return bool(silent)

    def _count(self, before: ProxyReport | None, report: ProxyReport, now: float) -> None:
        """Add what the counters have grown by; another process counts from zero."""
        counted = before.counters if before is not None and before.pid == report.pid else {}
        for name, value in report.counters.items():
            grown = value - counted.get(name, 0)
            if grown:
                self._metrics.increment(
                    f"consul.proxy.{report.service}.{name}", now, by=float(grown if grown > 0 else value)
                )


def _fitting(report: ProxyReport, room: int) -> ProxyReport:
    """``report`` with as many rows as there is ``room`` for; live connections go before those that ended."""
    if report.entries <= room:
        return report
    room = max(room, 0)
    connections = report.connections[:room]
    room -= len(connections)
    closed = report.closed[len(report.closed) - min(room, len(report.closed)) :]
    room -= len(closed)
    refused = report.refused[len(report.refused) - min(room, len(report.refused)) :]
    room -= len(refused)
    decisions = report.decisions[len(report.decisions) - min(room, len(report.decisions)) :]
    omitted = report.omitted + len(report.connections) - len(connections)
    kept = replace(report, connections=connections, closed=closed, refused=refused, decisions=decisions)
    return replace(kept, omitted=omitted)
