"""Certificates, keys and CAs of a listener as they are on the disk now. What can't be used is an error that names it.

Settings are those of the agent's TLS: 1.2 and 1.3, AEAD suites with forward secrecy, no compression, no renegotiation.
The chain of the upstream is OpenSSL's to check, here; its name is the HTTP listener's, since the name that has to be in
the certificate may be another than the one that is sent, or be checked where none is sent.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from meshnode.base.errors import ConfigError
from meshnode.pki import keys
from meshnode.pki.leaf import SubjectNames
from meshnode.runtime.proxy.contexts import load_pair
from meshnode.runtime.tls import pem_certificates, read_pem, trust
from meshnode.runtime.tls_ciphers import new_context
from meshnode.tls_modes.model import (
    CertificateFiles,
    CertificateText,
    TlsListener,
    TlsProxyConfig,
    TlsUpstream,
)

__all__ = ["Material", "read_material", "watched_files"]


@dataclass(frozen=True, slots=True)
class Material:
    """What one listener's connections begin with: ``server`` towards clients, ``client`` towards the upstream.

    ``warnings`` are sentences about certificates that clients may refuse.
    """

    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None
    warnings: tuple[str, ...] = ()


def watched_files(config: TlsProxyConfig) -> tuple[str, ...]:
    """The files whose content :func:`read_material` depends on, each once."""
    return tuple(dict.fromkeys(file for one in config.listeners for file in _files(one)))


def _files(one: TlsListener) -> Iterator[str]:
    if isinstance(one.certificate, CertificateFiles):
        yield from (one.certificate.cert_file, one.certificate.key_file)
    if one.upstream.authorities is not None and one.upstream.authorities.ca_file:
        yield one.upstream.authorities.ca_file


def read_material(one: TlsListener, at: datetime) -> Material:
    """Read everything; raises :class:`ConfigError` with the path of the key, never quoting a key."""
    where = f"listener.{one.name}"
    server, warnings = None, []
    if isinstance(one.certificate, CertificateFiles | CertificateText):
        chain, key, names = _pair(one.certificate, f"{where}.certificate")
        server = _server_context(chain, key, names)
        warnings = list(_doubts(chain, names[0], at))
    client = _client_context(one.upstream, f"{where}.upstream") if one.mode.begins_tls else None
    return Material(server, client, tuple(warnings))


def _pair(found: CertificateFiles | CertificateText, where: str) -> tuple[str, str, tuple[str, str]]:
    """Chain, key, and what errors call them."""
    if isinstance(found, CertificateText):
        return found.cert_pem, found.key_pem, (f"{where}.cert_pem", f"{where}.key_pem")
    names = (f"{where}.cert_file", f"{where}.key_file")
    chain = read_pem(found.cert_file, names[0]).decode("ascii", "replace")
    key = read_pem(found.key_file, names[1]).decode("ascii", "replace")
    return chain, key, (f"{names[0]}: {found.cert_file}", f"{names[1]}: {found.key_file}")


def _server_context(chain: str, key: str, names: tuple[str, str]) -> ssl.SSLContext:
    leaf = keys.parse_certificate(chain, names[0])
    parsed = keys.parse_key(key, names[1])
    shown = keys.accepted_public_key(leaf.public_key(), names[0])
    if keys.public_key_fingerprint(shown) != keys.public_key_fingerprint(parsed.public_key()):
        raise ConfigError(
            f"it is not the key of {names[0]}: give the two that belong together", where=names[1]
        )
    context = new_context(ssl.PROTOCOL_TLS_SERVER)
    try:
        load_pair(context, chain, key)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or "not PEM"
        raise ConfigError(f"OpenSSL can't use it ({reason})", where=names[0]) from None
    return context


def _doubts(chain: str, name: str, at: datetime) -> Iterator[str]:
    leaf = keys.parse_certificate(chain, name)
    if leaf.not_valid_after_utc < at:
        yield f"{name}: the certificate has expired on {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}: renew it"
    if leaf.not_valid_before_utc > at:
        begin = f"{leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
        yield f"{name}: the certificate is valid from {begin} on: look at the clock"
    try:
        names = SubjectNames.read(leaf)
    except keys.BAD_X509:
        return
    if not names.dns and not names.ip:
        yield f"{name}: the certificate names no host: clients look for one in its alternative names"


def _client_context(to: TlsUpstream, where: str) -> ssl.SSLContext:
    context = new_context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if to.authorities is None:
        context.verify_mode = ssl.CERT_NONE
        return context
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    file, pem = to.authorities.ca_file, to.authorities.ca_pem.encode("ascii", "replace")
    key = f"{where}.{'ca_file' if file else 'ca_pem'}"
    found = pem_certificates(read_pem(file, key) if file else pem, file or "the text", key)
    if not found:
        raise ConfigError(
            f"{key}: {file or 'the text'} holds no certificate: put the CA in it as PEM", key=key
        )
    trust(context, found)
    return context
