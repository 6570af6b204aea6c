"""``translate_wan_addrs``: for another datacenter, nodes are shown with the address that is reached from outside.

Source: Consul 1.2.3, agent/http.go ``translateAddresses``; the header tells that it is on, whatever was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.http.context import Context
from meshnode.http.message import Headers, Request

__all__ = ["TRANSLATED", "translated"]

#: The header of every answer that may hold translated addresses.
TRANSLATED: Final[Headers] = (("X-Consul-Translate-Addresses", "true"),)
_WAN: Final = "wan"


def translated(context: Context, request: Request, rows: Any) -> Any:
    """``rows`` (nodes, or structs with a node in them) as a client of this datacenter should see them."""
    if not context.view.settings.translate_wan_addrs or not request.raw_query:
        return rows
    datacenter = request.query.get("dc")
    if datacenter in ("", context.view.datacenter) or not isinstance(rows, list):
        return rows
    return [_row(row) for row in rows]


def _row(row: Any) -> Any:
    if not isinstance(row, Mapping):
        return row
    node = row.get("Node")
    if isinstance(node, Mapping):
        return {**row, "Node": _row(node)}
    addresses = row.get("TaggedAddresses")
    wan = addresses.get(_WAN) if isinstance(addresses, Mapping) else ""
    return {**row, "Address": wan} if wan else row
