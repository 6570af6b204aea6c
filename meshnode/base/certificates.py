"""Certificates that others made: reading them, and whether one signed another."""

from __future__ import annotations

import warnings
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from meshnode.base.errors import RemoteProtocolError

__all__ = ["BAD_X509", "is_issued_by", "parse_certificate_der"]

#: Everything that reading an X.509 structure from elsewhere may raise inside cryptography.
BAD_X509: Final[tuple[type[Exception], ...]] = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_UNREADABLE: Final[tuple[type[Exception], ...]] = (Warning, *BAD_X509)
_NOT_SIGNED: Final[tuple[type[Exception], ...]] = (InvalidSignature, *BAD_X509)


def parse_certificate_der(der: bytes) -> x509.Certificate:
    """The certificate of a peer; raises :class:`RemoteProtocolError`, also for what RFC 5280 forbids.

    Its parts are parsed when they are looked at, which raises one of :data:`BAD_X509`.
    """
    try:
        with warnings.catch_warnings():
            # cryptography only warns of a serial number of 0 or less, for one.
            warnings.simplefilter("error")
            return x509.load_der_x509_certificate(der)
    except _UNREADABLE as error:
        raise RemoteProtocolError(f"{error!s:.200}") from None


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether ``issuer`` has the name and the key that signed ``certificate``. Nothing else is looked at."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except _NOT_SIGNED:
        return False
    return True
