"""``translate_wan_addrs``: for another datacenter, nodes and services are shown with their address from outside.

Source: Consul 1.2.3, agent/http.go ``translateAddresses``, and 1.6 for services; the header tells that it is on,
whatever was asked.
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
        service = row.get("Service")
        shown = {"Service": {**service, **_service(service, "")}} if isinstance(service, Mapping) else {}
        return {**row, "Node": _row(node), **shown}
    addresses = row.get("TaggedAddresses")
    wan = addresses.get(_WAN) if isinstance(addresses, Mapping) else ""
    return {**row, **({"Address": wan} if wan else {}), **_service(row, "Service")}


def _service(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Address and port of the service in ``row`` as they are outside; nothing when they are no others."""
    ways = row.get(f"{prefix}TaggedAddresses")
    wan = ways.get(_WAN) if isinstance(ways, Mapping) else None
    if not isinstance(wan, Mapping) or not wan.get("Address"):
        return {}
    found = {f"{prefix}Address": wan["Address"]}
    return found | ({f"{prefix}Port": wan["Port"]} if wan.get("Port") else {})
