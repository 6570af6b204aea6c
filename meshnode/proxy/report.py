"""What a proxy tells about itself: the body of its report to the agent, of one process or of several.

Field names are those of ``PUT /v1/agent/connect/report/:id``. Ages are in seconds, so that no two clocks are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import DecisionCache
from meshnode.proxy.ledger import MAX_CLOSED, MAX_REFUSED, Connection, Direction, Ledger, Refused

__all__ = [
    "MAX_DECISIONS",
    "MAX_LIVE",
    "closed_body",
    "connection_body",
    "decisions_body",
    "ledger_body",
    "ledger_counters",
    "merge",
    "refused_body",
    "report_body",
    "substance",
]

#: Live connections in one report, the newest, as many as an agent keeps; the counters know of all.
MAX_LIVE: Final = 4096
#: Decisions in one report, those used last.
MAX_DECISIONS: Final = 256
#: Words of Consul's metrics.
_DIRECTIONS: Final[tuple[tuple[str, Direction], ...]] = (("inbound", "inbound"), ("upstream", "outbound"))


def connection_body(entry: Connection, now: float) -> dict[str, Any]:
    """A live connection; bytes as seen from the mesh's side of this proxy."""
    return {
        "ID": entry.id,
        "Direction": entry.direction,
        "Listener": entry.listener,
        "Source": entry.source,
        "Destination": entry.destination,
        "Serial": entry.serial,
        "Peer": entry.peer,
        "Local": entry.local,
        "Rule": entry.rule,
        "Because": entry.because,
        "Audited": entry.audited,
        "Age": _seconds((now if entry.until is None else entry.until) - entry.since),
        "BytesIn": entry.received,
        "BytesOut": entry.sent,
        "CloseCause": entry.close_cause,
    }


def closed_body(entry: Connection, now: float) -> dict[str, Any]:
    """One that has ended: ``Age`` is how long it lived, ``EndedAgo`` how long ago that was."""
    return {**connection_body(entry, now), "EndedAgo": _seconds(now - (entry.until or now))}


def refused_body(entry: Refused, now: float) -> dict[str, Any]:
    """One that was not let through; ``Connection`` is the one that a refused ``Request`` came over, else 0."""
    return {
        "ID": entry.id,
        "Listener": entry.listener,
        "Source": entry.source,
        "Peer": entry.peer,
        "Kind": entry.kind,
        "Rule": entry.rule,
        "Because": entry.because,
        "Request": entry.request,
        "Connection": entry.connection,
        "Ago": _seconds(now - entry.at),
    }


def ledger_body(ledger: Ledger, now: float) -> dict[str, Any]:
    """``Connections``, ``Closed`` and ``Refused`` of one process, each oldest first."""
    return {
        "Connections": [connection_body(entry, now) for entry in ledger.newest(MAX_LIVE)],
        "Closed": [closed_body(entry, now) for entry in ledger.closed],
        "Refused": [refused_body(entry, now) for entry in ledger.refused],
    }


def decisions_body(cache: DecisionCache, now: float) -> list[dict[str, Any]]:
    """What is remembered of sources, used longest ago first. ``Fresh``: it is used without asking the agent.

    ``PerRequest``: requests are decided one by one, by the same intention.
    """
    return [
        {
            "Source": source,
            "Serial": serial,
            "Allowed": decision.allowed,
            "PerRequest": decision.requests is not None,
            "Rule": decision.rule,
            "Because": decision.because,
            "Age": _seconds(age),
            "Fresh": fresh,
        }
        for (source, serial), decision, age, fresh in cache.known(now, MAX_DECISIONS)
    ]


def ledger_counters(ledger: Ledger) -> dict[str, int]:
    """What the metrics show: names as Consul's (``inbound.conns``, ``upstream.rx_bytes``).

    ``rx`` is what came from the mesh's side, ``tx`` what went there.
    """
    found = {}
    for name, direction in _DIRECTIONS:
        totals = ledger.totals(direction)
        found[f"{name}.conns"] = totals.opened - totals.closed
        found[f"{name}.conns_total"] = totals.opened
        found[f"{name}.rx_bytes"] = totals.received
        found[f"{name}.tx_bytes"] = totals.sent
    return found


def report_body(
    identity: Identity,
    *,
    service: str,
    roots: Sequence[str],
    listeners: Iterable[tuple[str, str]],
    pid: int,
    counters: Mapping[str, int],
    ledger: Ledger,
    decisions: DecisionCache,
    now: float,
) -> dict[str, Any]:
    """The whole report of one process that stands for ``service`` as ``identity``; ``listeners``: name and address."""
    return {
        "Service": service,
        "Identity": identity.uri,
        "Serial": identity.serial,
        "Roots": list(roots),
        "Listeners": [
            {"Name": name, "Address": address, "Serial": identity.serial} for name, address in listeners
        ],
        "Pid": pid,
        "Counters": dict(counters),
        "Decisions": decisions_body(decisions, now),
        **ledger_body(ledger, now),
    }


def merge(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One report of several processes' that share a proxy's ports; the latest events stay within the bounds.

    Identity, serial and roots are the first one's: all follow the same agent. Listeners that present another
    certificate than the first's are there too.
    """
    if not reports:
        return {}
    counters: Counter[str] = Counter()
    listeners: dict[tuple[tuple[str, Any], ...], dict[str, Any]] = {}
    for report in reports:
        counters.update(report["Counters"])
        listeners |= {tuple(sorted(item.items())): item for item in report["Listeners"]}
    return {
        **reports[0],
        "Listeners": list(listeners.values()),
        "Counters": dict(counters),
        "Connections": _latest(reports, "Connections", "Age", MAX_LIVE),
        "Closed": _latest(reports, "Closed", "EndedAgo", MAX_CLOSED),
        "Refused": _latest(reports, "Refused", "Ago", MAX_REFUSED),
        "Decisions": _latest(reports, "Decisions", "Age", MAX_DECISIONS),
    }


def substance(report: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two reports differ in when something happened: not ages, bytes and counters."""
    return (
        *(report.get(name) for name in ("Service", "Identity", "Serial", "Roots", "Listeners")),
        *([item["ID"] for item in report.get(name, ())] for name in ("Connections", "Closed", "Refused")),
    )


def _latest(reports: Iterable[Mapping[str, Any]], name: str, age: str, most: int) -> list[dict[str, Any]]:
    entries = sorted((item for report in reports for item in report[name]), key=lambda item: -item[age])
    return entries[-most:]


def _seconds(value: float) -> float:
    return round(max(0.0, value), 3)
