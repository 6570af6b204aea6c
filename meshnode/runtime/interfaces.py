"""The network interfaces of this machine, as values: read once, when an address has to be worked out."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

__all__ = ["Interface", "Interfaces", "IpInterface", "parse_default_route", "read_interfaces"]

IpInterface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_ROUTES: Final = Path("/proc/net/route")
_ROUTE_UP: Final = 0x1
_FAMILIES: Final = {socket.AF_INET, socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Interface:
    """One address of one network interface; an interface with several addresses is there several times."""

    name: str
    address: IpInterface
    #: ``up``, ``loopback``, ``broadcast``, ``multicast``, ``point-to-point``.
    flags: frozenset[str]

    @property
    def ip(self) -> str:
        """The address in its canonical text form."""
        return str(self.address.ip)


@dataclass(frozen=True, slots=True)
class Interfaces:
    """Every address, in the system's order, and the name of the interface that has the default route."""

    all: tuple[Interface, ...]
    default_name: str = ""


def read_interfaces() -> Interfaces:
    """Ask the operating system."""
    import psutil  # here, since an agent with a fixed bind_addr never needs it

    states = psutil.net_if_stats()
    found: list[Interface] = []
    for name, addresses in psutil.net_if_addrs().items():
        flags = _flags(getattr(states.get(name), "flags", ""))
        found += [
            Interface(name, _address(entry.address, entry.netmask), flags)
            for entry in addresses
            if entry.family in _FAMILIES and entry.address
        ]
    try:
        routes = _ROUTES.read_text()
    except OSError:
        routes = ""
    return Interfaces(tuple(found), parse_default_route(routes))


def parse_default_route(table: str) -> str:
    """Name of the interface that has the default IPv4 route, from ``/proc/net/route``; empty when none has.

    Columns: Iface Destination Gateway Flags RefCnt Use Metric Mask ...; the smallest metric wins (proc(5)).
    """
    routes = [line.split() for line in table.splitlines()[1:]]
    defaults = [
        (int(route[6]), route[0])
        for route in routes
        if len(route) > 7 and route[1] == route[7] == "00000000" and int(route[3], 16) & _ROUTE_UP
    ]
    return min(defaults, default=(0, ""))[1]


def _flags(text: str) -> frozenset[str]:
    words = {"pointopoint": "point-to-point"}
    return frozenset(words.get(word, word) for word in text.split(",") if word)


def _address(address: str, netmask: str | None) -> IpInterface:
    """An address with its network; a scope (``fe80::1%eth0``) is cut off, an absent mask is a single host."""
    bare = ipaddress.ip_address(address.partition("%")[0])
    if not netmask:
        return ipaddress.ip_interface(bare)
    bits = int(ipaddress.ip_address(netmask.partition("/")[0])).bit_count()
    return ipaddress.ip_interface(f"{bare}/{bits}")
