"""PEM bundles of several generations of a CA, and describing a certificate to a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from meshnode.base.errors import ConfigError
from meshnode.pki import keys
from meshnode.pki.leaf import SubjectNames

__all__ = [
    "Description",
    "describe",
    "fingerprint",
    "join_bundle",
    "split_bundle",
]


@dataclass(frozen=True, slots=True)
class Description:
    """A certificate in words; times are ISO 8601 in UTC, serial and fingerprint lower-case hex."""

    subject: str
    issuer: str
    serial: str
    not_before: str
    not_after: str
    dns: tuple[str, ...]
    ip: tuple[str, ...]
    key_type: str
    fingerprint: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "dns": list(self.dns), "ip": list(self.ip)}


def describe(certificate: x509.Certificate | str) -> Description:
    """What a person asks about ``certificate`` (PEM text is read first); raises :class:`ConfigError`."""
    parsed = keys.parse_certificate(certificate) if isinstance(certificate, str) else certificate
    try:
        names = SubjectNames.read(parsed)
        key_type = keys.key_type_of(keys.accepted_public_key(parsed.public_key()))
    except keys.BAD_X509:
        raise ConfigError("the certificate has extensions or a key that can't be read") from None
    return Description(
        subject=parsed.subject.rfc4514_string(),
        issuer=parsed.issuer.rfc4514_string(),
        serial=f"{parsed.serial_number:x}",
        not_before=parsed.not_valid_before_utc.isoformat(),
        not_after=parsed.not_valid_after_utc.isoformat(),
        dns=names.dns,
        ip=names.ip,
        key_type=key_type,
        fingerprint=fingerprint(parsed),
    )


def fingerprint(certificate: x509.Certificate | str) -> str:
    """SHA-256 of the certificate in DER, 64 lower-case hex digits, as ``openssl x509 -fingerprint -sha256`` has it."""
    parsed = keys.parse_certificate(certificate) if isinstance(certificate, str) else certificate
    return parsed.fingerprint(hashes.SHA256()).hex()


def join_bundle(certificates: Iterable[str]) -> str:
    """One PEM text of the certificates in the given order, each once; raises :class:`ConfigError` when one is bad."""
    seen: dict[str, str] = {}
    for place, pem in enumerate(certificates):
        certificate = keys.parse_certificate(pem, f"certificate {place + 1}")
        seen.setdefault(fingerprint(certificate), keys.serialize_certificate(certificate))
    return "".join(seen.values())


def split_bundle(pem: str) -> list[str]:
    """The certificates of a bundle, one PEM text each; raises :class:`ConfigError` when there is none or one is bad."""
    if len(pem) > keys.MAX_PEM_BYTES:
        raise ConfigError(f"the bundle has {len(pem)} characters, more than {keys.MAX_PEM_BYTES}")
    try:
        found = x509.load_pem_x509_certificates(pem.encode("ascii", errors="replace"))
    except keys.BAD_X509:
        raise ConfigError("this is not a bundle of X.509 certificates in PEM form") from None
    return [keys.serialize_certificate(certificate) for certificate in found]
