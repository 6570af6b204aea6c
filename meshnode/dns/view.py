"""What the DNS interface may read at once, and the lookups that it reads by.

A view has in memory what a server has; a client agent, or a question about another datacenter, needs a call. Then the
view says ``PENDING``, and the core asks for the same lookup as an effect (``effects.Fetch``). What a token may not see
is not in the view: to DNS it doesn't exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from meshnode.catalog.model import Instance, Node

__all__ = [
    "PENDING",
    "AddressLookup",
    "DnsView",
    "Lookup",
    "NodeLookup",
    "Owner",
    "Pending",
    "ServerName",
    "ServiceLookup",
]


class Pending(Enum):
    """The type of ``PENDING``."""

    PENDING = "pending"


#: The answer is not in memory: it has to be fetched.
PENDING: Final = Pending.PENDING


@dataclass(frozen=True, slots=True)
class NodeLookup:
    """The node called ``name``, in lower case; ``datacenter`` is never empty."""

    name: str
    datacenter: str


@dataclass(frozen=True, slots=True)
class ServiceLookup:
    """Every instance of a service, whatever its health, with its checks; names in lower case.

    ``tag`` empty is any tag; ``connect`` asks for what a Connect client may talk to.
    """

    name: str
    tag: str
    datacenter: str
    connect: bool = False


@dataclass(frozen=True, slots=True)
class AddressLookup:
    """The node with ``address`` (canonical text), else an instance with it as its own address."""

    address: str


Lookup = NodeLookup | ServiceLookup | AddressLookup
#: Who has an address.
Owner = Node | Instance | None


@dataclass(frozen=True, slots=True)
class ServerName:
    """A server of this datacenter, as NS records name it: its node and the address of that."""

    node: str
    address: str


class DnsView(Protocol):
    """The state, synchronous. No method may block or raise."""

    def generation(self, lookup: Lookup) -> int:
        """A number that is different whenever the outcome of ``lookup`` may be; -1: don't keep the answer.

        Called for each query whose answer is kept, so it should cost no more than a look into a mapping.
        """

    def node(self, lookup: NodeLookup) -> Node | Pending | None:
        """The node, None when there is none."""

    def instances(self, lookup: ServiceLookup) -> Sequence[Instance] | Pending:
        """The instances, in any order; none for an unknown service."""

    def owner(self, lookup: AddressLookup) -> Owner | Pending:
        """Who has the address."""

    def servers(self) -> Sequence[ServerName]:
        """The servers of the local datacenter that gossip sees alive."""
