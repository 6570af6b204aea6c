"""The certificates of Consul Connect: roots, one root vouching for the next, leaves for services (SPIFFE-X509-SVID).

A leaf is made from a request that names one SPIFFE ID and nothing else; all other fields of the request are not read.
Differences from Consul 1.2.3: a leaf's key identifier is that of its own key, serial numbers are random, and a
cross-signed certificate lives as long as both roots do, so that no chain breaks while somebody trusts the old one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.base.spiffe import AuthorityId, ServiceId, SpiffeId, parse_spiffe_id
from meshnode.pki import keys
from meshnode.pki.authority import BACKDATE, Authority, serial_number
from meshnode.pki.keys import KeyType, PrivateKey, PublicKey
from meshnode.pki.leaf import MAX_COMMON_NAME_LENGTH, common_name

__all__ = [
    "ROOT_DAYS",
    "IssuedLeaf",
    "LeafRequest",
    "RootFacts",
    "check_root",
    "check_trust_domain",
    "colon_hex",
    "create_leaf_request",
    "create_root",
    "cross_sign",
    "issuer_identifier",
    "key_usage",
    "parse_leaf_request",
    "read_root",
    "serialize_leaf_key",
    "service_of",
    "sign_leaf",
]

#: Consul's ten years.
ROOT_DAYS: Final = 3650

Entropy: TypeAlias = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class RootFacts:
    """What is told of a root: ``id`` is the SHA-1 of its DER, ``key_id`` its key identifier, both ``ab:cd:...``.

    ``serial`` is the low 64 bits, which is all that Consul's API has room for; our own roots have no more.
    """

    id: str
    name: str
    serial: int
    key_id: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class LeafRequest:
    """Who asks, and the key that they proved to hold."""

    identity: SpiffeId
    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class IssuedLeaf:
    """A leaf; ``serial`` is ``ab:cd:...``."""

    certificate_pem: str
    serial: str
    identity: ServiceId
    not_before: datetime
    not_after: datetime


def colon_hex(data: bytes) -> str:
    """``ab:cd:...``, as Consul shows serial numbers and key identifiers."""
    return data.hex(":")


def create_root(
    name: str,
    trust_domain: str,
    *,
    at: datetime,
    entropy: Entropy,
    key_type: KeyType = "ec-p256",
    key: PrivateKey | None = None,
    days: int = ROOT_DAYS,
) -> Authority:
    """A self-signed root of ``trust_domain``, for ``key`` if one is given.

    It has no path length: a chain over several rotations goes through several authorities.
    """
    # Consul's API shows a root's serial number in 64 bits.
    return Authority.create(
        name,
        at=at,
        entropy=lambda size: bytes(size - 8) + entropy(8),
        key_type=key_type,
        key=key,
        days=days,
        path_length=None,
        uris=[str(AuthorityId(trust_domain))],
    )


def read_root(certificate: x509.Certificate) -> RootFacts:
    """The facts of a root."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return RootFacts(
        id=colon_hex(hashlib.sha1(_der(certificate), usedforsecurity=False).digest()),
        name=str(names[0].value) if names else certificate.subject.rfc4514_string(),
        serial=certificate.serial_number & (2**64 - 1),
        key_id=colon_hex(_key_identifier(certificate).digest),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def cross_sign(old: Authority, new: x509.Certificate, *, at: datetime, entropy: Entropy) -> str:
    """PEM of a certificate for ``new``'s name and key signed by ``old``: who trusts ``old`` trusts what ``new`` signs.

    It ends with the first of both. Raises :class:`ConfigError` when one of them is not valid at ``at``.
    """
    for role, certificate in (("old", old.certificate), ("new", new)):
        if not certificate.not_valid_before_utc <= at < certificate.not_valid_after_utc:
            raise ConfigError(
                f"the {role} root is valid from {certificate.not_valid_before_utc.isoformat()} to "
                f"{certificate.not_valid_after_utc.isoformat()}, so they can't be cross-signed now"
            )
    starts = max(new.not_valid_before_utc, old.certificate.not_valid_before_utc)
    builder = (
        x509.CertificateBuilder()
        .serial_number(serial_number(entropy))
        .not_valid_before(starts)
        .not_valid_after(min(new.not_valid_after_utc, old.certificate.not_valid_after_utc))
        .subject_name(new.subject)
        .issuer_name(old.certificate.subject)
        .public_key(keys.accepted_public_key(new.public_key()))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(_key_identifier(new), critical=False)
        .add_extension(issuer_identifier(old.certificate), critical=False)
    )
    names = _extension(new, x509.SubjectAlternativeName)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return keys.serialize_certificate(builder.sign(old.key, hashes.SHA256()))


