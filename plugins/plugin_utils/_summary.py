# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The final table as values and lines: nothing here knows about Ansible's callbacks or a terminal."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: What set_stats may say about a node, and the column's title.
FIELDS = {
    "role": "role",
    "datacenter": "datacenter",
    "state": "state",
    "address": "address",
    "log": "log",
    "services": "services",
    "encrypted": "encrypted",
    "gossip_key": "gossip key",
    "certificate_expires": "certificate until",
}
#: A longer value is cut: a table is read at a glance.
MAX_CELL_CHARS = 40
HIDDEN = "(hidden)"

#: Bytes of a gossip key, AES-128 to AES-256 (memberlist keyring).
_KEY_SIZES = frozenset({16, 24, 32})
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Run:
    """What one host did in this run: changed tasks, seconds spent, and failed, unreachable or ""."""

    changed: int = 0
    seconds: float = 0.0
    trouble: str = ""


def cell(value: object) -> str:
    """The value as it may be shown: one line, short, and never what could be a key, a token or a PEM block."""
    text = _UNPRINTABLE.sub(" ", str(value)).strip()
    if not text:
        return "-"
    if "PRIVATE KEY" in text or "BEGIN " in text or _UUID.search(text) or _is_key(text):
        return HIDDEN
    return text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 3] + "..."


def _is_key(text: str) -> bool:
    """Whether the text is a gossip key in base64. A fingerprint is shorter, or hexadecimal with colons or a prefix."""
    for word in re.split(r"[\s,;:=]+", text) + text.split():
        padded = word if word.endswith("=") else word + "=" * (-len(word) % 4)
        try:
            raw = base64.b64decode(padded, validate=True)
        except (binascii.Error, ValueError):
            continue
        if len(raw) in _KEY_SIZES and len(word) >= 22:
            return True
    return False


def collect(custom: Mapping[str, Any]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Rows by node, and the next commands, from Ansible's custom stats.

    Accepts {"_run": {"mesh_summary": {node: row}, "mesh_next": [line]}}, as set_stats leaves it by default, and
    {host: {"mesh_summary": row}}, as it does with per_host. A later value wins over an earlier one.
    """
    rows: dict[str, dict[str, str]] = {}
    whole = custom.get("_run") or {}
    sources = [whole.get("mesh_summary") or {}]
    sources += [{host: data.get("mesh_summary") or {}} for host, data in custom.items() if host != "_run"]
    for source in sources:
        for node, row in source.items():
            if isinstance(row, Mapping) and row:
                shown = {key: cell(value) for key, value in row.items() if key in FIELDS}
                rows.setdefault(str(node), {}).update(shown)
    return rows, lines_of(custom, "mesh_next")


def lines_of(custom: Mapping[str, Any], name: str) -> list[str]:
    """The lines that set_stats left under C(name), each once and printable."""
    lines = (custom.get("_run") or {}).get(name) or []
    return list(dict.fromkeys(_UNPRINTABLE.sub(" ", str(line)).strip() for line in lines))


def table(rows: Mapping[str, Mapping[str, str]], runs: Mapping[str, Run]) -> list[str]:
    """The lines of the table, servers first; a column that nobody filled is left out."""
    if not rows:
        return []
    used = [key for key in FIELDS if any(row.get(key, "-") != "-" for row in rows.values())]
    lines = [["node", *(FIELDS[key] for key in used), "changed", "time"]]
    for node in sorted(rows, key=lambda name: (rows[name].get("role") != "server", _natural(name))):
        run = runs.get(node, Run())
        row = {**rows[node], **({"state": run.trouble} if run.trouble else {})}
        lines.append(
            [node, *(row.get(key, "-") for key in used), str(run.changed or "no"), _seconds(run.seconds)]
        )
    return aligned(lines)


def aligned(lines: Iterable[Iterable[str]]) -> list[str]:
    """Columns under each other, two spaces apart."""
    grid = [list(line) for line in lines]
    widths = [max(len(line[column]) for line in grid) for column in range(len(grid[0]))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in grid
    ]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """server2 before server10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds else "-"
