"""Certificate signing requests (RFC 2986): proof that someone holds a key, and what they call themselves."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.pki.keys import BAD_X509, MAX_PEM_BYTES, PrivateKey, PublicKey, accepted_public_key
from meshnode.pki.leaf import SubjectNames, common_name

__all__ = ["Request", "create_request", "parse_request"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a request proves (possession of ``public_key``) and the one thing that it claims and we check."""

    common_name: str
    public_key: PublicKey


def create_request(key: PrivateKey, name: str, names: SubjectNames | None = None) -> str:
    """PEM of a request for ``name`` signed by ``key``, asking for ``names`` (an authority may ignore them)."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_name(name))
    if names and (names.dns or names.ip):
        builder = builder.add_extension(names.as_extension(), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def parse_request(pem: str, where: str = "the certificate signing request") -> Request:
    """Read ``pem`` and verify its own signature; raises :class:`RemoteProtocolError` with the reason.

    Extensions that the request asks for are not even read.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise RemoteProtocolError(f"{where} has {len(pem)} characters, more than {MAX_PEM_BYTES}")
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii", errors="replace"))
        signed_by_its_key = request.is_signature_valid
        public_key = accepted_public_key(request.public_key(), where)
        names = [
            str(attribute.value) for attribute in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ]
    except ConfigError as error:
        raise RemoteProtocolError(str(error)) from None
    except BAD_X509:
        raise RemoteProtocolError(f"{where} is not a PKCS #10 request in PEM form") from None
    if not signed_by_its_key:
        raise RemoteProtocolError(
            f"{where} is not signed by the key that it is for: it was altered on the way"
        )
    if len(names) != 1:
        raise RemoteProtocolError(
            f"{where} has {len(names)} common names in its subject: exactly one is needed"
        )
    return Request(names[0], public_key)
