"""What the core asks of the shell. Each effect has a typed outcome, which ``ask`` hands back.

An expected failure is a :class:`~meshnode.base.errors.MeshError` raised at the ``ask``: the client gets SERVFAIL, or
NXDOMAIN when it is :class:`UnknownDatacenterError`. Every effect may be cancelled half-way.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from meshnode.base.errors import MeshError
from meshnode.catalog.model import Instance
from meshnode.dns.records import Name, Record
from meshnode.dns.view import Lookup

__all__ = [
    "Effect",
    "ExecuteQuery",
    "Fetch",
    "Fetched",
    "Forward",
    "QueryOutcome",
    "ResolveName",
    "Steps",
    "UnknownDatacenterError",
    "ask",
]

T = TypeVar("T")


class UnknownDatacenterError(MeshError):
    """No way leads to the datacenter of a lookup."""


class Effect(Generic[T]):
    """Something for the shell to do, with an outcome of type ``T``."""

    __slots__ = ()


#: An answer in progress: yields effects, is sent outcomes, returns the answer.
Steps = Generator[Effect[Any], Any, T]


def ask(effect: Effect[T]) -> Steps[T]:
    """``outcome = yield from ask(Fetch(...))``: perform ``effect`` and give its outcome, typed."""
    outcome: T = yield effect
    return outcome


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """What a server said, and how far behind its leader it may have been, in seconds (``QueryMeta.LastContact``)."""

    value: T
    staleness: float = 0.0


@dataclass(frozen=True, slots=True)
class Fetch(Effect[Fetched[Any]]):
    """Look ``lookup`` up at a server: a Node or None, a sequence of instances, or an owner, as ``DnsView`` has them.

    With ``allow_stale`` any server will do, otherwise the leader answers.
    """

    lookup: Lookup
    allow_stale: bool


@dataclass(frozen=True, slots=True)
class QueryOutcome:
    """What a prepared query found, in the order to answer in.

    ``ttl`` is that of the query, None when it has none; ``service`` and ``datacenter`` say where the instances are;
    ``by_source``: the order is good for this client only (``Near`` ``_ip``).
    """

    instances: Sequence[Instance]
    datacenter: str
    service: str = ""
    ttl: float | None = None
    by_source: bool = False


@dataclass(frozen=True, slots=True)
class ExecuteQuery(Effect[QueryOutcome | None]):
    """Execute the prepared query ``name`` (or id); None when there is no such query.

    ``limit`` 0 is no limit; ``source`` is the address that ``Near`` means by ``_ip``: the client's, or its subnet's.
    """

    name: str
    datacenter: str
    limit: int
    source: str


@dataclass(frozen=True, slots=True)
class ResolveName(Effect[tuple[Record, ...]]):
    """Ask the recursors for records of ``name``; nothing when none of them knows, never an error."""

    name: Name
    kind: int


@dataclass(frozen=True, slots=True)
class Forward(Effect[bytes | None]):
    """Have the recursors answer a whole query; None when none does. The answer has the id of ``query``."""

    query: bytes
    tcp: bool
