"""Keys and PEM text: which kinds are accepted, how they are read and written. No message quotes a key."""

from __future__ import annotations

import hashlib
from typing import Final, Literal, TypeAlias, get_args

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from meshnode.base.certificates import BAD_X509
from meshnode.base.errors import ConfigError

__all__ = [
    "BAD_X509",
    "KEY_TYPES",
    "MAX_PEM_BYTES",
    "MIN_RSA_BITS",
    "KeyType",
    "PrivateKey",
    "PublicKey",
    "accepted_public_key",
    "generate_key",
    "key_type_of",
    "parse_certificate",
    "parse_key",
    "public_key_fingerprint",
    "serialize_certificate",
    "serialize_key",
]

KeyType: TypeAlias = Literal["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"]
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

KEY_TYPES: Final[tuple[KeyType, ...]] = get_args(KeyType)
#: CA/Browser Forum Baseline Requirements 6.1.5; OpenSSL's security level 2 asks for the same.
MIN_RSA_BITS: Final = 2048
#: Most bytes of PEM text that are parsed: OpenSSL's default for a TLS peer's whole chain is 100 KiB.
MAX_PEM_BYTES: Final = 100 * 1024

_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {"ec-p256": ec.SECP256R1, "ec-p384": ec.SECP384R1}
_CURVE_NAMES: Final = {"secp256r1", "secp384r1", "secp521r1"}


def generate_key(key_type: KeyType = "ec-p256") -> PrivateKey:
    """A new private key; raises :class:`ConfigError` for a type that isn't in :data:`KEY_TYPES`."""
    if key_type not in KEY_TYPES:
        raise ConfigError(
            f"key type {key_type!r} is not known: write one of {', '.join(KEY_TYPES)}", key="key_type"
        )
    if key_type in _CURVES:
        return ec.generate_private_key(_CURVES[key_type]())
    return rsa.generate_private_key(public_exponent=65537, key_size=int(key_type.removeprefix("rsa-")))


def serialize_key(key: PrivateKey) -> str:
    """Unencrypted PKCS #8 PEM (RFC 5208), which OpenSSL, Go and Python read alike. Secret: files 0600."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def parse_key(pem: str, where: str = "") -> PrivateKey:
    """Read an unencrypted RSA or EC private key; raises :class:`ConfigError` that never quotes ``pem``."""
    if "-----BEGIN ENCRYPTED" in pem or "Proc-Type: 4,ENCRYPTED" in pem:
        raise ConfigError(
            "the private key is encrypted with a passphrase: give the decrypted key, for example from a vault",
            where=where,
        )
    try:
        key = serialization.load_pem_private_key(_bounded(pem, "private key", where), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(
            "this is not a private key in PEM form (PKCS #8, PKCS #1 or SEC 1)", where=where
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ConfigError(f"the private key is of kind {type(key).__name__}: use EC or RSA", where=where)
    return key


def accepted_public_key(key: object, where: str = "") -> PublicKey:
    """``key`` when it is EC on a NIST curve or RSA of at least :data:`MIN_RSA_BITS`; else :class:`ConfigError`."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVE_NAMES:
            raise ConfigError(f"the key is on curve {key.curve.name}: use P-256, P-384 or P-521", where=where)
        return key
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise ConfigError(
                f"the RSA key has {key.key_size} bits: at least {MIN_RSA_BITS} are needed", where=where
            )
        return key
    raise ConfigError(f"the key is of kind {type(key).__name__.lstrip('_')}: use EC or RSA", where=where)


def key_type_of(key: PublicKey) -> str:
    """``ec-p256``, ``rsa-2048`` and so on, for keys that we could have made and for others alike."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa-{key.key_size}"
    return f"ec-p{key.curve.key_size}"


def public_key_fingerprint(key: PublicKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo in DER, lower-case hex: equal for a key and its certificate."""
    return hashlib.sha256(
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def parse_certificate(pem: str, where: str = "") -> x509.Certificate:
    """Read the first certificate of ``pem``; raises :class:`ConfigError`."""
    try:
        return x509.load_pem_x509_certificate(_bounded(pem, "certificate", where))
    except BAD_X509:
        raise ConfigError("this is not an X.509 certificate in PEM form", where=where) from None


def serialize_certificate(certificate: x509.Certificate) -> str:
    """PEM with a final newline."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _bounded(pem: str, what: str, where: str) -> bytes:
    data = pem.encode("ascii", errors="replace")
    if len(data) > MAX_PEM_BYTES:
        raise ConfigError(f"the {what} has {len(data)} bytes, more than {MAX_PEM_BYTES}", where=where)
    return data
