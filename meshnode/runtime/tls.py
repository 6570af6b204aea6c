"""The agent's TLS: settings, the contexts made from them, and their reload while running.

Verification is OpenSSL's and fails closed: where a certificate is asked for, the context says ``CERT_REQUIRED``. What
is in ``ca_file`` is trusted as it is, intermediates included (as Go does). Deviations from Consul 1.2.3, on purpose:
TLS 1.2 is the least by default (there: 1.0); the cipher list applies to RPC too; a name is looked for in the subject
alternative names only, never in the common name; sessions are not resumed, so a reload holds for every new connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshnode.base.errors import ConfigError
from meshnode.runtime.tls_certificate import CertificateSummary, summarize
from meshnode.runtime.tls_channel import TlsProfile, explain_object, watch_certificates
from meshnode.runtime.tls_ciphers import minimum_version, new_context, openssl_ciphers
from meshnode.runtime.tls_explain import Side

__all__ = ["Listener", "TlsContexts", "TlsSettings", "pem_certificates", "read_pem", "trust"]

Listener = Literal["rpc", "https"]
#: A bundle of every public CA is 0.2 MiB.
MAX_PEM_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Section 5 of the configuration keys; empty text: "not set". ``verify_incoming`` is folded into the other two."""

    ca_file: str = ""
    ca_path: str = ""
    cert_file: str = ""
    key_file: str = ""
    verify_incoming_rpc: bool = False
    verify_incoming_https: bool = False
    verify_outgoing: bool = False
    #: Implies ``verify_outgoing``.
    verify_server_hostname: bool = False
    min_version: str = "tls12"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_ciphers: bool = False
    #: Sent as SNI when no name is verified.
    server_name: str = ""
    domain: str = "consul"
    datacenter: str = "dc1"

    def server_hostname(self, datacenter: str) -> str:
        """The name that the servers of ``datacenter`` (empty: our own) must have under ``verify_server_hostname``."""
        return f"server.{datacenter or self.datacenter}.{self.domain.rstrip('.')}"


@dataclass(frozen=True, slots=True)
class _Material:
    """What the files held at one moment, and the profiles made of it."""

    settings: TlsSettings
    authorities: tuple[x509.Certificate, ...]
    own: CertificateSummary | None
    rpc: TlsProfile | None
    https: TlsProfile | None
    outgoing: TlsProfile | None


class TlsContexts:
    """Hands out what a *new* connection needs; ``reload`` changes what that is, and never a connection that exists."""

    def __init__(self, settings: TlsSettings) -> None:
        """Read the files. Raises ``ConfigError`` that names the key and the file."""
        self._presented: dict[Listener, bytes] = {}
        self._material = self._load(settings)

    @property
    def settings(self) -> TlsSettings:
        """The settings in force."""
        return self._material.settings

    @property
    def own_certificate(self) -> CertificateSummary | None:
        """What new connections present."""
        return self._material.own

    def incoming_rpc(self) -> TlsProfile | None:
        """For the server of port 8300; ``None`` without a certificate: TLS can't be offered."""
        return self._material.rpc

    def incoming_https(self) -> TlsProfile | None:
        """For an HTTPS listener; ``None`` without a certificate."""
        return self._material.https

    def outgoing_rpc(self, datacenter: str = "") -> TlsProfile | None:
        """For a connection to a server of ``datacenter``; ``None`` means plaintext (``verify_outgoing`` is off)."""
        material = self._material
        if material.outgoing is None or not material.settings.verify_server_hostname:
            return material.outgoing
        name = material.settings.server_hostname(datacenter)
        side = replace(material.outgoing.side, expected_name=name)
        return replace(material.outgoing, side=side, server_hostname=name)

    def explain_https(self, tls: ssl.SSLObject | None, error: Exception, peer: str) -> str:
        """The log line for a handshake that failed on the HTTPS listener."""
        profile = self._material.https
        side = profile.side if profile else Side(server=True, expected=(), own=None)
        return str(explain_object(tls, error, peer, side))

    def checks_client(
        self, *, skip_verify: bool = False, present_certificate: bool = False
    ) -> ssl.SSLContext:
        """For HTTPS health checks: the system's CAs and ours, and the host name, unless ``skip_verify``."""
        material = self._material
        context = _agent_context(ssl.PROTOCOL_TLS_CLIENT, material.settings)
        if skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        trust(context, material.authorities)
        if present_certificate and material.own is not None:
            _load_pair(context, material.settings)
        return context

    def reload(self, settings: TlsSettings | None = None) -> None:
        """Read the files again, with new settings or the old. On ``ConfigError`` all stays as it was."""
        self._material = self._load(settings or self._material.settings)

    def served_serial(self, listener: Listener) -> str | None:
        """Serial (hex) of the certificate that ``listener`` presented in its latest handshake; ``None`` before one."""
        return _serial(self._presented[listener]) if listener in self._presented else None

    def _load(self, settings: TlsSettings) -> _Material:
        minimum_version(settings.min_version)
        openssl_ciphers(settings.cipher_suites)
        authorities = _read_authorities(settings)
        own = _read_own(settings)
        _require_consistency(settings, bool(authorities), own is not None)
        expected = tuple(summary for authority in authorities if (summary := summarize(authority)))

        def incoming(listener: Listener, verify: bool) -> TlsProfile | None:
            if own is None:
                return None
            context = _agent_context(ssl.PROTOCOL_TLS_SERVER, settings)
            _load_pair(context, settings)
            if verify:
                trust(context, authorities)
                context.verify_mode = ssl.CERT_REQUIRED
            watch_certificates(context, self._recorder(listener))
            return TlsProfile(context, Side(server=True, expected=expected if verify else (), own=own))

        return _Material(
            settings=settings,
            authorities=authorities,
            own=own,
            rpc=incoming("rpc", settings.verify_incoming_rpc),
            https=incoming("https", settings.verify_incoming_https),
            outgoing=_outgoing(settings, authorities, Side(server=False, expected=expected, own=own)),
        )

    def _recorder(self, listener: Listener) -> Callable[[bytes], None]:
        def record(der: bytes) -> None:
            self._presented[listener] = der

        return record


