"""The leaf, its key and the roots that are in force now; followed in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from meshnode.base.errors import ConfigError
from meshnode.proxy.authorize import MAX_CERTIFICATE_BYTES, Identity
from meshnode.runtime.proxy.contexts import make_contexts
from meshnode.runtime.proxy.interfaces import CertificateProvider, TlsMaterial
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.sdk.errors import PeerUnknownError

__all__ = ["MAX_CHAIN", "CurrentMaterial"]

#: Certificates of a chain that are looked at, the leaf included.
MAX_CHAIN: Final = 5
#: Seconds until a broken subscription is tried again.
_RETRY_INTERVAL: Final = 1.0

_log: Final = logging.getLogger("meshnode.sdk")


class CurrentMaterial:
    """``material`` is replaced as a whole: comparing with ``is`` tells whether it changed."""

    material: TlsMaterial
    identity: Identity
    #: Names of the trusted roots.
    roots: tuple[str, ...]

    def __init__(self, provider: CertificateProvider, service: str) -> None:
        self._provider = provider
        self._service = service
        self._authorities: tuple[x509.Certificate, ...] = ()
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Wait for the first material, and follow it; raises :class:`ConfigError` when that can't be used."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._following = spawn(self._follow(ready), name="sdk certificates")
        try:
            await ready
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Follow it no more; the last one stays."""
        await cancel_and_wait(self._following)

    async def _follow(self, ready: asyncio.Future[None]) -> None:
        while True:
            try:
                async for material in self._provider.watch():
                    try:
                        self._use(material)
                    except ConfigError as error:
                        if not ready.done():
                            ready.set_exception(error)
                            return
                        _log.error("the new certificate is not used, the old one stays: %s", error)
                    else:
                        if not ready.done():
                            ready.set_result(None)
            except Exception as error:  # noqa: BLE001  the provider is another's code; what we have goes on
                _log.warning("certificates are not followed for %g s: %s", _RETRY_INTERVAL, error)
            await asyncio.sleep(_RETRY_INTERVAL)

    def _use(self, material: TlsMaterial) -> None:
        contexts = make_contexts(material)
        if contexts.identity.service.service != self._service:
            raise ConfigError(f"the certificate is that of {contexts.identity.uri}, not of {self._service}")
        self._authorities = tuple(x509.load_pem_x509_certificates(material.roots_pem.encode()))
        self.identity, self.roots = contexts.identity, contexts.roots
        self.material = material
        _log.info("%s is %s, serial %s", self._service, contexts.identity.uri, contexts.identity.serial)

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
            certificates = [x509.load_der_x509_certificate(der) for der in chain]
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
            raise PeerUnknownError(f"the peer's certificates can't be read: {error!s:.200}") from None
        for place, certificate in enumerate(certificates):
            if place and not _may_sign(certificate):
                break
            if any(_is_issued_by(certificate, root) for root in self._authorities):
                return
            if place + 1 < len(certificates) and not _is_issued_by(certificate, certificates[place + 1]):
                break
        raise PeerUnknownError("the peer's certificate leads to no root that is trusted now")


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return False
