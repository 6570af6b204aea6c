"""Certificates as a log line names them, and as a TLS handshake carries them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

__all__ = ["CertificateSummary", "certificates_in_message", "summarize"]

#: Names of strangers go to the log: they are cut here, and what is not printable is escaped.
_MAX_NAME_CHARS: Final = 160


@dataclass(frozen=True, slots=True)
class CertificateSummary:
    """What tells one certificate from another: names (RFC 4514), serial (hex), SHA-256 fingerprint (hex)."""

    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    fingerprint: str
    dns_names: tuple[str, ...]

    def as_authority(self) -> str:
        """A CA in a sentence."""
        return f'"{self.subject}" (sha256 {self.fingerprint[:16]})'

    def as_shown(self) -> str:
        """An end certificate in a sentence."""
        return (
            f'"{self.subject}" issued by "{self.issuer}", serial {self.serial}, '
            f"valid {self.not_before:%Y-%m-%dT%H:%M:%SZ} to {self.not_after:%Y-%m-%dT%H:%M:%SZ}"
        )


def summarize(certificate: x509.Certificate | bytes) -> CertificateSummary | None:
    """Describe a certificate, or its DER; ``None`` when it can't be read."""
    try:
        if isinstance(certificate, bytes):
            certificate = x509.load_der_x509_certificate(certificate)
        return CertificateSummary(
            subject=_printable(certificate.subject.rfc4514_string()),
            issuer=_printable(certificate.issuer.rfc4514_string()),
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            dns_names=_dns_names(certificate),
        )
    except (ValueError, TypeError, x509.InvalidVersion, x509.UnsupportedGeneralNameType):
        return None


def _dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return ()
    return tuple(_printable(name) for name in names.get_values_for_type(x509.DNSName))


def _printable(name: str) -> str:
    cut = name if len(name) <= _MAX_NAME_CHARS else name[:_MAX_NAME_CHARS] + "..."
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in cut)


def certificates_in_message(message: bytes, *, tls13: bool) -> tuple[bytes, ...]:
    """The DER certificates of a TLS Certificate message (RFC 5246 7.4.2, RFC 8446 4.4.2), the peer's own first.

    For explanations only: what can't be read ends the list.
    """
    position = 4  # type and length
    if tls13:
        position += 1 + (message[position] if len(message) > position else 0)  # the request context
    position += 3  # length of the list
    found: list[bytes] = []
    while position + 3 < len(message):
        length = int.from_bytes(message[position : position + 3])
        found.append(message[position + 3 : position + 3 + length])
        position += 3 + length
        if tls13:
            position += 2 + int.from_bytes(message[position : position + 2])
    return tuple(found)
