"""Transport addresses as values: an IP address (never a name) and a port."""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

from meshnode.base.errors import ConfigError, MeshError

__all__ = ["MAX_SOCKET_PATH_BYTES", "Address", "is_ip_address", "parse_ip_address", "split_host_port"]

#: What fits into ``sockaddr_un`` of Linux with the zero at its end.
MAX_SOCKET_PATH_BYTES: Final = 107


class Address(NamedTuple):
    """An IP address in its canonical text form and a port, 0-65535."""

    host: str
    port: int

    def __str__(self) -> str:
        """``1.2.3.4:8301`` or ``[::1]:8301`` (RFC 3986 3.2.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Address:
        """Read ``host:port``, ``[v6]:port`` or, with ``default_port``, a bare IP address.

        Raises :class:`MeshError` naming ``text`` when it is none of these.
        """
        host, port = split_host_port(text)
        if port is None:
            port = default_port
        if port is None:
            raise MeshError(f"address {text!r} has no port: write it as host:port")
        try:
            return cls(str(ipaddress.ip_address(host)), port)
        except ValueError:
            raise MeshError(f"address {text!r} is not an IP address with an optional port") from None


def is_ip_address(text: str) -> bool:
    """Whether ``text`` is an IP address and no name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def parse_ip_address(text: str, where: str) -> str:
    """The canonical form of an IP address; raises :class:`ConfigError` naming ``where`` for anything else."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is not an IP address") from None


def split_host_port(text: str) -> tuple[str, int | None]:
    """Split ``name:port``, ``[v6]:port``, or a bare name or address; the port is ``None`` when absent.

    Raises :class:`MeshError` when the port is not a number from 0 to 65535.
    """
    host, port_text = text, ""
    if text.startswith("["):
        closing = text.find("]")
        if closing < 0:
            raise MeshError(f"address {text!r} opens a bracket that it never closes")
        host, rest = text[1:closing], text[closing + 1 :]
        if rest and not rest.startswith(":"):
            raise MeshError(f"address {text!r} has {rest!r} where a port should be")
        port_text = rest[1:]
    elif text.count(":") == 1:
        host, port_text = text.split(":")
    if not port_text:
        return host, None
    if not (port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535):
        raise MeshError(f"address {text!r} has port {port_text!r}: ports are numbers from 0 to 65535")
    return host, int(port_text)
