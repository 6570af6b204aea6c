"""Where the agent listens, TLS to it, and why it can't be reached. ``ssl`` is imported for ``https://`` alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from meshnode.base.errors import ConfigError
from meshnode.client.answer import AgentUnreachable

if TYPE_CHECKING:
    import ssl

    from meshnode.base.http_answer import MalformedAnswer

__all__ = [
    "Endpoint",
    "TlsFiles",
    "broken_off",
    "not_an_agent",
    "oversized",
    "parse_endpoint",
    "tls_context",
    "unreachable",
]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the agent listens: ``host`` and ``port``, or the socket file ``path``."""

    text: str
    host: str = ""
    port: int = 0
    path: str = ""
    secure: bool = False

    @property
    def authority(self) -> str:
        """The ``Host`` header of requests to it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if host else "localhost"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What to trust and what to show; an empty name is "not given". ``server_name`` replaces the host."""

    ca_file: str = ""
    ca_path: str = ""
    certificate: str = ""
    key: str = ""
    server_name: str = ""
    verify: bool = True

    @property
    def names(self) -> str:
        """The files, for an error."""
        return ", ".join(filter(None, (self.ca_file, self.ca_path, self.certificate, self.key)))


def parse_endpoint(text: str) -> Endpoint:
    """Read ``http://host:port``, ``https://...`` or ``unix:///path``; raises :class:`ConfigError`."""
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        if not path or "\0" in path:
            raise ConfigError(f"-http-addr: {text!r} names no socket: write unix:///path")
        return Endpoint(text, path=path)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(
            f"-http-addr: {text!r} is not an address ({error}): write host:port with a port up to 65535"
        ) from None
    if parts.scheme not in {"http", "https"} or not host or not text.isprintable() or " " in text:
        raise ConfigError(
            f"-http-addr: {text!r} is not an address: write host:port, http://, https:// or unix:///path"
        )
    secure = parts.scheme == "https"
    return Endpoint(text, host=host, port=port or (443 if secure else 80), secure=secure)


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """A client's context; raises :class:`ConfigError` naming the files when they can't be used."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=files.ca_file or None, capath=files.ca_path or None)
        # What is in the CA file is trusted as it is, intermediates included, as Go and the agent do.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        if files.key and not files.certificate:
            raise ConfigError("-client-key is given and -client-cert is not: they go together")
        if files.certificate:
            context.load_cert_chain(files.certificate, files.key or None, password=_no_passphrase)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"can't load the TLS files {files.names}: {_fault(files, error)}") from None
    if not files.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _fault(files: TlsFiles, error: OSError) -> str:
    """Which of ``files`` made OpenSSL fail with ``error``, and what to do."""
    for path in filter(None, (files.ca_file, files.certificate, files.key)):
        try:
            with open(path, "rb"):
                pass
        except OSError as unreadable:
            return f"{path}: {unreadable.strerror}"
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    if reason == "NO_CERTIFICATE_OR_CRL_FOUND":
        return f"{files.ca_file} holds no certificate in PEM form"
    if reason == "KEY_VALUES_MISMATCH":
        return f"{files.key or files.certificate} is not the key of {files.certificate}: give the two of one pair"
    if "PEM lib" in reason and files.certificate:
        if not files.key:
            return f"{files.certificate} has no key with it: set -client-key or CONSUL_CLIENT_KEY to its file"
        return f"{files.certificate} is no certificate, or {files.key} no key, in PEM form"
    return reason


def unreachable(endpoint: Endpoint, error: Exception, *, connected: bool) -> AgentUnreachable:
    """``error`` of a socket as a sentence with the fix; ``connected``: TCP, and TLS if any, had been established."""
    where = endpoint.text
    if isinstance(error, TimeoutError):
        return AgentUnreachable(f"the agent at {where} did not answer in time")
    ended = isinstance(error, ConnectionError | EOFError) or type(error).__name__ == "SSLEOFError"
    if endpoint.secure and connected and ended:
        # In TLS 1.3 the refusal of a certificate comes after the handshake, and may be overtaken by the reset.
        return AgentUnreachable(
            f"TLS with the agent at {where} failed: it hung up on us. {_tls_advice('ALERT')}"
        )
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or ""
    if not reason:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return AgentUnreachable(
            f"can't reach the agent at {where}: {reason}. "
            "Is it running there? Set -http-addr or CONSUL_HTTP_ADDR to its address."
        )
    text = str(reason).rstrip(".")
    return AgentUnreachable(f"TLS with the agent at {where} failed: {text}. {_tls_advice(text)}")


def not_an_agent(endpoint: Endpoint, error: MalformedAnswer) -> AgentUnreachable:
    """What came from there is not HTTP."""
    hint = "" if endpoint.secure else ": does it speak TLS? Then write https://"
    return AgentUnreachable(f"what answers at {endpoint.text} {error}{hint}")


def oversized(endpoint: Endpoint, most: int) -> AgentUnreachable:
    """The answer has more than ``most`` bytes, which no agent sends."""
    return AgentUnreachable(f"{endpoint.text} answers with more than {most} bytes: is it an agent?")


def broken_off(endpoint: Endpoint) -> AgentUnreachable:
    """The connection ended in the middle of an answer."""
    return AgentUnreachable(f"the agent at {endpoint.text} closed the connection before its answer was whole")


def _tls_advice(reason: str) -> str:
    if "ALERT" in reason:
        return "It refused what we showed: set CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY to a pair that it trusts."
    if reason in {
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "HTTP_REQUEST",
        "UNEXPECTED_EOF_WHILE_READING",
    }:
        return "That port does not speak TLS: use http://, or the port of ports.https."
    return (
        "Set CONSUL_CACERT to the CA of its certificate, and CONSUL_TLS_SERVER_NAME "
        "to a name that is in the certificate."
    )


def _no_passphrase() -> str:
    raise ConfigError("-client-key: the key is encrypted: store it without a passphrase")
