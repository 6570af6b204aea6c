"""The functions of address templates: pure, over a tuple of interfaces. Each gets the machine's interfaces first."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final

from meshnode.agent.config.networks import NOT_FORWARDABLE, RFCS, within
from meshnode.base.errors import ConfigError
from meshnode.runtime.interfaces import Interface, Interfaces

__all__ = [
    "all_interfaces",
    "attr",
    "default_interfaces",
    "exclude",
    "include",
    "interface_ip",
    "interface_ips",
    "join",
    "limit",
    "offset",
    "private_interfaces",
    "private_ip",
    "private_ips",
    "public_interfaces",
    "public_ip",
    "public_ips",
    "sort",
    "unique",
]

Found = tuple[Interface, ...]
MAX_COUNT: Final = 10_000


def all_interfaces(machine: Interfaces) -> Found:
    """Every address."""
    return machine.all


def default_interfaces(machine: Interfaces) -> Found:
    """Addresses of the interface with the default route."""
    return tuple(i for i in machine.all if i.name == machine.default_name)


def private_interfaces(machine: Interfaces) -> Found:
    """Addresses of RFC 6890 that are forwarded, on interfaces that are up; the default route's first."""
    return tuple(i for i in _forwardable(machine) if within(i.address, RFCS["6890"]))


def public_interfaces(machine: Interfaces) -> Found:
    """The same, outside of RFC 6890."""
    return tuple(i for i in _forwardable(machine) if not within(i.address, RFCS["6890"]))


def private_ip(machine: Interfaces) -> str:
    """The first private address."""
    return attr(machine, "address", private_interfaces(machine))


def private_ips(machine: Interfaces) -> str:
    """All of them, with spaces."""
    return join(machine, "address", " ", private_interfaces(machine))


def public_ip(machine: Interfaces) -> str:
    """The first public address."""
    return attr(machine, "address", public_interfaces(machine))


def public_ips(machine: Interfaces) -> str:
    """All of them, with spaces."""
    return join(machine, "address", " ", public_interfaces(machine))


def interface_ip(machine: Interfaces, name: str) -> str:
    """The first address of the interface ``name``, a regular expression; larger networks first."""
    return attr(machine, "address", _of_interface(machine, name))


def interface_ips(machine: Interfaces, name: str) -> str:
    """All of them, with spaces."""
    return join(machine, "address", " ", _of_interface(machine, name))


def include(_: Interfaces, selector: str, value: str, found: Found) -> Found:
    """What ``selector`` finds."""
    test = _selector(selector, value)
    return tuple(i for i in found if test(i))


def exclude(_: Interfaces, selector: str, value: str, found: Found) -> Found:
    """What ``selector`` does not find."""
    test = _selector(selector, value)
    return tuple(i for i in found if not test(i))


def sort(machine: Interfaces, clauses: str, found: Found) -> Found:
    """Sort by ``clauses``, such as ``default,-type,size``; a minus turns one round."""
    keys: dict[str, Callable[[Interface], Any]] = {
        "address": lambda i: (i.address.version, int(i.address.ip)),
        "default": lambda i: i.name != machine.default_name,
        "name": lambda i: i.name,
        "port": lambda i: 0,
        "private": lambda i: not within(i.address, RFCS["6890"]),
        "size": lambda i: i.address.network.prefixlen,
        "type": lambda i: i.address.version,
    }
    result = list(found)
    for clause in reversed([clause.strip().lower() for clause in clauses.split(",")]):
        key = keys.get(clause.lstrip("+-"))
        if key is None:
            raise ConfigError(f"sort: {clause!r} is not known: write some of {', '.join(keys)}")
        result.sort(key=key, reverse=clause.startswith("-"))
    return tuple(result)


def unique(_: Interfaces, selector: str, found: Found) -> Found:
    """Without neighbours that have the same address or name."""
    if selector not in ("address", "name"):
        raise ConfigError(f'unique: {selector!r} is not known: write "address" or "name"')
    kept: list[Interface] = []
    for item in found:
        if not kept or _ATTRIBUTES[selector](kept[-1]) != _ATTRIBUTES[selector](item):
            kept.append(item)
    return tuple(kept)


def limit(_: Interfaces, count: str, found: Found) -> Found:
    """The first ``count``."""
    return found[: _count("limit", count, 0)]


def offset(_: Interfaces, count: str, found: Found) -> Found:
    """What follows the first ``count``; a negative number counts from the end."""
    number = _count("offset", count, -MAX_COUNT)
    if abs(number) > len(found):
        raise ConfigError(f"offset: {number} is more than the {len(found)} interfaces")
    return found[number:]


def join(_: Interfaces, attribute: str, separator: str, found: Found) -> str:
    """``attribute`` of each, with ``separator`` between them."""
    return separator.join(_attribute(attribute, item) for item in found)


def attr(_: Interfaces, attribute: str, found: Found) -> str:
    """``attribute`` of the first; empty when there is none."""
    return _attribute(attribute, found[0]) if found else ""


def _forwardable(machine: Interfaces) -> Found:
    up = tuple(i for i in machine.all if "up" in i.flags and not within(i.address, NOT_FORWARDABLE))
    return sort(machine, "default,type,size", up)


def _of_interface(machine: Interfaces, name: str) -> Found:
    return sort(machine, "type,size", include(machine, "name", name, machine.all))


def _count(function: str, text: str, least: int) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,5}", text) or not least <= int(text) <= MAX_COUNT:
        raise ConfigError(f"{function}: {text!r} is not a count")
    return int(text)


