"""Sockets to listen on; when one can't be had, the reason and the configuration key to change."""

from __future__ import annotations

import errno
import socket

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError

__all__ = ["bound_socket"]


def bound_socket(
    address: Address, kind: socket.SocketKind, *, port_key: str, address_key: str
) -> socket.socket:
    """A socket of ``kind`` (stream or datagram) bound to ``address``, port 0 for any; IPv6 takes no IPv4.

    Raises :class:`ConfigError` naming ``port_key`` or ``address_key``, whichever is to be changed.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    opened: socket.socket | None = None
    try:
        opened = socket.socket(family, kind)
        opened.setblocking(False)
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((address.host, address.port))
    except OSError as error:
        if opened is not None:
            opened.close()
        protocol = "TCP" if kind == socket.SOCK_STREAM else "UDP"
        raise _why_not(address, protocol, port_key, address_key, error) from None
    return opened


def _why_not(address: Address, protocol: str, port_key: str, address_key: str, error: OSError) -> ConfigError:
    port = f"{protocol} port {address.port}"
    reasons = {
        errno.EADDRINUSE: f"{port} is taken by another program: stop it, or change {port_key}",
        errno.EACCES: f"{port} needs root or CAP_NET_BIND_SERVICE: change {port_key} to 1024 or above",
        errno.EADDRNOTAVAIL: f"this machine has no such address: change {address_key} or client_addr",
    }
    reason = reasons.get(error.errno or 0, f"{error.strerror}: change {port_key} or {address_key}")
    key = address_key if error.errno == errno.EADDRNOTAVAIL else port_key
    return ConfigError(f"{key}: can't listen on {address}: {reason}", key=key)
