"""A root for Connect as an operator makes it elsewhere, with the life that a test needs."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from meshnode.pki import connect_ca, keys

__all__ = ["NAME", "own_root"]

NAME = "Theirs"


def own_root(at: datetime, *, starts: float, ends: float) -> dict[str, str]:
    """``PrivateKey`` and ``RootCert`` of the CA's settings; its life in seconds from ``at``."""
    key = keys.generate_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    built = (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .not_valid_before(at + timedelta(seconds=starts))
        .not_valid_after(at + timedelta(seconds=ends))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(connect_ca.key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    pem = keys.serialize_certificate(built.sign(key, hashes.SHA256()))
    return {"PrivateKey": keys.serialize_key(key), "RootCert": pem}
