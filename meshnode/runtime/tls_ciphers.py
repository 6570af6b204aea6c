"""Cipher suites and versions (``tls_cipher_suites``, ``tls_min_version``) in OpenSSL's terms; how a context begins.

Suites have Go's names, as in Consul 1.2.3 ``tlsutil.ParseCiphers``. They rule TLS 1.2; TLS 1.3 has suites of its
own that Python's ``ssl`` does not let one choose, all of them AEAD.
"""

from __future__ import annotations

import ssl
from typing import Final

from meshnode.base.errors import ConfigError

__all__ = ["CIPHER_SUITES", "minimum_version", "new_context", "openssl_ciphers"]

#: Go's name -> OpenSSL's.
CIPHER_SUITES: Final[dict[str, str]] = {
    "TLS_RSA_WITH_RC4_128_SHA": "RC4-SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA": "DES-CBC3-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA": "ECDHE-ECDSA-RC4-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA": "ECDHE-RSA-RC4-SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA": "ECDHE-RSA-DES-CBC3-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
#: Without a list: forward secrecy and AEAD only.
_DEFAULT_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_VERSIONS: Final = {"tls12": ssl.TLSVersion.TLSv1_2, "tls13": ssl.TLSVersion.TLSv1_3}
_OLD_VERSIONS: Final = {"tls10": "TLS 1.0", "tls11": "TLS 1.1"}


def new_context(
    protocol: int, *, least: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, suites: tuple[str, ...] = ()
) -> ssl.SSLContext:
    """A context that every one of ours begins as: no compression, no renegotiation, and these versions and ``suites``.

    ``suites`` are those of :func:`openssl_ciphers`, which raises ``ConfigError``.
    """
    context = ssl.SSLContext(protocol)
    context.minimum_version = least
    context.set_ciphers(openssl_ciphers(suites))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def openssl_ciphers(names: tuple[str, ...]) -> str:
    """The cipher string for Go's ``names``, in their order; the default when there are none.

    Raises ``ConfigError`` for a name that is not known (naming those that are) or that this OpenSSL does not have.
    """
    ciphers = [_openssl_cipher(name) for name in names]
    return ":".join(ciphers) or _DEFAULT_CIPHERS


def _openssl_cipher(name: str) -> str:
    cipher = CIPHER_SUITES.get(name)
    if cipher is None:
        known = ", ".join(sorted(CIPHER_SUITES))
        raise ConfigError(
            f'tls_cipher_suites: "{name:.80}" is not a cipher suite; known are {known}',
            key="tls_cipher_suites",
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(cipher)
    except ssl.SSLError:
        raise ConfigError(
            f'tls_cipher_suites: "{name}" is not in {ssl.OPENSSL_VERSION}: it is too weak there; take it off the list',
            key="tls_cipher_suites",
        ) from None
    return cipher


def minimum_version(text: str) -> ssl.TLSVersion:
    """The version for ``tls10`` to ``tls13``; empty means ``tls12``.

    Consul 1.2.3 starts from ``tls10``: we don't. OpenSSL 3 does TLS 1.0 and 1.1 at security level 0 only, where it
    would also take weak keys and SHA-1 signatures; ``ConfigError`` says so rather than offer what can't work.
    """
    if version := _VERSIONS.get(text or "tls12"):
        return version
    if text in _OLD_VERSIONS:
        raise ConfigError(
            f'tls_min_version: "{text}" can\'t be offered: {ssl.OPENSSL_VERSION} does {_OLD_VERSIONS[text]} only '
            'without its security level, which also lets weak keys and SHA-1 signatures in: write "tls12" or "tls13"',
            key="tls_min_version",
        )
    raise ConfigError(
        f'tls_min_version: "{text:.40}" is not a version: write "tls12" or "tls13"', key="tls_min_version"
    )
