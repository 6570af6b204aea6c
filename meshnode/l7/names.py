"""Whether a certificate is valid for a name, where OpenSSL is not asked since no name is sent (RFC 9525 6.3, 6.4)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

__all__ = ["is_valid_for"]


def is_valid_for(names: Iterable[tuple[str, str]], wanted: str) -> bool:
    """``names``: kinds and values, as ``ssl`` has them in ``subjectAltName``. ``wanted``: a DNS name or an address.

    ``*.a.b`` is valid for one label in its place, and for no address.
    """
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError:
        asked = wanted.rstrip(".").lower()
        return any(kind == "DNS" and _covers(value.rstrip(".").lower(), asked) for kind, value in names)
    return any(kind == "IP Address" and _is_address(value, address) for kind, value in names)


def _covers(pattern: str, asked: str) -> bool:
    if not asked or pattern == asked:
        return bool(asked)
    first, _, rest = pattern.partition(".")
    label, _, domain = asked.partition(".")
    return first == "*" and "." in rest and bool(label) and rest == domain


def _is_address(value: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return ipaddress.ip_address(value.strip()) == address
    except ValueError:
        return False
