"""One HTTP/1.1 exchange over a socket: httptools reads, the standard library connects.

``http.client`` would do, but it loads ``ssl`` and ``email``, which takes longer than all the rest of ``members``; here
TLS is loaded only for ``https://``. Every failure is a :class:`MeshError` that says what to look at.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httptools

from meshnode.base.errors import ConfigError, MeshError

if TYPE_CHECKING:
    import ssl

__all__ = ["MAX_ANSWER_BYTES", "Connection", "Endpoint", "TlsFiles", "parse_endpoint"]

#: Far above what any command reads; a stream is not counted.
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
READ_BYTES: Final = 64 * 1024
#: Seconds to connect.
CONNECT_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the agent listens: ``host`` and ``port``, or the socket file ``path``."""

    text: str
    host: str = ""
    port: int = 0
    path: str = ""
    secure: bool = False


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


class Connection:
    """One request and its answer; a context manager. ``timeout`` (seconds, ``None``: for ever) is for each read."""

    def __init__(self, endpoint: Endpoint, tls: TlsFiles, timeout: float | None) -> None:
        self._endpoint = endpoint
        self._reader = _AnswerReader()
        self._bounded = timeout is not None
        self._connected = False
        context = _tls_context(tls) if endpoint.secure else None
        try:
            self._socket = _connect(endpoint)
            if context is not None:
                self._socket = context.wrap_socket(
                    self._socket, server_hostname=tls.server_name or endpoint.host
                )
            self._socket.settimeout(timeout)
            self._connected = True
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from None

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; what is half read is lost."""
        self._socket.close()

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> None:
        """Send the request."""
        endpoint = self._endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        where = f"{host}:{endpoint.port}" if host else "localhost"
        lines = [f"{method} {target} HTTP/1.1", f"Host: {where}", "User-Agent: meshnode", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None or method != "GET":
            lines.append(f"Content-Length: {len(body or b'')}")
        head = "\r\n".join([*lines, "", ""]).encode()
        try:
            self._socket.sendall(head + (body or b""))
        except OSError as error:
            raise self._unreachable(error) from None

    def status(self) -> int:
        """The status of the answer; reads until it is there."""
        while not self._reader.status:
            self._read()
        return self._reader.status

    def header(self, name: str) -> str:
        """A header of the answer, once :meth:`status` is known; empty when it was not sent."""
        return self._reader.headers.get(name.lower(), "")

    def body(self) -> Iterator[bytes]:
        """The body, in pieces as they come."""
        total = 0
        while True:
            while self._reader.pieces:
                piece = self._reader.pieces.pop(0)
                total += len(piece)
                if self._bounded and total > MAX_ANSWER_BYTES:
                    raise MeshError(
                        f"{self._endpoint.text} answers with more than {MAX_ANSWER_BYTES} bytes: is it an agent?"
                    )
                yield piece
            if self._reader.complete:
                return
            self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except OSError as error:
            raise self._unreachable(error) from None
        if not data:
            if self._reader.ended():
                return
            if self._endpoint.secure and not self._reader.status:
                raise self._unreachable(EOFError())
            raise MeshError(
                f"the agent at {self._endpoint.text} closed the connection before its answer was whole"
            )
        self._reader.feed(data, self._endpoint)

    def _unreachable(self, error: Exception) -> MeshError:
        where = self._endpoint.text
        if isinstance(error, TimeoutError):
            return MeshError(f"the agent at {where} did not answer in time")
        ended = isinstance(error, ConnectionError | EOFError) or type(error).__name__ == "SSLEOFError"
        if self._endpoint.secure and self._connected and ended:
            # In TLS 1.3 the refusal of a certificate comes after the handshake, and may be overtaken by the reset.
            return MeshError(
                f"TLS with the agent at {where} failed: it hung up on us. {_tls_advice('ALERT')}"
            )
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or ""
        if not reason:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return MeshError(
                f"can't reach the agent at {where}: {reason}. "
                "Is it running there? Set -http-addr or CONSUL_HTTP_ADDR to its address."
            )
        return MeshError(f"TLS with the agent at {where} failed: {reason}. {_tls_advice(str(reason))}")


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


def _connect(endpoint: Endpoint) -> socket.socket:
    if endpoint.path:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.settimeout(CONNECT_TIMEOUT)
            opened.connect(endpoint.path)
        except BaseException:
            opened.close()
            raise
        return opened
    try:
        return socket.create_connection((endpoint.host, endpoint.port), CONNECT_TIMEOUT)
    except UnicodeError:
        raise OSError(f"{endpoint.host!r} is no host name") from None


def _tls_context(files: TlsFiles) -> ssl.SSLContext:
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
        reason = getattr(error, "reason", None) or error.strerror or error
        raise ConfigError(f"can't load the TLS files {files.names}: {reason}") from None
    if not files.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _no_passphrase() -> str:
    raise ConfigError("-client-key: the key is encrypted: store it without a passphrase")


class _AnswerReader:
    """Collects what httptools reports of one answer."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._framed = False
        #: The headers for blocking queries alone, so that a long head costs nothing.
        self.headers: dict[str, str] = {}
        self.status = 0
        self.pieces: list[bytes] = []
        self.complete = False

    def feed(self, data: bytes, endpoint: Endpoint) -> None:
        """Take in what was read."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            hint = "" if endpoint.secure else ": does it speak TLS? Then write https://"
            raise MeshError(f"what answers at {endpoint.text} does not speak HTTP{hint}") from None

    def ended(self) -> bool:
        """The connection ended; whether the answer is whole (one without a length ends like that)."""
        if self.status and not self._framed:
            self.complete = True
        return self.complete

    # Called by httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        name = name.lower()
        self._framed = self._framed or name in {b"content-length", b"transfer-encoding"}
        if name in {b"x-consul-index", b"x-consul-contenthash"}:
            self.headers[name.decode()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is whole; what comes before the real answer (1xx) is passed over."""
        status = self._parser.get_status_code()
        self.status = status if status >= 200 else 0

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        self.complete = self.status > 0
