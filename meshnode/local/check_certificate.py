"""Certificate checks: bytes and an instant in, a result out. A kind of our own: Consul has none."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from meshnode.base.errors import MeshError
from meshnode.catalog.model import CRITICAL, PASSING, WARNING
from meshnode.local.check_status import Result

__all__ = ["MAX_CERTIFICATE_BYTES", "judge_certificate", "parse_certificate"]

#: A file of more is no certificate; a bundle of every public CA is 0.2 MiB.
MAX_CERTIFICATE_BYTES: Final = 1024 * 1024
_MAX_SUBJECT_CHARS: Final = 200
#: Warned of when less than this part of the lifetime is left.
_WARNED_PART: Final = 3


def parse_certificate(data: bytes) -> x509.Certificate:
    """The first certificate in PEM, or the one in DER. Raises :class:`MeshError` when there is none."""
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise MeshError(f"is longer than {MAX_CERTIFICATE_BYTES} bytes: that is no certificate")
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            return x509.load_pem_x509_certificates(data)[0]
        return x509.load_der_x509_certificate(data)
    except (ValueError, TypeError, x509.InvalidVersion):
        raise MeshError("holds no certificate that can be read: it has to be PEM or DER") from None


def judge_certificate(certificate: x509.Certificate, place: str, at: datetime) -> Result:
    """Whether ``certificate``, found at ``place``, is good at the instant ``at``, and for how long."""
    try:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        subject = certificate.subject.rfc4514_string()
    except (ValueError, TypeError):
        return Result(
            CRITICAL, f"Certificate {place}: its subject or its dates can't be read: issue it again"
        )
    left = end - at
    about = f'Certificate {place}: subject "{_shown(subject)}", serial {certificate.serial_number:x}, '
    about += f"notBefore {_instant(start)}, " if at < start else ""
    about += f"notAfter {_instant(end)}, "
    if at < start:
        return Result(CRITICAL, f"{about}not valid yet: the clock of this node, or of the CA's, may be wrong")
    if left <= timedelta(0):
        return Result(CRITICAL, f"{about}expired {_days(-left)} ago: renew it")
    if left * _WARNED_PART < end - start:
        return Result(WARNING, f"{about}{_days(left)} left, less than a third of its lifetime: renew it")
    return Result(PASSING, f"{about}{_days(left)} left")


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):.1f} days"


def _instant(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


def _shown(subject: str) -> str:
    cut = subject if len(subject) <= _MAX_SUBJECT_CHARS else subject[:_MAX_SUBJECT_CHARS] + "..."
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in cut)
