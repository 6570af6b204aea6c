"""A verdict document in short, for a page or a program that shows the latest verdict; small enough for one KV value.

Nothing in it is secret: canaries are counts, keys are fingerprints, and no byte of the captures is in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from meshnode.prove.flow import Level

__all__ = ["KV_KEY", "MAX_SUMMARY_BYTES", "SCHEMA", "encode_summary", "summarise"]

SCHEMA: Final = "meshnode.proof/1"
#: Where an agent's page looks for the latest summary.
KV_KEY: Final = "meshnode/proof/latest"
#: The longest summary. A value of the KV store has 512 KiB, and the rest of the request needs some.
MAX_SUMMARY_BYTES: Final = 448 * 1024
#: Ports, reasons and rows that a summary has at most, and the characters of one text.
MAX_PORTS: Final = 64
MAX_REASONS: Final = 32
MAX_ROWS: Final = 1536
MAX_TEXT: Final = 400
_SEEN: Final = 4
_MAX_DETAIL: Final = 120
_ORDER: Final = tuple(level.value for level in Level)


def summarise(
    content: Mapping[str, Any], *, judged_at: datetime, bundle: str = "", manifest_sha256: str = ""
) -> dict[str, Any]:
    """The summary of ``content``, a document of :func:`meshnode.prove.evidence.document` as JSON data.

    ``judged_at`` is aware, in UTC. ``bundle`` is the name of the bundle's file, without its directory, and
    ``manifest_sha256`` what was shown when it was made; without them the summary says that no bundle was kept. Rows
    are the worst first; those that would make it longer than ``MAX_SUMMARY_BYTES`` are left out and counted.
    """
    control = content["control"]
    rows = sorted(_rows(content["verdicts"]), key=_by_level)
    summary = {
        "schema": SCHEMA,
        "outcome": str(content["outcome"]),
        "reasons": _texts(content["reasons"]),
        "judged_at": judged_at.isoformat(timespec="seconds"),
        "captured_at": content["timeline"]["start"],
        "bundle": {"file": bundle[:MAX_TEXT], "manifest_sha256": manifest_sha256} if bundle else None,
        "at_sockets": any(one.get("tapped", False) for one in content["captures"]),
        "canaries": len(content["question"]["canaries"]),
        "control": control and {"outcome": str(control["outcome"]), "reasons": _texts(control["reasons"])},
        "gossip_keys": list(content["gossip_keys"])[:MAX_REASONS],
        "nodes": {},
        "ports": _ports(content["verdicts"], control),
        "rows": [],
        "rows_left_out": 0,
    }
    kept = min(len(rows), MAX_ROWS)
    while True:
        summary |= {"rows": rows[:kept], "rows_left_out": len(rows) - kept}
        summary["nodes"] = _names(rows[:kept], content["question"]["nodes"])
        if len(encode_summary(summary)) <= MAX_SUMMARY_BYTES or not kept:
            return summary
        kept //= 2


def encode_summary(summary: Mapping[str, Any]) -> bytes:
    """The summary as it is stored: JSON without spaces, in UTF-8."""
    return json.dumps(summary, separators=(",", ":")).encode()


def _by_level(row: Mapping[str, Any]) -> tuple[int, int, str, str]:
    return _ORDER.index(row["level"]), row["port"], row["source"], row["destination"]


def _texts(reasons: Sequence[str]) -> list[str]:
    more = len(reasons) - MAX_REASONS
    found = [str(reason)[:MAX_TEXT] for reason in reasons[:MAX_REASONS]]
    return [*found, f"and {more} reasons more"] if more > 0 else found


def _rows(verdicts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    copied = ("source", "destination", "direction", "level", "packets", "payload_bytes", "missing_bytes")
    return [
        {**{key: flow[key] for key in copied}, "port": verdict["port"], "canaries": len(flow["canaries"])}
        for verdict in verdicts
        for flow in verdict["flows"]
        if flow["level"] != Level.SILENT
    ]


def _names(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, str]:
    hosts = {row[end] for row in rows for end in ("source", "destination")}
    return {host: names[host][:MAX_TEXT] for host in sorted(hosts & names.keys())}


def _ports(verdicts: Sequence[Mapping[str, Any]], control: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    twins = {one["port"]: len(one["canaries"]) for one in control["verdicts"]} if control else {}
    copied = ("port", "judgement", "packets", "payload_bytes", "missing_bytes")
    found = []
    for verdict in sorted(verdicts, key=lambda one: (one["judgement"] == "silent", one["port"]))[:MAX_PORTS]:
        levels = [flow["level"] for flow in verdict["flows"]]
        seen = sorted(verdict["findings"], key=lambda one: -one["count"])[:_SEEN]
        found.append(
            {
                **{key: verdict[key] for key in copied},
                "level": min(levels, key=_ORDER.index, default=Level.SILENT.value),
                "canaries": len(verdict["canaries"]),
                "sealed_canaries": len(verdict["sealed_canaries"]),
                "control_canaries": twins.get(verdict["port"], 0) if control else None,
                "seen": [f"{one['count']}x {one['detail']}"[:_MAX_DETAIL] for one in seen],
            }
        )
    return sorted(found, key=lambda one: one["port"])
