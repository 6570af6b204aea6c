"""The settings of the DNS interface: ``dns_config``, ``domain``, ``recursors``. Source: Consul 1.2.3 and later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshnode.base.address import Address

__all__ = ["MAX_TTL", "DnsConfig", "SoaTimes", "ttl_seconds"]

#: RFC 2181 8: a TTL has 31 bits.
MAX_TTL: Final = 0x7FFFFFFF
_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class SoaTimes:
    """``dns_config.soa``, whole seconds."""

    refresh: int = 3600
    retry: int = 600
    expire: int = 86400
    min_ttl: int = 0


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """One frozen object for the whole interface; durations in seconds.

    ``service_ttl`` has names, and prefixes that end in ``*``: the name itself wins, then the longest prefix.
    ``recursors`` are tried in order, or in any with ``recursor_strategy`` ``random``. ``udp_answer_limit`` is for
    UDP without EDNS, ``a_record_limit`` (0: none) for A, AAAA and ANY whatever the transport.
    """

    datacenter: str = "dc1"
    domain: str = "consul."
    alt_domain: str = ""
    allow_stale: bool = True
    max_stale: float = 87600 * 3600.0
    node_ttl: float = 0.0
    service_ttl: Mapping[str, float] = field(default_factory=dict)
    only_passing: bool = False
    enable_truncate: bool = False
    udp_answer_limit: int = 3
    a_record_limit: int = 0
    disable_compression: bool = False
    node_meta_txt: bool = True
    soa: SoaTimes = SoaTimes()
    recursors: tuple[Address, ...] = ()
    recursor_timeout: float = 2.0
    recursor_strategy: str = "sequential"
    translate_wan_addrs: bool = False

    def ttl_of(self, service: str) -> int:
        """Seconds that records of ``service`` may be kept; 0 when nothing says."""
        service = service.lower()
        best, found = -1, 0.0
        for rule, ttl in self.service_ttl.items():
            rule = rule.lower()
            if rule == service:
                return ttl_seconds(ttl)
            if rule.endswith(_ANY) and service.startswith(rule[:-1]) and len(rule) > best:
                best, found = len(rule), ttl
        return ttl_seconds(found)


def ttl_seconds(ttl: float) -> int:
    """A duration as DNS carries it: whole seconds, rounded down, never negative."""
    return min(MAX_TTL, max(0, int(ttl)))
