"""Address blocks by the RFC that reserves them, as go-sockaddr groups them, and Consul's idea of a private address."""

from __future__ import annotations

import ipaddress
from functools import cache
from typing import Final

from meshnode.runtime.interfaces import IpInterface

__all__ = ["CONSUL_PRIVATE", "NOT_FORWARDABLE", "RFCS", "within"]

#: Blocks that a router does not forward (RFC 6890).
NOT_FORWARDABLE: Final = (
    "0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 192.0.0.0/24 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 "
    "255.255.255.255/32 ::1/128 ::/128 ::ffff:0:0/96 2001:db8::/32 2001:10::/28 fe80::/10"
)
#: What Consul counts as private when it looks for an address to advertise.
CONSUL_PRIVATE: Final = (
    "10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.168.0.0/16 "
    "::1/128 fe80::/10 fc00::/7 2001:db8::/32"
)
#: RFC -> its blocks.
RFCS: Final = {
    "919": "255.255.255.255/32",
    "1112": "224.0.0.0/4",
    "1122": "0.0.0.0/8 127.0.0.0/8",
    "1918": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16",
    "2544": "198.18.0.0/15",
    "2765": "::ffff:0:0/96",
    "2928": "2001::/16",
    "3056": "2002::/16",
    "3068": "192.88.99.0/24 2002:c058:6301::/120",
    "3171": "224.0.0.0/4",
    "3330": "0.0.0.0/8 10.0.0.0/8 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.2.0/24 192.88.99.0/24 "
    "192.168.0.0/16 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4",
    "3849": "2001:db8::/32",
    "3927": "169.254.0.0/16",
    "4038": "::ffff:0:0/96",
    "4193": "fc00::/7",
    "4291": "::/128 ::1/128 ::/96 ::ffff:0:0/96 fe80::/10 fec0::/10 ff00::/8",
    "4380": "2001::/32",
    "4773": "2001::/23",
    "4843": "2001:10::/28",
    "5180": "2001:200::/48",
    "5735": "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 198.18.0.0/15",
    "5737": "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24",
    "6052": "64:ff9b::/96",
    "6333": "192.0.0.0/29",
    "6598": "100.64.0.0/10",
    "6666": "100::/64",
    "6890": "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29 "
    "192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 "
    "255.255.255.255/32 ::1/128 ::/128 64:ff9b::/96 ::ffff:0:0/96 100::/64 2001::/16 2002::/16 fc00::/7 fe80::/10",
    "7335": "192.0.0.0/29",
}


def within(address: IpInterface, blocks: str) -> bool:
    """Whether ``address`` lies in one of ``blocks``, networks with spaces between them."""
    return any(block.version == address.version and address.ip in block for block in _parsed(blocks))


@cache
def _parsed(blocks: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(block) for block in blocks.split())
