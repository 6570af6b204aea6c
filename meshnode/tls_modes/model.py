"""Listeners that end, begin or pass on TLS, as checked values.

| mode | clients speak | the upstream hears |
|---|---|---|
| ``terminate`` | HTTPS | HTTP |
| ``bridge`` | HTTPS | HTTPS, in a session of its own |
| ``originate`` | HTTP | HTTPS |
| ``passthrough`` | TLS | the same TLS: nothing is opened, the name that the client asks for (SNI) may decide |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import DEFAULT_CONNECT_TIMEOUT, DEFAULT_HANDSHAKE_TIMEOUT, Endpoint, clash

__all__ = [
    "MAX_LISTENERS",
    "MAX_SERVER_NAMES",
    "REQUEST_TIMEOUT",
    "Authorities",
    "Certificate",
    "CertificateFiles",
    "CertificateSecret",
    "CertificateText",
    "Mode",
    "TlsListener",
    "TlsProxyConfig",
    "TlsUpstream",
    "listener_name",
    "server_name",
]

MAX_LISTENERS: Final = 256
MAX_SERVER_NAMES: Final = 256
#: Seconds until an upstream's answer has to be there; Envoy's default, which it tells upstreams in a header.
REQUEST_TIMEOUT: Final = 15.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_SERVER_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z)(\*\.)?{_LABEL}(?:\.{_LABEL})*")


class Mode(StrEnum):
    """What becomes of TLS; see the table above."""

    TERMINATE = "terminate"
    BRIDGE = "bridge"
    ORIGINATE = "originate"
    PASSTHROUGH = "passthrough"

    @property
    def ends_tls(self) -> bool:
        """Whether the listener shows a certificate of its own."""
        return self in (Mode.TERMINATE, Mode.BRIDGE)

    @property
    def begins_tls(self) -> bool:
        """Whether the listener checks the certificate of the upstream."""
        return self in (Mode.BRIDGE, Mode.ORIGINATE)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Absolute paths of PEM files: a chain, the listener's own certificate first, and its key. They may be replaced."""

    cert_file: str
    key_file: str


@dataclass(frozen=True, slots=True)
class CertificateText:
    """The same as PEM text in the configuration."""

    cert_pem: str
    key_pem: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CertificateSecret:
    """A file with Envoy's secret ``name``, as its discovery service (SDS) writes it; somebody else keeps it fresh."""

    sds_file: str
    name: str


Certificate: TypeAlias = CertificateFiles | CertificateText | CertificateSecret


@dataclass(frozen=True, slots=True)
class Authorities:
    """Whom the upstream's certificate has to come from: a PEM file, which may be replaced, or PEM text."""

    ca_file: str = ""
    ca_pem: str = ""


@dataclass(frozen=True, slots=True)
class TlsUpstream:
    """Where a listener leads. ``connect_timeout`` is in seconds.

    ``sni`` is sent, empty: nothing. The certificate has to be of ``authorities`` and for ``server_name``, a DNS name or
    an IP address. ``insecure_skip_verify``: whoever answers is believed, for a negative control.
    """

    address: Endpoint
    authorities: Authorities | None = None
    sni: str = ""
    server_name: str = ""
    insecure_skip_verify: bool = False
    connect_timeout: float = DEFAULT_CONNECT_TIMEOUT

    @property
    def verified_name(self) -> str:
        """The name that its certificate must be for: ``server_name``, else what is sent, else what is dialled."""
        return self.server_name or self.sni or self.address.host


