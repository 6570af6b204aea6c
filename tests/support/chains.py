"""Certificates that are signed by whoever has a key, may they sign or not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

__all__ = ["issued"]


def issued(issuer_pem: str, issuer_key: Any, uri: str, *, is_ca: bool = False) -> tuple[str, Any]:
    """A certificate (PEM) named ``uri``, or an authority's, and its key; ``issuer_key`` may be PEM."""
    issuer = x509.load_pem_x509_certificate(issuer_pem.encode())
    if isinstance(issuer_key, str):
        issuer_key = load_pem_private_key(issuer_key.encode(), None)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, uri.rpartition("/")[2] or "between")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if uri:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=True)
    signed = builder.sign(issuer_key, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode(), key
