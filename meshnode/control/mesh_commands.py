"""The commands of prepared queries, intentions and the certificate authority; ``command`` puts all together."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshnode.connect.model import CaState, NodeTrust, Revoked
from meshnode.control.prepared.model import PreparedQuery
from meshnode.intentions.model import Intention

__all__ = [
    "ConnectCaSet",
    "ConnectReport",
    "ConnectRevoke",
    "IntentionDelete",
    "IntentionSet",
    "IntentionUpsert",
    "QueryDelete",
    "QuerySet",
]


@dataclass(frozen=True, slots=True)
class QuerySet:
    """Add a prepared query (``create``), or change the one with its id. Result: the id."""

    query: PreparedQuery
    create: bool


@dataclass(frozen=True, slots=True)
class QueryDelete:
    """Result: the id, also when there is no such prepared query."""

    query_id: str


@dataclass(frozen=True, slots=True)
class IntentionSet:
    """Add an intention (``create``), or change the one with its id. Result: the id."""

    intention: Intention
    create: bool


@dataclass(frozen=True, slots=True)
class IntentionUpsert:
    """Add an intention, or change the one with its source and destination. Result: the id that it has now."""

    intention: Intention


@dataclass(frozen=True, slots=True)
class IntentionDelete:
    """Result: the id, also when there is no such intention."""

    intention_id: str


@dataclass(frozen=True, slots=True)
class ConnectCaSet:
    """Replace the CA, private keys included, if it was last changed at ``expected``. Result: whether it was."""

    ca: CaState = field(repr=False)
    expected: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class ConnectReport:
    """What a node's agent trusts. Result: true."""

    trust: NodeTrust


@dataclass(frozen=True, slots=True)
class ConnectRevoke:
    """Trust a leaf no more. Result: true."""

    revoked: Revoked
