"""The intermediate of a secondary datacenter: the primary's root signs it, it signs that datacenter's leaves.

The chain that a service shows is leaf, intermediate; whoever trusts the one root of the mesh verifies it. RFC 5280 has
no constraint on the path of a URI, so that a leaf is of the right datacenter is what whoever verifies it looks at.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from meshnode.base.certificates import is_issued_by
from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.base.spiffe import AuthorityId
from meshnode.pki import connect_ca, keys
from meshnode.pki.authority import BACKDATE, Authority, Entropy, serial_number
from meshnode.pki.keys import PrivateKey
from meshnode.pki.leaf import MAX_COMMON_NAME_LENGTH, common_name
from meshnode.pki.request import Request, parse_request

__all__ = [
    "INTERMEDIATE_DAYS",
    "check_intermediate",
    "create_intermediate_request",
    "is_intermediate_due",
    "parse_intermediate_request",
    "sign_intermediate",
]

#: A year, as Consul's; or the root's end if that is sooner.
INTERMEDIATE_DAYS: Final = 365
#: An intermediate is replaced when this part of its life is left.
RENEW_FRACTION: Final = 0.5


def create_intermediate_request(key: PrivateKey, datacenter: str, trust_domain: str) -> str:
    """PEM of a request of the CA of ``datacenter`` signed by ``key``."""
    name = f"Consul Intermediate CA {datacenter}"[:MAX_COMMON_NAME_LENGTH]
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(AuthorityId(trust_domain)))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_name(name))
    request = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def parse_intermediate_request(pem: str, trust_domain: str) -> Request:
    """Read a request and verify its signature. Raises :class:`RemoteProtocolError`, also for another trust domain."""
    identity = connect_ca.parse_leaf_request(pem).identity
    if not isinstance(identity, AuthorityId):
        wanted = AuthorityId(trust_domain)
        raise RemoteProtocolError(f"{identity} is not the id of a CA: an intermediate is for {wanted}")
    connect_ca.check_trust_domain(identity, trust_domain)
    return parse_request(pem)


def sign_intermediate(
    authority: Authority, request: Request, *, trust_domain: str, at: datetime, entropy: Entropy
) -> str:
    """PEM of a certificate that signs leaves of ``trust_domain``, and no further CA. It never outlives the root.

    Raises :class:`RemoteProtocolError` when it would be called as the root is, :class:`ConfigError` when the root is
    not valid at ``at``.
    """
    root = authority.certificate
    connect_ca.check_root(root, at)
    subject = common_name(request.common_name)
    if subject == root.subject:
        raise RemoteProtocolError(
            f"the request is for {request.common_name!r}, which is the name of the root"
        )
    starts = at.astimezone(UTC).replace(microsecond=0)
    names = [x509.UniformResourceIdentifier(str(AuthorityId(trust_domain)))]
    certificate = (
        x509.CertificateBuilder()
        .serial_number(serial_number(entropy))
        .not_valid_before(max(starts - BACKDATE, root.not_valid_before_utc))
        .not_valid_after(min(starts + timedelta(days=INTERMEDIATE_DAYS), root.not_valid_after_utc))
        .subject_name(subject)
        .issuer_name(root.subject)
        .public_key(request.public_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(connect_ca.key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key), critical=False)
        .add_extension(connect_ca.issuer_identifier(root), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return keys.serialize_certificate(certificate)


def check_intermediate(pem: str, key: PrivateKey, root_pem: str, *, trust_domain: str, at: datetime) -> None:
    """Raise :class:`RemoteProtocolError` unless ``pem`` is for ``key``, signed by that root, and good now."""
    root = keys.parse_certificate(root_pem)
    try:
        certificate = keys.parse_certificate(pem)
        Authority.parse(pem, keys.serialize_key(key), "the intermediate")
    except ConfigError as error:
        raise RemoteProtocolError(f"the primary's answer can't be used: {error}") from None
    if not is_issued_by(certificate, root):
        raise RemoteProtocolError(
            "the primary signed the intermediate with another root than the one that is active: it is asked again"
        )
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    if [name.value for name in names] != [str(AuthorityId(trust_domain))]:
        raise RemoteProtocolError(
            f"the primary signed an intermediate that is not for {AuthorityId(trust_domain)}"
        )
    if not certificate.not_valid_before_utc <= at < certificate.not_valid_after_utc:
        raise RemoteProtocolError(
            "the primary signed an intermediate that isn't valid now: are the clocks of both datacenters right?"
        )


def is_intermediate_due(pem: str, at: datetime) -> bool:
    """Whether it is time for another one: half of its life is over. Raises :class:`ConfigError` for no certificate."""
    certificate = keys.parse_certificate(pem)
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - at <= life * RENEW_FRACTION
