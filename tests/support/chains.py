"""Certificates that are signed by whoever has a key, may they sign or not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from meshnode.pki import keys
from meshnode.runtime.proxy.interfaces import TlsMaterial
from tests.support.proxy import BOTH, Ca, spiffe

__all__ = ["issued", "under"]


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


def under(ca: Ca, service: str) -> TlsMaterial:
    """A leaf by an intermediate, as a secondary datacenter and Vault have them."""
    between, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)

    def signed(key: Any, subject: str, by: x509.Name, signer: Any, **extra: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
            .issuer_name(by)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=extra.get("ca", False), path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
        )

    root, key = ca.root.certificate, ec.generate_private_key(ec.SECP256R1())
    middle = signed(between, "between", root.subject, ca.root.key, ca=True).sign(ca.root.key, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe(service))])
    leaf = (
        signed(key, service, middle.subject, between)
        .add_extension(x509.ExtendedKeyUsage(BOTH), critical=False)
        .add_extension(names, critical=False)
        .sign(between, hashes.SHA256())
    )
    chain = keys.serialize_certificate(leaf) + keys.serialize_certificate(middle)
    return TlsMaterial(chain, keys.serialize_key(key), ca.root.certificate_pem)
