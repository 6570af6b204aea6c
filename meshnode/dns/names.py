"""What a name asks for: ``[tag.]web.service[.dc].consul`` and the other forms, as values.

Source: Consul's documentation of its DNS interface, 1.2.3 and later; RFC 2782 for ``_web._tcp``. Names are compared
without regard to case, and lookups are in lower case.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.dns.records import MAX_NAME_BYTES, SRV, Name, name_from_text
from meshnode.dns.view import NodeLookup, ServiceLookup

__all__ = [
    "AddressName",
    "Empty",
    "Nothing",
    "Outside",
    "QueryName",
    "Reverse",
    "Target",
    "Zone",
    "address_name",
    "node_name",
    "service_name",
]

_ARPA: Final = (b"arpa",)
_KINDS: Final = frozenset({"service", "connect", "node", "query", "addr"})
#: Between a datacenter and the domain, as later Consul has it: ``web.service.dc1.dc.consul``.
_DATACENTER_MARK: Final = "dc"
#: The longest label that answers put before the domain by themselves.
_LONGEST: Final = b"hostmaster"


@dataclass(frozen=True, slots=True)
class QueryName:
    """``<name or id>.query``."""

    name: str
    datacenter: str


@dataclass(frozen=True, slots=True)
class AddressName:
    """``<hex>.addr``: an address that is its own answer, packed."""

    packed: bytes


@dataclass(frozen=True, slots=True)
class Reverse:
    """A name under ``arpa``; ``address`` is empty when it is no whole address."""

    address: str


@dataclass(frozen=True, slots=True)
class Empty:
    """A name that exists and has no addresses: the domain (``apex``), or one that only has names below it."""

    apex: bool = False


@dataclass(frozen=True, slots=True)
class Nothing:
    """A name under the domain that can't exist."""


@dataclass(frozen=True, slots=True)
class Outside:
    """A name of somebody else's."""


Target = NodeLookup | ServiceLookup | QueryName | AddressName | Reverse | Empty | Nothing | Outside


class Zone:
    """The domains that are answered for."""

    def __init__(self, datacenter: str, *domains: str) -> None:
        """``domains`` are texts such as ``consul.``; empty ones are left out. A bad one is a :class:`MeshError`."""
        self._datacenter = datacenter.lower()
        named = {_lower(name_from_text(domain)) for domain in domains}
        if any(_size((_LONGEST, *domain)) > MAX_NAME_BYTES for domain in named):
            raise MeshError(f"domain: {max(domains, key=len)!r} is too long for names below it: shorten it")
        self._domains: Final = sorted(filter(None, named), key=len, reverse=True)

    def suffix(self, name: Name) -> Name:
        """The domain that ``name`` is in, in the case of ``name``; ``()`` when it is in none."""
        lowered = _lower(name)
        for domain in self._domains:
            if lowered[-len(domain) :] == domain:
                return name[-len(domain) :]
        return ()

    def parse(self, name: Name, kind: int) -> Target:
        """What a question of type ``kind`` about ``name`` asks for."""
        suffix = self.suffix(name)
        if not suffix:
            lowered = _lower(name)
            return Reverse(_reversed_address(lowered)) if lowered[-1:] == _ARPA else Outside()
        try:
            labels = [label.decode("utf-8").lower() for label in name[: -len(suffix)]]
        except UnicodeDecodeError:
            return Nothing()
        if any("." in label for label in labels):
            return Nothing()
        return self._parse(labels, kind) if labels else Empty(apex=True)

    def _parse(self, labels: list[str], kind: int) -> Target:
        datacenter = self._datacenter
        if labels[-1] not in _KINDS and not _is_bare_service(labels, kind):
            if len(labels) > 1 and labels[-1] == _DATACENTER_MARK and labels[-2] not in _KINDS:
                labels = labels[:-1]
            datacenter, labels = labels[-1], labels[:-1]
            if not labels:
                return Empty() if datacenter == self._datacenter else Nothing()
        if _is_bare_service(labels, kind):
            labels = [*labels, "service"]
        form, rest = labels[-1], labels[:-1]
        if form not in _KINDS:
            return Nothing()
        return _FORMS[form](rest, datacenter) if rest else Empty()


def _is_bare_service(labels: list[str], kind: int) -> bool:
    """``_web._tcp.consul``: an SRV question may leave the word ``service`` out."""
    return kind == SRV and bool(labels) and labels[-1].startswith("_")


def _service(labels: list[str], datacenter: str) -> Target:
    if len(labels) == 2 and labels[0].startswith("_") and labels[1].startswith("_"):
        tag = labels[1][1:]
        return ServiceLookup(labels[0][1:], "" if tag == "tcp" else tag, datacenter)
    return ServiceLookup(labels[-1], ".".join(labels[:-1]), datacenter)


def _connect(labels: list[str], datacenter: str) -> Target:
    return ServiceLookup(labels[-1], "", datacenter, connect=True)


def _node(labels: list[str], datacenter: str) -> Target:
    return NodeLookup(".".join(labels), datacenter)


def _query(labels: list[str], datacenter: str) -> Target:
    if len(labels) == 2 and labels[0].startswith("_") and labels[1].startswith("_"):
        return QueryName(labels[0][1:], datacenter)
    return QueryName(".".join(labels), datacenter)


def _address(labels: list[str], _datacenter: str) -> Target:
    text = labels[0]
    if len(labels) != 1 or len(text) not in {8, 32} or any(c not in "0123456789abcdef" for c in text):
        return Nothing()
    return AddressName(bytes.fromhex(text))


_FORMS: Final = {
    "service": _service,
    "connect": _connect,
    "node": _node,
    "query": _query,
    "addr": _address,
}


def node_name(node: str, datacenter: str, suffix: Name) -> Name | None:
    """``<node>.node.<dc>.<domain>``; None when no DNS name can be made of it."""
    return _under(node, b"node", datacenter, suffix)


def service_name(service: str, datacenter: str, suffix: Name) -> Name | None:
    """``<service>.service.<dc>.<domain>``; None when no DNS name can be made of it."""
    return _under(service, b"service", datacenter, suffix)


def address_name(packed: bytes, datacenter: str, suffix: Name) -> Name | None:
    """``<hex>.addr.<dc>.<domain>``: a name for an address that has none."""
    return _under(packed.hex(), b"addr", datacenter, suffix)


def _under(text: str, form: bytes, datacenter: str, suffix: Name) -> Name | None:
    try:
        first, last = name_from_text(text), name_from_text(datacenter)
        name = (*first, form, *last, *suffix)
    except MeshError:
        return None
    return name if first and _size(name) <= MAX_NAME_BYTES else None


def _size(name: Name) -> int:
    return sum(map(len, name)) + len(name) + 1


def _lower(name: Name) -> Name:
    return tuple(label.lower() for label in name)


def _reversed_address(name: Name) -> str:
    labels = [label.decode("latin-1") for label in reversed(name[:-2])]
    try:
        if name[-2] == b"in-addr" and len(labels) == 4:
            return str(ipaddress.IPv4Address(".".join(labels)))
        if name[-2] == b"ip6" and len(labels) == 32 and all(len(label) == 1 for label in labels):
            return str(ipaddress.IPv6Address(bytes.fromhex("".join(labels))))
    except (ValueError, IndexError):
        pass
    return ""
