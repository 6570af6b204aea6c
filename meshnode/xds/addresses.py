"""Addresses in Envoy's words, and which texts are ones."""

from __future__ import annotations

import ipaddress
from typing import Any

from meshnode.proxy.config import Endpoint
from meshnode.xds.schema import message

__all__ = ["address", "is_address", "socket_address"]


def address(endpoint: Endpoint) -> Any:
    """An ``Address``: of a socket or of a pipe."""
    if endpoint.path:
        return message("config.core.v3.Address")(pipe={"path": endpoint.path})
    return socket_address(endpoint.host, endpoint.port)


def socket_address(host: str, port: int) -> Any:
    """An ``Address`` of a socket; a name of a host is resolved by clusters that do so."""
    return message("config.core.v3.Address")(socket_address={"address": host, "port_value": port})


def is_address(text: str) -> bool:
    """Whether ``text`` is an IP address and no name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