@dataclass(frozen=True, slots=True)
class TlsListener:
    """One listener. Raises :class:`ConfigError`, which names the key, for settings that its mode can't have.

    ``server_names``: in mode ``passthrough`` the only names that clients may ask for, ``*.`` before one stands for any
    labels; none given: any, and none.
    """

    name: str
    bind: Endpoint
    mode: Mode
    upstream: TlsUpstream
    certificate: Certificate | None = None
    server_names: tuple[str, ...] = ()
    handshake_timeout: float = DEFAULT_HANDSHAKE_TIMEOUT

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"{self.name!r:.80} is no name for a listener: write 1 to 64 letters, digits, '.', '_' and '-'"
            )
        if self.mode.ends_tls and self.certificate is None:
            raise ConfigError(
                f"certificate is missing: in mode {self.mode} clients are shown one; write cert_file and key_file",
                key="certificate",
            )
        if not self.mode.ends_tls and self.certificate is not None:
            other = "bridge" if self.mode is Mode.ORIGINATE else "terminate or bridge"
            raise ConfigError(
                f"certificate: mode {self.mode} shows none to clients: leave it out, or use mode {other}",
                key="certificate",
            )
        if self.server_names and self.mode is not Mode.PASSTHROUGH:
            raise ConfigError(
                f"server_names: only mode passthrough decides by them, not {self.mode}: leave them out",
                key="server_names",
            )
        if len(self.server_names) > MAX_SERVER_NAMES:
            raise ConfigError(
                f"server_names: {len(self.server_names)} are more than {MAX_SERVER_NAMES}", key="server_names"
            )
        self._check_upstream()

    def _check_upstream(self) -> None:
        one = self.upstream
        if not self.mode.begins_tls:
            given = [name for name in ("sni", "server_name", "insecure_skip_verify") if getattr(one, name)]
            given = (["ca_file or ca_pem"] if one.authorities else []) + given
            if given:
                speaks = "plain HTTP" if self.mode is Mode.TERMINATE else "the client's own TLS"
                raise ConfigError(
                    f"upstream: in mode {self.mode} the upstream hears {speaks}, so {' and '.join(given)} can't hold: "
                    "leave out, or use mode bridge",
                    key="upstream",
                )
        elif one.insecure_skip_verify and (one.authorities or one.server_name):
            raise ConfigError(
                "upstream: insecure_skip_verify checks nothing, and a CA or server_name says what to check: "
                "leave one of both out",
                key="upstream.insecure_skip_verify",
            )
        elif not one.insecure_skip_verify and one.authorities is None:
            raise ConfigError(
                "upstream: ca_file is missing: name the CA that the upstream's certificate comes from (ca_file or "
                "ca_pem), or say insecure_skip_verify = true",
                key="upstream.ca_file",
            )


@dataclass(frozen=True, slots=True)
class TlsProxyConfig:
    """All listeners of a process; ``admin`` is where Envoy's own API listens, ``None``: nowhere.

    Raises :class:`ConfigError` when there is none, or two want the same name or address.
    """

    listeners: tuple[TlsListener, ...]
    admin: Endpoint | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.listeners) <= MAX_LISTENERS:
            raise ConfigError(
                f"{len(self.listeners)} listeners: write 1 to {MAX_LISTENERS}, each as a block "
                'listener "name" { ... }',
                key="listener",
            )
        taken: list[tuple[Endpoint, str]] = [] if self.admin is None else [(self.admin, "admin")]
        names: set[str] = set()
        for one in self.listeners:
            for bind, name in taken:
                if clash(one.bind, bind):
                    raise ConfigError(
                        f"listener.{one.name}.bind: {one.bind} is that of {name}: give each its own port",
                        key=f"listener.{one.name}.bind",
                    )
            if one.name in names:
                raise ConfigError(
                    f"listener.{one.name}: comes twice: give each its own name", key=f"listener.{one.name}"
                )
            taken.append((one.bind, f"listener.{one.name}"))
            names.add(one.name)


def server_name(text: str, *, wildcard: bool = False) -> str:
    """``text`` in lower case if it is a DNS name, as SNI carries them (RFC 6066 3); else :class:`ConfigError`."""
    match = _SERVER_NAME.fullmatch(text)
    if match is None or (match[1] and not wildcard) or text.replace(".", "").isdigit():
        form = 'a DNS name, or "*." and a DNS name' if wildcard else "a DNS name without a wildcard"
        raise ConfigError(f"{text!r:.120} is not {form}")
    return text.lower()


def listener_name(names: tuple[str, ...], asked: str) -> str | None:
    """Which of ``names`` lets in a client that asks for ``asked`` (empty: it sent no SNI); ``None``: none of them.

    As Envoy does: the name itself before a wildcard, a longer wildcard before a shorter one.
    """
    asked = asked.lower()
    if asked in names:
        return asked
    labels = asked.split(".")
    for count in range(1, len(labels)):
        wild = ".".join(("*", *labels[count:]))
        if wild in names:
            return wild
    return None
