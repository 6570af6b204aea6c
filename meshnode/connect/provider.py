"""What a certificate authority has to do for us. The built-in one is ``agent/connect_ca.BuiltInCa``.

The leader holds one provider, made of the settings and the active root. Everything that the cluster has to know of what
it did comes back as values, which go through the log; a provider may keep its private key anywhere, and then gives an
empty one. Another provider (Vault: ``sign`` is a call of its PKI engine, ``cross_sign`` its ``sign-self-issued``)
needs no more than these four.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from meshnode.connect.model import CaRoot

__all__ = ["CaProvider", "NewRoot", "SignedLeaf"]


@dataclass(frozen=True, slots=True)
class NewRoot:
    """``key_pem`` is empty when the provider keeps the key itself."""

    root: CaRoot
    key_pem: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SignedLeaf:
    """``certificate_pem`` is the leaf alone; times are unix seconds."""

    certificate_pem: str
    serial: str
    service: str
    uri: str
    not_before: float
    not_after: float


class CaProvider(Protocol):
    """One signing key. Each raises :class:`~meshnode.base.errors.MeshError` with the reason when it can't."""

    async def new_root(self, name: str, trust_domain: str) -> NewRoot:
        """Make a root, which signs nothing yet."""

    async def cross_sign(self, root: CaRoot) -> str:
        """PEM of a certificate for ``root``'s name and key, signed by the present key."""

    async def sign(self, request_pem: str, *, trust_domain: str, datacenter: str, ttl: float) -> SignedLeaf:
        """A leaf for a service; the request names it."""

    async def retire(self) -> None:
        """The present key signs no more: revoke, delete or forget what is kept elsewhere."""
