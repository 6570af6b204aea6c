"""One authority, one node and one instant for the tests of this folder."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import cache

from meshnode.pki.authority import Authority, authority_name
from meshnode.pki.keys import KeyType, PrivateKey, generate_key
from meshnode.pki.leaf import Profile, Role, node_profile
from meshnode.pki.request import create_request

#: A moment that OpenSSL, which reads the real clock, must take as past: certificates of the tests last for years.
AT = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def entropy(size: int) -> bytes:
    """Repeatable: certificates of different keys may share a serial number here."""
    return random.Random(20261121).randbytes(size)


def key(number: int = 1, key_type: KeyType = "ec-p256") -> PrivateKey:
    """The same key for the same arguments: making RSA keys is slow."""
    return _key(number, key_type)


def authority(generation: int = 1, key_type: KeyType = "ec-p256") -> Authority:
    return _authority(generation, key_type)


@cache
def _key(_number: int, key_type: KeyType) -> PrivateKey:
    return generate_key(key_type)


@cache
def _authority(generation: int, key_type: KeyType) -> Authority:
    return Authority.create(authority_name("dc1", generation), at=AT, entropy=entropy, key_type=key_type)


def profile(
    role: Role = "server", node: str = "s1", ip: tuple[str, ...] = ("10.1.0.11",), days: int = 365
) -> Profile:
    return node_profile(role, datacenter="dc1", node=node, ip=ip, days=days)


def request(node: str = "s1", number: int = 1, key_type: KeyType = "ec-p256") -> str:
    return create_request(key(number, key_type), node)
