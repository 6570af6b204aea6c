"""Does a node need a new certificate? One decision, with its reason; asked again and again, it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from cryptography import x509

from meshnode.base.certificates import is_issued_by
from meshnode.base.errors import ConfigError
from meshnode.pki import keys
from meshnode.pki.leaf import USAGES, Profile, SubjectNames
from meshnode.pki.request import Request

__all__ = ["RENEWAL_FRACTION", "Cause", "Reason", "needs_reissue"]

#: A certificate is renewed when less than this part of its whole life is left.
RENEWAL_FRACTION: Final = 1 / 3


class Cause(StrEnum):
    """Why, in one word for programs."""

    MISSING = "missing"
    UNPARSABLE = "unparsable"
    KEY_MISMATCH = "key_mismatch"
    ISSUER_CHANGED = "issuer_changed"
    NOT_SIGNED_BY_ISSUER = "not_signed_by_issuer"
    SUBJECT_CHANGED = "subject_changed"
    NAMES_CHANGED = "names_changed"
    WRONG_USAGE = "wrong_usage"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    EXPIRES_SOON = "expires_soon"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a certificate must be issued: ``cause`` for programs, ``str()`` for people."""

    cause: Cause
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def needs_reissue(
    existing: str | None, request: Request, profile: Profile, issuer: x509.Certificate, at: datetime
) -> Reason | None:
    """Why ``existing`` (PEM; ``None`` or blank when there is none) doesn't serve at ``at``, or ``None`` when it does.

    It must be for the key of ``request``, say what ``profile`` says, be signed by ``issuer`` and be valid for
    at least :data:`RENEWAL_FRACTION` of its life. The first reason found is the one returned, in the order of
    :class:`Cause`.
    """
    if existing is None or not existing.strip():
        return Reason(Cause.MISSING, "there is no certificate yet")
    try:
        certificate = keys.parse_certificate(existing)
        key = keys.accepted_public_key(certificate.public_key())
        names, usages = SubjectNames.read(certificate), _usages(certificate)
    except ConfigError as error:
        return Reason(Cause.UNPARSABLE, f"the existing certificate can't be used: {error}")
    except keys.BAD_X509:
        return Reason(Cause.UNPARSABLE, "the existing certificate can't be used: its contents can't be read")
    if keys.public_key_fingerprint(key) != keys.public_key_fingerprint(request.public_key):
        return Reason(Cause.KEY_MISMATCH, "the existing certificate is for another key than the node's")
    return (
        _issuer_reason(certificate, issuer)
        or _content_reason(certificate, names, usages, profile)
        or _validity_reason(certificate, at)
    )


def _issuer_reason(certificate: x509.Certificate, issuer: x509.Certificate) -> Reason | None:
    if certificate.issuer != issuer.subject:
        was, now = certificate.issuer.rfc4514_string(), issuer.subject.rfc4514_string()
        return Reason(Cause.ISSUER_CHANGED, f"it was issued by {was}, and the authority is now {now}")
    if is_issued_by(certificate, issuer):
        return None
    signer = issuer.subject.rfc4514_string()
    return Reason(Cause.NOT_SIGNED_BY_ISSUER, f"its signature is not by the key of {signer}")


def _content_reason(
    certificate: x509.Certificate, names: SubjectNames, usages: frozenset[str], profile: Profile
) -> Reason | None:
    subject = certificate.subject.rfc4514_string()
    if certificate.subject != x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, profile.common_name)]):
        return Reason(Cause.SUBJECT_CHANGED, f"its subject is {subject}, wanted is CN={profile.common_name}")
    have, want = {*names.dns, *names.ip}, {*profile.names.dns, *profile.names.ip}
    if have != want:
        changes = [f"+{name}" for name in sorted(want - have)] + [f"-{name}" for name in sorted(have - want)]
        return Reason(Cause.NAMES_CHANGED, f"its names change: {' '.join(changes)}")
    wanted_usages = frozenset(USAGES[usage].dotted_string for usage in profile.usages)
    if usages != wanted_usages:
        return Reason(Cause.WRONG_USAGE, f"its extended key usage is not {', '.join(sorted(profile.usages))}")
    return None


def _validity_reason(certificate: x509.Certificate, at: datetime) -> Reason | None:
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if at < starts:
        return Reason(Cause.NOT_YET_VALID, f"it is valid only from {starts.isoformat()}")
    if at >= ends:
        return Reason(Cause.EXPIRED, f"it expired at {ends.isoformat()}")
    if ends - at < (ends - starts) * RENEWAL_FRACTION:
        return Reason(
            Cause.EXPIRES_SOON, f"less than a third of its life is left: it expires at {ends.isoformat()}"
        )
    return None


def _usages(certificate: x509.Certificate) -> frozenset[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(usage.dotted_string for usage in found)