def _selector(selector: str, value: str) -> Callable[[Interface], bool]:
    match selector.lower():
        case "name":
            pattern = _pattern(value)
            return lambda i: pattern.search(i.name) is not None
        case "address":
            pattern = _pattern(value)
            return lambda i: pattern.search(_string(i)) is not None
        case "network":
            blocks = _networks(value)
            return lambda i: within(i.address, blocks)
        case "rfc" | "rfcs":
            blocks = " ".join(_rfc(number) for number in value.split("|"))
            return lambda i: within(i.address, blocks)
        case "type":
            return _type(value)
        case "flag" | "flags":
            return _flag(value)
        case "size":
            return lambda i: str(i.address.network.prefixlen) == value
        case "port":
            return lambda i: value == "0"
    known = "address, flags, name, network, port, rfc, size, type"
    raise ConfigError(f"{selector!r} is not a selector: write one of {known}")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(f"{text!r} is not a regular expression: {error}") from None


def _networks(text: str) -> str:
    try:
        return " ".join(str(ipaddress.ip_network(block, strict=False)) for block in text.split("|"))
    except ValueError as error:
        raise ConfigError(f"network: {error}") from None


def _rfc(number: str) -> str:
    blocks = RFCS.get(number)
    if blocks is None:
        raise ConfigError(f"rfc: {number!r} reserves no addresses: known are {', '.join(RFCS)}")
    return blocks


def _type(text: str) -> Callable[[Interface], bool]:
    versions: dict[str, set[int]] = {"ip": {4, 6}, "ipv4": {4}, "ipv6": {6}, "unix": set()}
    wanted: set[int] = set()
    for name in text.lower().split("|"):
        if name not in versions:
            raise ConfigError(f"type: {name!r} is not known: write {', '.join(versions)}")
        wanted |= versions[name]
    return lambda i: i.address.version in wanted


def _flag(text: str) -> Callable[[Interface], bool]:
    """Flags of the interface must all be there; properties of the address find it by any one (as in go-sockaddr)."""
    words = text.lower().split("|")
    unknown = [word for word in words if word not in _INTERFACE_FLAGS and word not in _ADDRESS_FLAGS]
    if unknown:
        known = ", ".join(sorted(_INTERFACE_FLAGS | set(_ADDRESS_FLAGS)))
        raise ConfigError(f"flags: {unknown[0]!r} is not known: write some of {known}")
    flags = [word for word in words if word in _INTERFACE_FLAGS]
    properties = [_ADDRESS_FLAGS[word] for word in words if word in _ADDRESS_FLAGS]

    def test(item: Interface) -> bool:
        has_flags = bool(flags) and all(
            (w in item.flags) if w != "down" else "up" not in item.flags for w in flags
        )
        return has_flags or any(holds(item) for holds in properties)

    return test


_INTERFACE_FLAGS: Final = frozenset({"broadcast", "down", "loopback", "multicast", "point-to-point", "up"})
_ADDRESS_FLAGS: Final[dict[str, Callable[[Interface], bool]]] = {
    "forwardable": lambda i: not within(i.address, NOT_FORWARDABLE),
    "global unicast": lambda i: (
        not (
            i.address.ip.is_unspecified
            or i.address.ip.is_loopback
            or i.address.ip.is_multicast
            or i.address.ip.is_link_local
        )
    ),
    "interface-local multicast": lambda i: within(i.address, "ff01::/16"),
    "link-local multicast": lambda i: within(i.address, "224.0.0.0/24 ff02::/16"),
    "link-local unicast": lambda i: i.address.ip.is_link_local,
    "loopback": lambda i: i.address.ip.is_loopback,
    "multicast": lambda i: i.address.ip.is_multicast,
    "unspecified": lambda i: i.address.ip.is_unspecified,
}


def _string(item: Interface) -> str:
    is_host = item.address.network.prefixlen == item.address.max_prefixlen
    return item.ip if is_host else f"{item.ip}/{item.address.network.prefixlen}"


def _usable(item: Interface, index: int) -> str:
    network = item.address.network
    inset = 1 if network.version == 4 and network.prefixlen < 31 else 0
    return str(network[inset] if index == 0 else network[-1 - inset])


_ATTRIBUTES: Final[dict[str, Callable[[Interface], str]]] = {
    "address": lambda i: i.ip,
    "broadcast": lambda i: str(i.address.network.broadcast_address) if i.address.version == 4 else "",
    "first_usable": lambda i: _usable(i, 0),
    "flags": lambda i: "|".join(sorted(i.flags)),
    "hex": lambda i: i.address.ip.packed.hex(),
    "host": lambda i: i.ip,
    "last_usable": lambda i: _usable(i, -1),
    "mask_bits": lambda i: str(i.address.network.prefixlen),
    "name": lambda i: i.name,
    "netmask": lambda i: str(i.address.network.netmask),
    "network": lambda i: str(i.address.network.network_address),
    "octets": lambda i: " ".join(str(octet) for octet in i.address.ip.packed),
    "port": lambda i: "0",
    "size": lambda i: str(i.address.network.num_addresses),
    "string": _string,
    "type": lambda i: f"IPv{i.address.version}",
}


def _attribute(name: str, item: Interface) -> str:
    read = _ATTRIBUTES.get(name.lower())
    if read is None:
        raise ConfigError(f"{name!r} is not an attribute: write one of {', '.join(_ATTRIBUTES)}")
    return read(item)
