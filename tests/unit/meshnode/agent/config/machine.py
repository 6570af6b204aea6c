"""A machine for the tests: its name, one private address, and an instant."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

from meshnode.agent.config.load import Machine
from meshnode.runtime.interfaces import Interface, Interfaces

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
UP = frozenset({"up", "broadcast", "multicast"})
LOOPBACK = Interface("lo", ipaddress.ip_interface("127.0.0.1/8"), frozenset({"up", "loopback"}))


def interfaces(**addresses: str) -> Interfaces:
    """Loopback, and one address for each name."""
    others = [Interface(name, ipaddress.ip_interface(address), UP) for name, address in addresses.items()]
    return Interfaces((LOOPBACK, *others), next(iter(addresses), ""))


def machine(hostname: str = "web1", at: datetime = AT, **addresses: str) -> Machine:
    found = interfaces(**(addresses or {"eth0": "10.0.0.2/24"}))
    return Machine(hostname, lambda: found, at)
