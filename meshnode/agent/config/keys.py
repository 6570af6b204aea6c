"""The key table: every configuration key of Consul 1.2.3, and the later ones that are taken or refused by name.

It is the one source of the defaults, of the flags of ``agent``, of what is checked, and of ``docs/configuration.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from meshnode.agent.config.key import Key, Kind
from meshnode.agent.config.table.definitions import CAMEL_CASE, SHAPES
from meshnode.agent.config.table.identity import IDENTITY
from meshnode.agent.config.table.network import JOINING, NETWORK
from meshnode.agent.config.table.operations import CONSTANTS, HTTP, LATER_KEYS, LOGGING, SERVERS, TELEMETRY
from meshnode.agent.config.table.security import ACLS, GOSSIP, TLS
from meshnode.agent.config.table.service_mesh import MESH

__all__ = ["CAMEL_CASE", "KEYS", "SECTIONS", "SHAPES", "children", "defaults", "key"]

#: Title -> rows, in the order of the documentation.
SECTIONS: Final[Mapping[str, tuple[Key, ...]]] = MappingProxyType(
    {
        "Identity, role, directories": IDENTITY,
        "Addresses and ports": NETWORK,
        "Joining": JOINING,
        "Gossip": GOSSIP,
        "TLS": TLS,
        "ACLs": ACLS,
        "HTTP and limits": HTTP,
        "Servers": SERVERS,
        "Logging": LOGGING,
        "Telemetry": TELEMETRY,
        "Services, checks, mesh, DNS, web page": MESH,
        "Later releases of Consul": LATER_KEYS,
        "Constants": CONSTANTS,
    }
)
#: Every row by its path.
KEYS: Final[Mapping[str, Key]] = MappingProxyType(
    {row.path: row for rows in SECTIONS.values() for row in rows}
)


def key(path: str) -> Key:
    """The row of ``path``; a ``KeyError`` is a mistake in our own code."""
    return KEYS[path]


@cache
def children(shape: str, path: str) -> Mapping[str, Key]:
    """Rows right below ``path`` in ``shape`` (empty: the whole configuration), by their names."""
    rows: Iterable[Key] = SHAPES[shape] if shape else KEYS.values()
    return MappingProxyType({row.name: row for row in rows if row.parent == path})


@cache
def defaults() -> Mapping[str, object]:
    """Path -> default of every key that holds a value of its own."""
    return MappingProxyType({row.path: row.default for row in KEYS.values() if row.kind is not Kind.OBJECT})
