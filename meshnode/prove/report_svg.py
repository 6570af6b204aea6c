"""Pictures of a report: who spoke with whom, and when. Colours always come with words or a pattern of dashes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from meshnode.prove.flow import Level

__all__ = ["COLOURS", "MAX_DRAWN_NODES", "timeline", "topology", "worst"]

COLOURS: Final[Mapping[str, str]] = {
    Level.PLAINTEXT: "#c62828",
    Level.UNKNOWN: "#b26a00",
    Level.ENCRYPTED: "#1565c0",
    Level.AUTHENTICATED: "#1b7a3d",
    Level.SILENT: "#777777",
}
_DASHES: Final = {Level.PLAINTEXT: "2 4", Level.UNKNOWN: "8 5", Level.ENCRYPTED: "16 3"}
#: From the worst to the best; a picture shows the worst of what it stands for.
_ORDER: Final = tuple(level.value for level in Level)
#: More nodes are no picture any more.
MAX_DRAWN_NODES: Final = 48
_SIZE, _MARGIN = 560, 110


def worst(levels: Sequence[str]) -> str:
    """The worst of several levels; silent when there is none."""
    return min(levels, key=_ORDER.index, default=Level.SILENT.value)


def topology(pairs: Mapping[tuple[str, str], str], names: Mapping[str, str]) -> str:
    """Nodes on a circle with a line for each pair that spoke, in the colour of its worst level."""
    nodes = sorted({host for pair in pairs for host in pair}, key=lambda host: (names.get(host, host), host))
    if not nodes or len(nodes) > MAX_DRAWN_NODES:
        return f"<p>{len(nodes)} nodes: no picture, the matrix has them all.</p>"
    middle, radius = _SIZE / 2, _SIZE / 2 - _MARGIN
    places = {}
    for number, host in enumerate(nodes):
        angle = 2 * math.pi * number / len(nodes) - math.pi / 2
        places[host] = (middle + radius * math.cos(angle), middle + radius * math.sin(angle))
    parts = [
        f'<svg viewBox="0 0 {_SIZE} {_SIZE}" width="{_SIZE}" height="{_SIZE}" role="img" '
        'aria-label="Nodes and the pairs of them that spoke">'
    ]
    for (one, other), level in sorted(pairs.items()):
        (x1, y1), (x2, y2) = places[one], places[other]
        dash = f' stroke-dasharray="{_DASHES[Level(level)]}"' if Level(level) in _DASHES else ""
        title = f"{names.get(one, one)} and {names.get(other, other)}: {level}"
        parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{COLOURS[level]}" '
            f'stroke-width="3"{dash}><title>{escape(title)}</title></line>'
        )
    for host, (x, y) in places.items():
        below = y >= middle
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="#fff" stroke="#333" stroke-width="2"/>')
        for line, text in enumerate(dict.fromkeys((names.get(host, host), host))):
            at = y + (26 if below else -30) + 15 * line
            parts.append(f'<text x="{x:.1f}" y="{at:.1f}" text-anchor="middle">{escape(text[:40])}</text>')
    return "\n".join([*parts, "</svg>"])


def timeline(data: Mapping[str, Any], levels: Mapping[str, str]) -> str:
    """A row of bars for each port, as high as its payload was in that span of time; each row has its own scale."""
    ports: Mapping[str, Sequence[int]] = data["ports"]
    if not ports:
        return "<p>No payload.</p>"
    count = max(len(spans) for spans in ports.values())
    wide, high, left = min(24.0, max(4.0, 720 / max(count, 1))), 34, 70
    width, height = left + wide * count + 110, (high + 10) * len(ports)
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" role="img" '
        'aria-label="Payload of each port over time">'
    ]
    for row, (port, spans) in enumerate(sorted(ports.items(), key=lambda item: int(item[0]))):
        base, most = (row + 1) * (high + 10) - 10, max(spans)
        parts.append(f'<text x="0" y="{base}">{escape(port)}</text>')
        for at, size in enumerate(spans):
            if not size:
                continue
            tall = max(1.0, high * size / most)
            parts.append(
                f'<rect x="{left + at * wide:.1f}" y="{base - tall:.1f}" width="{wide - 1:.1f}" height="{tall:.1f}" '
                f'fill="{COLOURS[levels.get(port, Level.SILENT.value)]}"><title>{size} bytes</title></rect>'
            )
        parts.append(f'<text x="{left + wide * count + 6:.1f}" y="{base}">{most} B at most</text>')
    return "\n".join([*parts, "</svg>"])
