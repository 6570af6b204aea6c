"""The built-in certificate authority of Connect: signs with the key that the replicated state has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast

from cryptography import x509

from meshnode.base.errors import MeshError
from meshnode.connect.model import CaRoot, CaState, RootKey
from meshnode.connect.provider import NewRoot, SignedLeaf
from meshnode.pki import connect_ca, connect_intermediate, keys
from meshnode.pki.authority import Authority
from meshnode.pki.keys import KeyType

__all__ = ["BuiltInCa", "given_root", "root_row"]


def root_row(certificate: x509.Certificate) -> CaRoot:
    """The row of the state for a root."""
    facts = connect_ca.read_root(certificate)
    return CaRoot(
        id=facts.id,
        name=facts.name,
        serial_number=facts.serial,
        signing_key_id=facts.key_id,
        not_before=facts.not_before.timestamp(),
        not_after=facts.not_after.timestamp(),
        root_cert=keys.serialize_certificate(certificate),
    )


def given_root(certificate_pem: str, key_pem: str) -> NewRoot:
    """A root made elsewhere. Raises :class:`ConfigError` when it can't sign leaves."""
    authority = Authority.parse(certificate_pem, key_pem, "RootCert")
    return _new_root(authority)


class BuiltInCa:
    """A :class:`~meshnode.connect.provider.CaProvider` of the active root of ``ca``; ``wall`` is unix seconds."""

    def __init__(
        self,
        ca: CaState,
        wall: Callable[[], float],
        entropy: Callable[[int], bytes],
        key_type: str = "ec-p256",
    ) -> None:
        self._ca = ca
        self._wall = wall
        self._entropy = entropy
        self._key_type = key_type

    async def new_root(self, name: str, trust_domain: str) -> NewRoot:
        """With a new key."""
        # In a thread: an RSA key takes seconds.
        return await asyncio.to_thread(self.root_for, name, trust_domain)

    def root_for(self, name: str, trust_domain: str, key_pem: str = "") -> NewRoot:
        """With the key that is given, else a new one."""
        authority = connect_ca.create_root(
            name,
            trust_domain,
            at=self._at(),
            entropy=self._entropy,
            key_type=cast(KeyType, self._key_type),
            key=keys.parse_key(key_pem, "PrivateKey") if key_pem else None,
        )
        return _new_root(authority)

    async def look(self) -> None:
        """Nothing has to be reached."""

    async def cross_sign(self, root: CaRoot) -> str:
        """With the active root's key."""
        certificate = keys.parse_certificate(root.root_cert)
        return connect_ca.cross_sign(self._authority(), certificate, at=self._at(), entropy=self._entropy)

    async def sign(self, request_pem: str, *, trust_domain: str, datacenter: str, ttl: float) -> SignedLeaf:
        """With the active root's key, or that of our intermediate of it."""
        row = self._row()
        leaf = connect_ca.sign_leaf(
            self._authority(),
            connect_ca.parse_leaf_request(request_pem),
            trust_domain=trust_domain,
            datacenter=datacenter,
            lifetime=timedelta(seconds=ttl),
            at=self._at(),
            entropy=self._entropy,
        )
        return SignedLeaf(
            leaf.certificate_pem,
            leaf.serial,
            leaf.identity.service,
            str(leaf.identity),
            leaf.not_before.timestamp(),
            leaf.not_after.timestamp(),
            (row.intermediate,) if row is not None and row.intermediate else (),
        )

    async def sign_intermediate(self, request_pem: str, *, trust_domain: str) -> str:
        """With the active root's key."""
        return connect_intermediate.sign_intermediate(
            self._authority(),
            connect_intermediate.parse_intermediate_request(request_pem, trust_domain),
            trust_domain=trust_domain,
            at=self._at(),
            entropy=self._entropy,
        )

    async def upkeep(self) -> RootKey | None:
        """Nothing: the key stays as it is until a rotation."""
        return None

    def _authority(self) -> Authority:
        root, row = self._ca.active, self._row()
        if root is None or row is None or not row.pem:
            raise MeshError("the CA has no root with a key: it can sign nothing")
        return Authority.parse(row.intermediate or root.root_cert, row.pem)

    def _row(self) -> RootKey | None:
        return self._ca.row_of(self._ca.active.id) if self._ca.active is not None else None

    def _at(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), UTC)


def _new_root(authority: Authority) -> NewRoot:
    root = root_row(authority.certificate)
    return NewRoot(root, RootKey(root.id, authority.key_pem))