def _outgoing(
    settings: TlsSettings, authorities: tuple[x509.Certificate, ...], side: Side
) -> TlsProfile | None:
    if not (settings.verify_outgoing or settings.verify_server_hostname):
        return None
    context = _agent_context(ssl.PROTOCOL_TLS_CLIENT, settings)
    context.check_hostname = settings.verify_server_hostname
    context.verify_mode = ssl.CERT_REQUIRED
    trust(context, authorities)
    if side.own is not None:
        _load_pair(context, settings)
    watch_certificates(context, lambda der: None)
    return TlsProfile(context, side, settings.server_name or None)


def _agent_context(protocol: int, settings: TlsSettings) -> ssl.SSLContext:
    least = minimum_version(settings.min_version)
    context = new_context(protocol, least=least, suites=settings.cipher_suites)
    context.options |= ssl.OP_NO_TICKET
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
        if settings.prefer_server_ciphers:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        else:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context


def trust(context: ssl.SSLContext, authorities: tuple[x509.Certificate, ...]) -> None:
    """Trust each of ``authorities`` as it is."""
    for authority in authorities:
        context.load_verify_locations(cadata=authority.public_bytes(Encoding.DER))


def _load_pair(context: ssl.SSLContext, settings: TlsSettings) -> None:
    before = read_pem(settings.cert_file, "cert_file")

    def no_passphrase() -> str:
        raise ConfigError(
            f"key_file: {settings.key_file} is encrypted: store the key without a passphrase", key="key_file"
        )

    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, password=no_passphrase)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not PEM"
        raise ConfigError(
            f"key_file: {settings.key_file} is not the key of cert_file {settings.cert_file} ({reason})",
            key="key_file",
        ) from None
    if read_pem(settings.cert_file, "cert_file") != before:
        raise ConfigError(
            f"cert_file: {settings.cert_file} changed while it was read: reload again", key="cert_file"
        )


def _read_own(settings: TlsSettings) -> CertificateSummary | None:
    if bool(settings.cert_file) != bool(settings.key_file):
        missing = "key_file" if settings.cert_file else "cert_file"
        raise ConfigError(f"{missing} is not set: cert_file and key_file go together", key=missing)
    if not settings.cert_file:
        return None
    chain = pem_certificates(read_pem(settings.cert_file, "cert_file"), settings.cert_file, "cert_file")
    return summarize(chain[0])


@lru_cache(maxsize=8)
def _serial(certificate: bytes) -> str | None:
    """Serial (hex) of a certificate in DER; everybody who asks for the agent asks for it."""
    summary = summarize(certificate)
    return summary.serial if summary else None


def _read_authorities(settings: TlsSettings) -> tuple[x509.Certificate, ...]:
    if settings.ca_file:
        return pem_certificates(read_pem(settings.ca_file, "ca_file"), settings.ca_file, "ca_file")
    if not settings.ca_path:
        return ()
    try:
        files = sorted(path for path in Path(settings.ca_path).iterdir() if path.is_file())
    except OSError as error:
        raise ConfigError(
            f"ca_path: {settings.ca_path} can't be read: {error.strerror}", key="ca_path"
        ) from None
    found = [
        item
        for file in files
        for item in pem_certificates(read_pem(str(file), "ca_path"), str(file), "ca_path")
    ]
    if not found:
        raise ConfigError(
            f"ca_path: {settings.ca_path} holds no certificate: put the CA in it as PEM", key="ca_path"
        )
    return tuple(found)


def pem_certificates(pem: bytes, file: str, key: str) -> tuple[x509.Certificate, ...]:
    """The certificates in ``pem``, of ``file``; raises :class:`ConfigError` that names ``key`` and the file."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise ConfigError(f"{key}: {file} does not hold PEM certificates: {error}", key=key) from None


def read_pem(file: str, key: str) -> bytes:
    """What ``file`` holds, at most ``MAX_PEM_BYTES``; raises :class:`ConfigError` that names ``key`` and the file."""
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{key}: {file} can't be read: {error.strerror}", key=key) from None
    if len(content) > MAX_PEM_BYTES:
        raise ConfigError(
            f"{key}: {file} is longer than {MAX_PEM_BYTES} bytes: that is no certificate file", key=key
        )
    return content


def _require_consistency(settings: TlsSettings, has_authorities: bool, has_certificate: bool) -> None:
    incoming = [key for key in ("verify_incoming_rpc", "verify_incoming_https") if getattr(settings, key)]
    outgoing = [key for key in ("verify_outgoing", "verify_server_hostname") if getattr(settings, key)]
    for key in incoming + outgoing:
        if not has_authorities:
            raise ConfigError(f"{key} is set and no CA is: set ca_file or ca_path", key=key)
    for key in incoming:
        if not has_certificate:
            raise ConfigError(f"{key} is set and no certificate is: set cert_file and key_file", key=key)
