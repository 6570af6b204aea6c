"""What the proxy needs from the agent. Three small interfaces; ``tests/support/proxy.py`` has each in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from meshnode.proxy.authorize import Identity
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Upstream
from meshnode.proxy.decision_cache import Decision

__all__ = ["Authorizer", "CertificateProvider", "Discovery", "RequestAuthorizer", "TlsMaterial"]


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """PEM: a leaf and the intermediates that a peer needs, its key, and every root that is trusted now.

    ``root_names`` is what the agent calls those roots, for the log and the report; without it their subjects are used.
    ``revoked`` are serial numbers (``ab:cd:...``) of leafs that are not to be trusted although their time isn't over,
    ``distrusted`` the ids (SHA-1 of the DER, ``ab:cd:...``) of roots whose leafs are not to be talked to any more.
    """

    chain_pem: str
    key_pem: str = field(repr=False)
    roots_pem: str
    root_names: tuple[str, ...] = ()
    revoked: frozenset[str] = frozenset()
    distrusted: frozenset[str] = frozenset()


class CertificateProvider(Protocol):
    """Where certificates come from."""

    def watch(self) -> AsyncIterator[TlsMaterial]:
        """The material in force now, at once, and then each that replaces it."""
        ...


class Authorizer(Protocol):
    """Who may connect."""

    async def decide(self, source: Identity) -> Decision:
        """Whether ``source`` may connect to this proxy's service, revocations included. Raises when nobody answers."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """One item each time that a decision may have become another: intentions, the default, revoked leaves."""
        ...


@runtime_checkable
class RequestAuthorizer(Authorizer, Protocol):
    """Who may connect, and make which requests: for listeners that speak HTTP."""

    async def decide_requests(self, source: Identity) -> Decision:
        """As ``decide``, with ``requests`` where an intention has permissions. Raises when nobody answers."""
        ...


class Discovery(Protocol):
    """Where a destination's sidecars are."""

    async def instances(self, upstream: Upstream) -> Sequence[Instance]:
        """The instances of the upstream's destination, checks and SPIFFE ID with each. Raises when nobody answers."""
        ...
