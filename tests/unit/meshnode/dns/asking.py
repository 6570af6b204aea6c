"""A resolver over catalogs made for the tests, and questions to it."""

from __future__ import annotations

import ipaddress

from meshnode.base.address import Address
from meshnode.dns.records import (
    Address4,
    Address6,
    Message,
    Pointer,
    Record,
    ServiceTarget,
    Text,
    name_to_text,
)

__all__ = ["RECURSOR", "answers", "shown"]

RECURSOR = Address("192.0.2.53", 53)


def shown(record: Record) -> str:
    match record.data:
        case Address4(packed) | Address6(packed):
            return str(ipaddress.ip_address(packed))
        case Pointer(_, target):
            return name_to_text(target)
        case ServiceTarget(priority, weight, port, target):
            return f"{priority} {weight} {port} {name_to_text(target)}"
        case Text(strings):
            return b"|".join(strings).decode()
        case _:
            return "?"


def answers(message: Message) -> list[str]:
    return sorted(map(shown, message.answers))
