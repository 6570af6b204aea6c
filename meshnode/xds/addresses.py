"""Addresses in Envoy's words."""

from __future__ import annotations

from typing import Any

from meshnode.proxy.config import Endpoint
from meshnode.xds.schema import message

__all__ = ["address", "socket_address"]


def address(endpoint: Endpoint) -> Any:
    """An ``Address``: of a socket or of a pipe."""
    if endpoint.path:
        return message("config.core.v3.Address")(pipe={"path": endpoint.path})
    return socket_address(endpoint.host, endpoint.port)


def socket_address(host: str, port: int) -> Any:
    """An ``Address`` of a socket; a name of a host is resolved by clusters that do so."""
    return message("config.core.v3.Address")(socket_address={"address": host, "port_value": port})