def create_leaf_request(key: PrivateKey, identity: SpiffeId) -> str:
    """PEM of a request of ``identity`` signed by ``key``; its subject is empty, as Consul's are."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(names, critical=True).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def serialize_leaf_key(key: PrivateKey) -> str:
    """PEM in the older form that Consul's API shows: ``EC PRIVATE KEY`` (SEC 1), ``RSA PRIVATE KEY``. Secret."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def parse_leaf_request(pem: str) -> LeafRequest:
    """Read a request and verify its own signature; raises :class:`RemoteProtocolError` with the reason.

    It must name exactly one URI, a SPIFFE ID, and no other name.
    """
    where = "the certificate signing request"
    if len(pem) > keys.MAX_PEM_BYTES:
        raise RemoteProtocolError(f"{where} has {len(pem)} characters, more than {keys.MAX_PEM_BYTES}")
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii", errors="replace"))
        is_signed = request.is_signature_valid
        public_key = keys.accepted_public_key(request.public_key(), where)
        names = [*request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
    except x509.ExtensionNotFound:
        raise RemoteProtocolError(f"{where} names nobody: it needs one URI, a SPIFFE ID") from None
    except ConfigError as error:
        raise RemoteProtocolError(str(error)) from None
    except keys.BAD_X509:
        raise RemoteProtocolError(f"{where} is not a PKCS #10 request in PEM form") from None
    if not is_signed:
        raise RemoteProtocolError(f"{where} is not signed by the key that it is for")
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise RemoteProtocolError(f"{where} has {len(names)} names: exactly one URI, a SPIFFE ID, is needed")
    return LeafRequest(parse_spiffe_id(names[0].value), public_key)


def sign_leaf(
    authority: Authority,
    request: LeafRequest,
    *,
    trust_domain: str,
    datacenter: str,
    lifetime: timedelta,
    at: datetime,
    entropy: Entropy,
) -> IssuedLeaf:
    """A leaf for a service of ``trust_domain`` in ``datacenter``: valid from a minute ago for ``lifetime`` from ``at``,
    but never past the root's end.

    Raises :class:`RemoteProtocolError` for anybody else, :class:`ConfigError` when the root is not valid at ``at``.
    """
    identity = service_of(request, trust_domain, datacenter)
    root = authority.certificate
    check_root(root, at)
    starts = at.astimezone(UTC).replace(microsecond=0)
    ends = min(starts + lifetime, root.not_valid_after_utc)
    certificate = _leaf(authority, request, identity, starts, ends, serial_number(entropy))
    number = certificate.serial_number
    return IssuedLeaf(
        keys.serialize_certificate(certificate),
        colon_hex(number.to_bytes((number.bit_length() + 7) // 8, "big")),
        identity,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )


def check_root(root: x509.Certificate, at: datetime) -> None:
    """Raise :class:`ConfigError` unless ``root``, or an intermediate, can sign at ``at``."""
    which = "root" if root.subject == root.issuer else "intermediate"
    what = f"the Connect {which} {read_root(root).name}"
    if at >= root.not_valid_after_utc:
        raise ConfigError(
            f"{what} ended at {root.not_valid_after_utc.isoformat()}: it can sign nothing now. The leader replaces it "
            "by itself: its log says what keeps it from that"
        )
    if at < root.not_valid_before_utc:
        raise ConfigError(
            f"{what} begins at {root.not_valid_before_utc.isoformat()}: it can sign nothing now. Is the clock of the "
            "leader right? If it is, rotate the root"
        )


def _leaf(
    authority: Authority,
    request: LeafRequest,
    identity: ServiceId,
    starts: datetime,
    ends: datetime,
    serial: int,
) -> x509.Certificate:
    root = authority.certificate
    return (
        x509.CertificateBuilder()
        .serial_number(serial)
        .not_valid_before(max(starts - BACKDATE, root.not_valid_before_utc))
        .not_valid_after(ends)
        .subject_name(_subject(identity.service))
        .issuer_name(root.subject)
        .public_key(request.public_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(enciphers=isinstance(request.public_key, rsa.RSAPublicKey)), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
            critical=False,
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))]),
            # RFC 5280 4.2.1.6: critical when the subject is empty.
            critical=not _subject(identity.service).rdns,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key), critical=False)
        .add_extension(issuer_identifier(root), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def service_of(request: LeafRequest, trust_domain: str, datacenter: str) -> ServiceId:
    """The service that asks. Raises :class:`RemoteProtocolError` when it isn't one of this mesh and datacenter."""
    identity = request.identity
    if not isinstance(identity, ServiceId):
        raise RemoteProtocolError(
            f"{identity} is not the id of a service: only services get leaf certificates"
        )
    check_trust_domain(identity, trust_domain)
    if identity.datacenter != datacenter:
        raise RemoteProtocolError(
            f"the request is for datacenter {identity.datacenter!r}: this one is {datacenter!r}"
        )
    return identity


def check_trust_domain(identity: SpiffeId, trust_domain: str) -> None:
    """Raise :class:`RemoteProtocolError` unless who asks is of ``trust_domain``."""
    if identity.trust_domain != trust_domain:
        raise RemoteProtocolError(
            f"the request is for trust domain {identity.trust_domain}: this cluster is {trust_domain}"
        )


def _subject(service: str) -> x509.Name:
    """The service's name; nothing when it is too long for a common name: the URI is what counts."""
    return common_name(service) if len(service) <= MAX_COMMON_NAME_LENGTH else x509.Name([])


def key_usage(*, signs_certificates: bool = False, enciphers: bool = False) -> x509.KeyUsage:
    """Of an authority (``signs_certificates``), or of a leaf, whose RSA key may encipher keys too."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=enciphers,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    found = _extension(certificate, x509.SubjectKeyIdentifier)
    if isinstance(found, x509.SubjectKeyIdentifier):
        return found
    return x509.SubjectKeyIdentifier.from_public_key(keys.accepted_public_key(certificate.public_key()))


def issuer_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """What a certificate by ``issuer`` says of its key."""
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_key_identifier(issuer))


def _extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.ExtensionType | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
