"""Who is on the other end: from a verified certificate to an identity, or to a refusal that says why.

OpenSSL has verified the chain and the extended key usage before this is asked. Here: exactly one URI among the
subject alternative names, a service's SPIFFE ID of our trust domain, the expected datacenter and service, a leaf
and not an authority, valid at this instant (a resumed TLS session is not verified again by OpenSSL), and not revoked.
SPIFFE-X509-SVID 2 and 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from cryptography import x509

from meshnode.base.certificates import BAD_X509, parse_certificate_der
from meshnode.base.errors import RemoteProtocolError
from meshnode.base.spiffe import ServiceId, parse_spiffe_id
from meshnode.proxy.issuers import issuer_of

__all__ = [
    "MAX_CERTIFICATE_BYTES",
    "Expectation",
    "Identity",
    "Refusal",
    "RefusalCode",
    "identify",
    "judge",
    "read_peer",
]

#: Longest certificate that is read; OpenSSL takes at most 100 KiB for a whole chain.
MAX_CERTIFICATE_BYTES: Final = 64 * 1024
#: Names that are quoted in a refusal.
_MAX_SHOWN: Final = 3
_UNREADABLE: Final[tuple[type[Exception], ...]] = (RemoteProtocolError, *BAD_X509)


class RefusalCode(StrEnum):
    """Why, in one word for programs and metrics."""

    UNREADABLE = "unreadable"
    NO_URI = "no_uri"
    MANY_URIS = "many_uris"
    NOT_SPIFFE = "not_spiffe"
    NOT_A_SERVICE = "not_a_service"
    IS_AUTHORITY = "is_authority"
    TRUST_DOMAIN = "trust_domain"
    DATACENTER = "datacenter"
    OTHER_SERVICE = "other_service"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    DISTRUSTED = "distrusted"


@dataclass(frozen=True, slots=True)
class Refusal:
    """``code`` for programs, ``because`` a sentence for people."""

    code: RefusalCode
    because: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A peer that proved to be ``service``; ``uri`` is its SPIFFE ID, ``serial`` of its certificate ``ab:cd:...``.

    ``issuer`` is the identifier of the key that signed that, ``ab:cd:...``; empty: it names none.
    """

    service: ServiceId
    uri: str
    serial: str
    not_before: datetime
    not_after: datetime
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Whom we talk to: any service of ``trust_domain`` in one of ``datacenters`` (none named: in any).

    ``uris``, when given, are the only identities that will do: those of the instance that was dialled. ``revoked`` are
    serial numbers (``ab:cd:...``) of certificates that won't do although their time is not over.
    """

    trust_domain: str
    datacenters: frozenset[str] = field(default_factory=frozenset)
    uris: frozenset[str] = field(default_factory=frozenset)
    revoked: frozenset[str] = field(default_factory=frozenset)


def identify(der: bytes | None, expected: Expectation, at: datetime) -> Identity | Refusal:
    """The identity in ``der`` if it is as ``expected`` and valid ``at``, else why not. ``None``: it showed nothing."""
    if not der:
        return Refusal(RefusalCode.UNREADABLE, "the peer showed no certificate")
    found = read_peer(der)
    return found if isinstance(found, Refusal) else judge(found, expected, at)


def read_peer(der: bytes) -> Identity | Refusal:
    """What the certificate says, whatever the time and whoever was expected. Always the same for the same bytes."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        return Refusal(
            RefusalCode.UNREADABLE,
            f"the certificate has {len(der)} bytes, more than {MAX_CERTIFICATE_BYTES}",
        )
    try:
        certificate = parse_certificate_der(der)
        authority = _is_authority(certificate)
        names = _uris(certificate)
        serial, issuer = certificate.serial_number, issuer_of(certificate)
        not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except _UNREADABLE as error:
        return Refusal(RefusalCode.UNREADABLE, f"the certificate can't be read: {error!s:.200}")
    if authority:
        return Refusal(RefusalCode.IS_AUTHORITY, "the certificate is an authority's (CA:TRUE), not a leaf")
    if not names:
        return Refusal(
            RefusalCode.NO_URI, "the certificate has no URI among its names: a SPIFFE ID is needed"
        )
    if len(names) > 1:
        shown = ", ".join(f"{name!r:.200}" for name in names[:_MAX_SHOWN])
        return Refusal(
            RefusalCode.MANY_URIS,
            f"the certificate has {len(names)} URIs ({shown}): exactly one is allowed",
        )
    try:
        service = parse_spiffe_id(names[0])
    except RemoteProtocolError as error:
        return Refusal(RefusalCode.NOT_SPIFFE, str(error))
    if not isinstance(service, ServiceId):
        return Refusal(RefusalCode.NOT_A_SERVICE, f"{service} is not the id of a service")
    size = max(1, (serial.bit_length() + 8) // 8) if serial >= 0 else 0
    text = serial.to_bytes(size, "big").lstrip(b"\0").hex(":") if serial > 0 else str(serial)
    return Identity(service, names[0], text, not_before, not_after, issuer)


def judge(found: Identity, expected: Expectation, at: datetime) -> Identity | Refusal:
    """``found`` itself, or why it won't do now."""
    service = found.service
    if service.trust_domain != expected.trust_domain:
        return Refusal(
            RefusalCode.TRUST_DOMAIN,
            f"{found.uri} is of another trust domain than {expected.trust_domain}",
        )
    if expected.datacenters and service.datacenter not in expected.datacenters:
        named = ", ".join(sorted(expected.datacenters))
        return Refusal(
            RefusalCode.DATACENTER,
            f"{found.uri} is of datacenter {service.datacenter}; expected is {named}",
        )
    if expected.uris and found.uri not in expected.uris:
        named = ", ".join(sorted(expected.uris)[:_MAX_SHOWN])
        return Refusal(RefusalCode.OTHER_SERVICE, f"the peer is {found.uri}; expected is {named}")
    if at < found.not_before:
        return Refusal(
            RefusalCode.NOT_YET_VALID,
            f"the certificate of {found.uri} is valid from {found.not_before.isoformat()}: compare both clocks",
        )
    if at >= found.not_after:
        return Refusal(
            RefusalCode.EXPIRED,
            f"the certificate of {found.uri} expired at {found.not_after.isoformat()}",
        )
    if found.serial in expected.revoked:
        return Refusal(RefusalCode.REVOKED, f"the certificate {found.serial} of {found.uri} is revoked")
    return found


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
