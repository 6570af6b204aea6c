# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations as Consul writes them."""

from __future__ import annotations

import re

from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApiError

__all__ = ["parse_duration"]

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str, option: str, least: float = 0.0, most: float = float("inf")) -> float:
    """Seconds of C(1h30m), C(15s), C(500ms) or of a number without a unit; raises :class:`MeshApiError`."""
    stripped = text.strip()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", stripped):
        seconds = float(stripped)
    elif len(stripped) <= 64 and re.fullmatch(rf"(?:{_PART.pattern})+", stripped):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(stripped))
    else:
        raise MeshApiError(f"{option}: {text[:64]!r} is not a duration: write one such as 15s, 10m or 1h30m")
    if not least <= seconds <= most:
        bounds = f"from {least:g}s to {most:g}s" if most < float("inf") else f"of {least:g}s or more"
        raise MeshApiError(f"{option}: {text} is out of range: write a duration {bounds}")
    return seconds
