"""What a proxy tells its agent about itself: read from a body with every bound, and shown again.

The bounds are per report; texts are cut to theirs, lists too, and what was left out is counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshnode.base.json_fields import json_type
from meshnode.http.body import Fields

__all__ = [
    "MAX_CONNECTIONS",
    "MAX_COUNTERS",
    "MAX_ENDED",
    "MAX_LISTENERS",
    "MAX_REPORT_BYTES",
    "MAX_ROOTS",
    "MAX_TEXT_CHARS",
    "ProxyReport",
    "Row",
    "aged",
    "parse_report",
]

#: A row as it was reported; times are seconds before the report.
Row = Mapping[str, Any]

MAX_REPORT_BYTES: Final = 8 * 1024 * 1024
#: Live connections of one proxy that are kept, the first ones.
MAX_CONNECTIONS: Final = 4096
#: Closed, and refused, connections, and decisions: as many as a proxy tells itself.
MAX_ENDED: Final = 256
MAX_LISTENERS: Final = 256
MAX_ROOTS: Final = 32
MAX_COUNTERS: Final = 64
MAX_TEXT_CHARS: Final = 512
_COUNTER: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DIRECTIONS: Final = ("inbound", "outbound")


@dataclass(frozen=True, slots=True)
class ProxyReport:
    """One report. ``serial`` is that of the certificate it has; each listener names the one that it presents.

    ``omitted`` are live connections that there was no room for.
    """

    proxy_id: str
    service: str
    identity: str
    serial: str
    roots: tuple[str, ...]
    listeners: tuple[Row, ...]
    pid: int
    counters: Mapping[str, int]
    connections: tuple[Row, ...]
    closed: tuple[Row, ...]
    refused: tuple[Row, ...]
    decisions: tuple[Row, ...] = ()
    omitted: int = 0

    @property
    def entries(self) -> int:
        """How many rows it holds, which is what it costs to keep."""
        return len(self.connections) + len(self.closed) + len(self.refused) + len(self.decisions)


def parse_report(proxy_id: str, fields: Fields) -> ProxyReport:
    """The body of ``PUT /v1/agent/connect/report/:proxy_id``. Raises :class:`HttpError` 400 that names the field."""
    service = _text(fields, "Service")
    if not service:
        fields.refuse("Service", "is empty: name the service that the proxy stands for")
    connections = fields.objects("Connections")
    kept = connections[:MAX_CONNECTIONS]
    return ProxyReport(
        proxy_id=proxy_id,
        service=service,
        identity=_text(fields, "Identity"),
        serial=_text(fields, "Serial"),
        roots=tuple(root[:MAX_TEXT_CHARS] for root in fields.strings("Roots")[:MAX_ROOTS]),
        listeners=_rows(fields, "Listeners", _listener, MAX_LISTENERS),
        pid=_count(fields, "Pid"),
        counters=_counters(fields),
        connections=tuple(_connection(row) for row in kept),
        closed=_rows(fields, "Closed", _closed, MAX_ENDED),
        refused=_rows(fields, "Refused", _refused, MAX_ENDED),
        decisions=_rows(fields, "Decisions", _decision, MAX_ENDED),
        omitted=len(connections) - len(kept),
    )


def aged(row: Row, seconds: float) -> dict[str, Any]:
    """``row`` when ``seconds`` have gone by since the report."""
    return {
        name: round(value + seconds, 3) if name in ("Age", "EndedAgo", "Ago") else value
        for name, value in row.items()
    }


def _rows(fields: Fields, name: str, read: Callable[[Fields], Row], most: int) -> tuple[Row, ...]:
    # The last ones are the newest.
    return tuple(read(row) for row in fields.objects(name)[-most:])


def _listener(fields: Fields) -> Row:
    return {name: _text(fields, name) for name in ("Name", "Address", "Serial")}


def _connection(fields: Fields) -> Row:
    direction = fields.text("Direction")
    if direction not in _DIRECTIONS:
        fields.refuse("Direction", f'"{direction[:40]}" can\'t be used: write inbound or outbound')
    texts = ("Listener", "Source", "Destination", "Serial", "Peer", "Local", "Rule", "Because")
    return {
        "ID": _count(fields, "ID"),
        "Direction": direction,
        **{name: _text(fields, name) for name in texts},
        "Audited": fields.boolean("Audited"),
        "Age": _seconds(fields, "Age"),
        "BytesIn": _count(fields, "BytesIn"),
        "BytesOut": _count(fields, "BytesOut"),
        "CloseCause": _text(fields, "CloseCause"),
    }


def _closed(fields: Fields) -> Row:
    return {**_connection(fields), "EndedAgo": _seconds(fields, "EndedAgo")}


def _refused(fields: Fields) -> Row:
    texts = ("Listener", "Source", "Peer", "Kind", "Because", "Rule", "Request")
    row = {"ID": _count(fields, "ID"), **{name: _text(fields, name) for name in texts}}
    return {**row, "Connection": _count(fields, "Connection"), "Ago": _seconds(fields, "Ago")}


def _decision(fields: Fields) -> Row:
    row = {name: _text(fields, name) for name in ("Source", "Serial", "Rule", "Because")}
    flags = {name: fields.boolean(name) for name in ("Allowed", "PerRequest", "Fresh")}
    return {**row, **flags, "Age": _seconds(fields, "Age")}


def _counters(fields: Fields) -> dict[str, int]:
    counters = fields.object("Counters")
    if counters is None:
        return {}
    if len(counters.obj) > MAX_COUNTERS:
        fields.refuse("Counters", f"holds {len(counters.obj)} counters: send at most {MAX_COUNTERS}")
    for name in counters.obj:
        if not _COUNTER.fullmatch(name):
            fields.refuse(
                "Counters", f"{name[:40]!r} is not a name: write 1 to 64 letters, digits, dots, dashes"
            )
    return {name: _count(counters, name) for name in counters.obj}


def _text(fields: Fields, name: str) -> str:
    return fields.text(name)[:MAX_TEXT_CHARS]


def _count(fields: Fields, name: str) -> int:
    value = fields.integer(name)
    if value < 0:
        fields.refuse(name, "can't be negative")
    return value


def _seconds(fields: Fields, name: str) -> float:
    value = fields.value(name)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        fields.refuse(name, f"expected a number of seconds, got {json_type(value)}")
    if not (0 <= value <= 1e12 and math.isfinite(value)):
        fields.refuse(name, "expected seconds, 0 or more")
    return float(value)
