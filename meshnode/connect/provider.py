"""What a certificate authority has to do for us: ``agent/connect_provider.BuiltInCa``, ``agent/connect_vault.VaultCa``.

Which of them signs is decided by the row of the active root's key, so that in a change from one to the other each
signs for its own root. Everything that the cluster has to know of what a provider did comes back as values, which go
through the log; it may keep the private key anywhere, and then the row says where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from meshnode.connect.model import CaRoot, RootKey

__all__ = ["CaProvider", "NewRoot", "SignedLeaf"]


@dataclass(frozen=True, slots=True)
class NewRoot:
    """A root, and its key or where that is."""

    root: CaRoot
    key: RootKey


@dataclass(frozen=True, slots=True)
class SignedLeaf:
    """``certificate_pem`` is the leaf alone; times are unix seconds.

    ``chain`` are the certificates, PEM, between it and the root, the leaf's issuer first.
    """

    certificate_pem: str
    serial: str
    service: str
    uri: str
    not_before: float
    not_after: float
    chain: tuple[str, ...] = ()


class CaProvider(Protocol):
    """One signing key. Each raises :class:`~meshnode.base.errors.MeshError` with the reason when it can't."""

    async def new_root(self, name: str, trust_domain: str) -> NewRoot:
        """Make a root, which signs nothing yet."""

    async def cross_sign(self, root: CaRoot) -> str:
        """PEM of a certificate for ``root``'s name and key, signed by the present key."""

    async def sign(self, request_pem: str, *, trust_domain: str, datacenter: str, ttl: float) -> SignedLeaf:
        """A leaf for a service; the request names it."""

    async def sign_intermediate(self, request_pem: str, *, trust_domain: str) -> str:
        """PEM of a certificate for the CA of another datacenter, signed by the root itself."""

    async def upkeep(self) -> RootKey | None:
        """What has to be done now and then for the present key; its row when that has changed."""
