"""The leaf, its key and the roots that are in force now; followed in the background."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from typing import Final

from cryptography import x509

from meshnode.base.certificates import is_issued_by, parse_certificate_der
from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.proxy.authorize import MAX_CERTIFICATE_BYTES, Identity
from meshnode.proxy.issuers import Issuers
from meshnode.runtime.proxy.chains import verified_chain
from meshnode.runtime.proxy.contexts import Contexts, make_contexts
from meshnode.runtime.proxy.following import follow_certificates
from meshnode.runtime.proxy.interfaces import CertificateProvider, TlsMaterial
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.sdk.errors import PeerUnknownError

__all__ = ["MAX_CHAIN", "CurrentMaterial"]

#: Certificates of a chain that are looked at, the leaf included.
MAX_CHAIN: Final = 5

_log: Final = logging.getLogger("meshnode.sdk")


class CurrentMaterial:
    """``material`` is replaced as a whole: comparing with ``is`` tells whether it changed."""

    material: TlsMaterial
    identity: Identity
    #: Names of the trusted roots.
    roots: tuple[str, ...]

    def __init__(
        self,
        provider: CertificateProvider,
        service: str,
        *,
        on_revoked: Callable[[frozenset[str]], object] = lambda serials: None,
        on_distrusted: Callable[[Callable[[str], str]], object] = lambda why: None,
    ) -> None:
        """``on_revoked`` is told the serial numbers of leafs that are revoked now and were not before.

        ``on_distrusted`` is called when a root is, with what says why a peer is to be cut whose leaf a key signed.
        """
        self._on_revoked = on_revoked
        self._on_distrusted = on_distrusted
        #: Who vouches for peers.
        self.issuers = Issuers()
        self._contexts: Contexts | None = None
        self._provider = provider
        self._service = service
        self._authorities: tuple[x509.Certificate, ...] = ()
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Wait for the first material, and follow it; raises :class:`ConfigError` when that can't be used."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        following = follow_certificates(self._provider, self._use, ready, _log)
        self._following = spawn(following, name="sdk certificates")
        try:
            await ready
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Follow it no more; the last one stays."""
        await cancel_and_wait(self._following)

    def _use(self, material: TlsMaterial) -> None:
        before, contexts = self._contexts, make_contexts(material, self._contexts)
        if contexts.identity.service.service != self._service:
            raise ConfigError(f"the certificate is that of {contexts.identity.uri}, not of {self._service}")
        self._contexts = contexts
        self._authorities = tuple(x509.load_pem_x509_certificates(material.roots_pem.encode()))
        self.identity, self.roots = contexts.identity, contexts.roots
        self.material = material
        if before is None or contexts.client is not before.client:
            _log.info("%s is %s, serial %s", self._service, contexts.identity.uri, contexts.identity.serial)
        if gone := material.revoked - (before.material.revoked if before is not None else frozenset()):
            self._on_revoked(gone)
        if self.issuers.trust(material.roots_pem, contexts.roots, material.distrusted):
            self._on_distrusted(self.issuers.why_cut)

    def vouched(self, found: Identity, peer: ssl.SSLObject | ssl.SSLSocket) -> Identity:
        """``found`` itself, who is at the end of ``peer``; its handshake may have been before a root was distrusted.

        Raises :class:`PeerUnknownError` when that root alone stands behind it.
        """
        if found.issuer and not self.issuers.vouched(found.issuer):
            self.issuers.learn(verified_chain(peer))
        if because := self.issuers.distrust_of(found.issuer):
            raise PeerUnknownError(f"{found.uri}: {because}")
        return found

    def verify(self, chain: Sequence[bytes]) -> None:
        """Each of ``chain`` (DER, leaf first) is signed by the next, and the last that is needed by a trusted root.

        Raises :class:`PeerUnknownError`. Only signatures, names and who may sign are looked at: what the leaf says,
        and until when, is for who reads it.
        """
        if not chain:
            raise PeerUnknownError("the peer showed no certificate")
        try:
            if len(chain) > MAX_CHAIN or any(len(der) > MAX_CERTIFICATE_BYTES for der in chain):
                raise PeerUnknownError(f"the chain has more than {MAX_CHAIN} certificates, or too long ones")
            certificates = [parse_certificate_der(der) for der in chain]
        except RemoteProtocolError as error:
            raise PeerUnknownError(f"the peer's certificates can't be read: {error}") from None
        for place, certificate in enumerate(certificates):
            if place and not _may_sign(certificate):
                break
            if any(is_issued_by(certificate, root) for root in self._authorities):
                # What comes after it nobody has verified.
                self.issuers.learn(chain[: place + 1])
                return
            if place + 1 < len(certificates) and not is_issued_by(certificate, certificates[place + 1]):
                break
        raise PeerUnknownError("the peer's certificate leads to no root that is trusted now")


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return False
