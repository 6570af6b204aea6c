"""The private certificate authority: create one, read one, sign a request by a profile (RFC 5280)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.pki import keys, leaf
from meshnode.pki.keys import KeyType, PrivateKey
from meshnode.pki.leaf import USAGES, Profile
from meshnode.pki.request import parse_request

__all__ = ["BACKDATE", "DEFAULT_AUTHORITY_DAYS", "Authority", "authority_name", "serial_number"]

DEFAULT_AUTHORITY_DAYS: Final = 3650
#: Certificates start this much in the past, so that a peer whose clock is a little behind takes them.
BACKDATE: Final = timedelta(minutes=1)

#: Given a number of bytes, returns that many from a cryptographic generator (``os.urandom``).
Entropy = Callable[[int], bytes]


def authority_name(cluster: str, generation: int) -> str:
    """Subject of a root: generations differ in name, else a chain could be built to the wrong one."""
    return f"meshnode CA {cluster} g{generation}"


def serial_number(entropy: Entropy) -> int:
    """159 random bits: positive and within 20 octets as RFC 5280 4.1.2.2 demands."""
    return max(1, int.from_bytes(entropy(20), "big") >> 1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A root certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)

    @classmethod
    def create(
        cls,
        name: str,
        *,
        at: datetime,
        entropy: Entropy,
        key_type: KeyType = "ec-p256",
        days: int = DEFAULT_AUTHORITY_DAYS,
        path_length: int | None = 0,
        permitted_dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        key: PrivateKey | None = None,
    ) -> Authority:
        """A self-signed root. ``path_length`` 0: it signs leaves and no further authority (Connect's CA is its own).

        ``permitted_dns``, when given, limits the names it can vouch for (RFC 5280 4.2.1.10).
        ``key``: use it in place of a new one.
        """
        subject = leaf.common_name(name)
        life = leaf.lifetime(days)
        key = key or keys.generate_key(key_type)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = (
            _starting(at, at + life, serial_number(entropy))
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
            )
        )
        if permitted_dns:
            permitted = [x509.DNSName(domain) for domain in leaf.SubjectNames.of(dns=permitted_dns).dns]
            builder = builder.add_extension(x509.NameConstraints(permitted, None), critical=True)
        if uris:
            alternative = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
            builder = builder.add_extension(alternative, critical=False)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def parse(cls, certificate_pem: str, key_pem: str, where: str = "") -> Authority:
        """Read a root that was made here or elsewhere; raises :class:`ConfigError` when it can't sign leaves."""
        certificate = keys.parse_certificate(certificate_pem, where)
        key = keys.parse_key(key_pem, where)
        public_key = keys.accepted_public_key(certificate.public_key(), where)
        if keys.public_key_fingerprint(public_key) != keys.public_key_fingerprint(key.public_key()):
            raise ConfigError("the CA certificate and the CA key don't belong together", where=where)
        _check_may_sign(certificate, where)
        return cls(certificate, key)

    @property
    def certificate_pem(self) -> str:
        """The certificate alone, PEM."""
        return keys.serialize_certificate(self.certificate)

    @property
    def key_pem(self) -> str:
        """The private key, PKCS #8 PEM. Secret."""
        return keys.serialize_key(self.key)

    def sign(self, request_pem: str, profile: Profile, *, at: datetime, entropy: Entropy) -> str:
        """PEM of a certificate for the key in ``request_pem`` with exactly what ``profile`` says.

        It never outlives the authority. Raises :class:`RemoteProtocolError` when the request is not signed by
        its own key or names someone else, :class:`ConfigError` when the authority is not valid at ``at``.
        """
        request = parse_request(request_pem)
        if request.common_name != profile.common_name:
            raise RemoteProtocolError(
                f"the request is for {request.common_name!r} and not for {profile.common_name!r}: "
                "a node may only ask for itself"
            )
        self._check_valid(at)
        ends = min(at + profile.lifetime, self.certificate.not_valid_after_utc)
        encipherment = isinstance(request.public_key, rsa.RSAPublicKey)
        usages = [USAGES[usage] for usage in USAGES if usage in profile.usages]
        builder = (
            _starting(at, ends, serial_number(entropy))
            .subject_name(leaf.common_name(profile.common_name))
            .issuer_name(self.certificate.subject)
            .public_key(request.public_key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True, key_encipherment=encipherment), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(profile.names.as_extension(), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key), critical=False)
            .add_extension(self._authority_key_identifier(), critical=False)
        )
        return keys.serialize_certificate(builder.sign(self.key, hashes.SHA256()))

    def _check_valid(self, at: datetime) -> None:
        starts, ends = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        if at >= ends:
            raise ConfigError(f"the CA certificate expired at {ends.isoformat()}: make a new generation")
        if at < starts:
            raise ConfigError(
                f"the CA certificate is valid from {starts.isoformat()}: is this machine's clock right?"
            )

    def _authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _check_may_sign(certificate: x509.Certificate, where: str) -> None:
    try:
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise ConfigError(
            "the CA certificate has no basicConstraints: make it with CA:TRUE", where=where
        ) from None
    except keys.BAD_X509:
        raise ConfigError("the CA certificate has extensions that can't be read", where=where) from None
    if not constraints.ca:
        raise ConfigError("the CA certificate says CA:FALSE: it is a leaf and can't sign", where=where)
    usage = next((e.value for e in extensions if isinstance(e.value, x509.KeyUsage)), None)
    if usage is not None and not usage.key_cert_sign:
        raise ConfigError("the CA certificate's keyUsage lacks keyCertSign", where=where)


def _starting(at: datetime, ends: datetime, serial: int) -> x509.CertificateBuilder:
    starts = at.astimezone(UTC).replace(microsecond=0) - BACKDATE
    return x509.CertificateBuilder().serial_number(serial).not_valid_before(starts).not_valid_after(ends)


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
