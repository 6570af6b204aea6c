"""Nodes and instances as records: which address, which name, which weight.

Source: Consul's documentation of its DNS interface; RFC 2782 (SRV), RFC 1464 (attributes in TXT).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.catalog.health import aggregate
from meshnode.catalog.model import PASSING, WARNING, Instance, Node, Service
from meshnode.dns.config import DnsConfig
from meshnode.dns.names import address_name, node_name
from meshnode.dns.records import (
    AAAA,
    CNAME,
    TYPE_ANY,
    A,
    Address4,
    Address6,
    Data,
    Name,
    Pointer,
    Record,
    ServiceTarget,
    Text,
    name_from_text,
)

__all__ = [
    "Findings",
    "Found",
    "address_data",
    "address_of",
    "addresses",
    "fits",
    "services",
    "text_records",
]

#: Metadata keys that start so are sent as the value alone (Consul's rule).
_VALUE_ALONE: Final = "rfc1035-"
_MAX_STRING_BYTES: Final = 255
#: Longer metadata is cut; the catalog takes no longer keys and values than 128 and 512.
_MAX_TEXT_BYTES: Final = 4096
_MAX_WEIGHT: Final = 0xFFFF
_PRIORITY: Final = 1


@dataclass(frozen=True, slots=True)
class Found:
    """One answer (several records only where a CNAME brings those of its target), and what is added for it."""

    answer: tuple[Record, ...]
    extras: tuple[Record, ...] = ()


@dataclass(slots=True)
class Findings:
    """All answers to one question: ``found`` in any combination, ``aliases`` (CNAME) only alone."""

    found: list[Found] = field(default_factory=list)
    aliases: list[Found] = field(default_factory=list)


def address_data(text: str) -> Address4 | Address6 | None:
    """An address as record data; None when ``text`` is a host name, or nothing."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return Address4(address.packed) if address.version == 4 else Address6(address.packed)


def host_name(text: str) -> Name | None:
    """A configured host name as labels; None when none can be made of it."""
    try:
        return name_from_text(text) or None
    except MeshError:
        return None


def address_of(node: Node, datacenter: str, config: DnsConfig) -> str:
    """The node's address as seen from here: with ``translate_wan_addrs``, the WAN one of other datacenters."""
    if config.translate_wan_addrs and datacenter != config.datacenter:
        return node.tagged_addresses.get("wan") or node.address
    return node.address


def service_address(service: Service, datacenter: str, config: DnsConfig) -> tuple[str, int]:
    """Address (empty: its node's) and port of a service as seen from here; see :func:`address_of`."""
    if config.translate_wan_addrs and datacenter != config.datacenter:
        wan = service.tagged_addresses.get("wan")
        if wan is not None:
            return wan.address, wan.port or service.port
    return service.address, service.port


def fits(data: Data, kind: int) -> bool:
    """Whether an address answers a question of type ``kind``."""
    if isinstance(data, Address4):
        return kind in {A, TYPE_ANY}
    return isinstance(data, Address6) and kind in {AAAA, TYPE_ANY}


def addresses(owner: Name, texts: Iterable[str], kind: int, ttl: int) -> Findings:
    """Each different address once, as A or AAAA records of ``owner``; host names as CNAME."""
    findings = Findings()
    for text in dict.fromkeys(texts):
        data = address_data(text)
        if data is not None:
            if fits(data, kind):
                findings.found.append(Found((Record(owner, ttl, data),)))
        elif kind in {A, AAAA, CNAME, TYPE_ANY} and (target := host_name(text)) is not None:
            findings.aliases.append(Found((Record(owner, ttl, Pointer(CNAME, target)),)))
    return findings


def services(
    owner: Name, instances: Sequence[Instance], datacenter: str, suffix: Name, ttl: int, config: DnsConfig
) -> list[Found]:
    """SRV records of ``owner`` for ``instances``, each with the addresses (or the CNAME) of its target.

    The target is the node's name, or for a service with an address of its own that host name or an ``addr`` name.
    """
    seen: set[tuple[str, str, int]] = set()
    found = []
    for instance in instances:
        node, service = instance.node, instance.service
        address, port = service_address(service, datacenter, config)
        key = (node.name, address, port)
        place = _place(instance, datacenter, suffix, config)
        if key in seen or place is None:
            continue
        seen.add(key)
        target, data = place
        srv = ServiceTarget(_PRIORITY, _weight(instance), port & 0xFFFF, target)
        extras = [] if data is None else [Record(target, ttl, data)]
        if config.node_meta_txt and not address:
            extras += text_records(target, node, ttl)
        found.append(Found((Record(owner, ttl, srv),), tuple(extras)))
    return found


def _place(
    instance: Instance, datacenter: str, suffix: Name, config: DnsConfig
) -> tuple[Name, Data | None] | None:
    own, _ = service_address(instance.service, datacenter, config)
    if own:
        data = address_data(own)
        target = host_name(own) if data is None else address_name(data.packed, datacenter, suffix)
        return None if target is None else (target, data)
    text = address_of(instance.node, datacenter, config)
    data = address_data(text)
    target = node_name(instance.node.name, datacenter, suffix)
    if target is None:
        # No DNS name can be made of the node's: an address name still reaches it.
        target = host_name(text) if data is None else address_name(data.packed, datacenter, suffix)
        return None if target is None else (target, data)
    if data is not None:
        return target, data
    alias = host_name(text)
    return target, None if alias is None else Pointer(CNAME, alias)


def _weight(instance: Instance) -> int:
    weights = instance.service.weights
    weight = {PASSING: weights.passing, WARNING: weights.warning}.get(aggregate(instance.checks), 0)
    return min(_MAX_WEIGHT, max(0, weight))


def text_records(owner: Name, node: Node, ttl: int) -> Iterator[Record]:
    """The node's metadata, a TXT record for each pair."""
    for key, value in sorted(node.meta.items()):
        text = value if key.lower().startswith(_VALUE_ALONE) else f"{_quoted(key)}={value.replace('`', '``')}"
        raw = text.encode("utf-8", "surrogatepass")[:_MAX_TEXT_BYTES]
        pieces = range(0, max(1, len(raw)), _MAX_STRING_BYTES)
        yield Record(owner, ttl, Text(tuple(raw[at : at + _MAX_STRING_BYTES] for at in pieces)))


def _quoted(key: str) -> str:
    """An attribute name with grave accents before what would be misread (RFC 1464 2)."""
    quoted = key.replace("`", "``").replace("=", "`=")
    inner = quoted.strip(" \t")
    start = len(quoted) - len(quoted.lstrip(" \t"))
    before, after = quoted[:start], quoted[start + len(inner) :]
    return "".join(f"`{c}" for c in before) + inner + "".join(f"`{c}" for c in after)
