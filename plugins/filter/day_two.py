# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the procedures that change a running mesh."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.meshnode.lab.plugins.plugin_utils import _summary


def aligned(rows: Iterable[Iterable[object]]) -> list[str]:
    """A line for each row, the columns under each other; what could be a secret is hidden."""
    cells = [[_summary.cell(value) for value in row] for row in rows]
    if not cells:
        return []
    if len({len(row) for row in cells}) > 1:
        raise AnsibleFilterError("aligned: the rows have different lengths: give each the same columns")
    return _summary.aligned(cells)


#: What C(meshnode exposure) says of a door behind which somebody is.
ANSWERED = "answered"


def tls_doors(text: str) -> dict[str, str]:
    """How far TLS is in force on a node, of what C(meshnode exposure -observe -json) printed there.

    C(phase) is silent (nobody answers), clear (HTTPS answers nobody), offered (TLS answers, and so does RPC in clear
    or TLS without a certificate) or required. C(rpc) and C(https) are the ways that are answered, C(http) says where
    plain HTTP is: network, node or off. C(different) is what is not as the configuration says.
    """
    try:
        told = json.loads(text or "{}")
        doors, different = told.get("doors", []), told.get("differences", [])
        answered = [
            (one["door"], one["from"], one["way"])
            for one in doors
            if (one["seen"] or "").startswith(ANSWERED)
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise AnsibleFilterError(
            f"tls_doors: {text[:80]!r} is not what meshnode exposure -observe -json prints"
        ) from None
    rpc, https = (
        list(dict.fromkeys(way for at, _place, way in answered if at == door))
        for door in ("server rpc", "https")
    )
    places = {place for at, place, _way in answered if at == "http"}
    return {
        "phase": _phase(rpc, https) if answered else "silent",
        "rpc": ", ".join(rpc),
        "https": ", ".join(https),
        "http": "network" if "outside" in places else "node" if places else "off",
        "different": "; ".join(map(str, different)),
    }


def _phase(rpc: list[str], https: list[str]) -> str:
    if "mutual TLS" not in https:
        return "clear"
    return "offered" if {"in clear", "TLS"} & {*rpc, *https} else "required"


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"aligned": aligned, "tls_doors": tls_doors}
