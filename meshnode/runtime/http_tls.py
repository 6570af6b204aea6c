"""TLS between the socket and an HTTP connection, in memory, so that each connection gets the certificate of its moment.

asyncio's own TLS takes one context per listener and hides why a handshake failed. Here the context is asked for when
a client connects, the first byte is looked at before OpenSSL sees it, and a failure is explained with the peer's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

from meshnode.runtime.http_connection import HttpConnection
from meshnode.runtime.http_host import log

__all__ = ["ContextProvider", "Explain", "TlsFilter"]

#: Gives the context for the next connection, so a renewed certificate or CA needs no restart.
ContextProvider = Callable[[], ssl.SSLContext]
#: Says in a sentence why a handshake with a peer failed.
Explain = Callable[[ssl.SSLObject | None, Exception, str], str]

READ_BYTES: Final = 64 * 1024
#: A handshake record, and the first byte of an SSLv2 hello, which OpenSSL refuses with its own reason.
_TLS_FIRST_BYTES: Final = frozenset({0x16, 0x80})
#: What Go's server says.
_PLAIN_ANSWER: Final = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.\n"
)


class TlsFilter(asyncio.Protocol):
    """The protocol of the socket; ``connection`` gets the decrypted bytes and writes through :class:`_TlsTransport`."""

    def __init__(self, connection: HttpConnection, provider: ContextProvider, explain: Explain) -> None:
        self._connection = connection
        self._provider = provider
        self._explain = explain
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._transport = cast(asyncio.Transport, None)  # there is one before anything else happens
        self._fresh = True
        self._reading = True
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected; the handshake is under the connection's header time-out."""
        self._transport = cast(asyncio.Transport, transport)
        self._connection.connection_made(_TlsTransport(self, self._transport))
        if self._transport.is_closing():
            return
        try:
            self._tls = self._provider().wrap_bio(self._incoming, self._outgoing, server_side=True)
        except (OSError, ValueError) as error:
            log.error("no TLS for %s: %s", self._connection.reader.remote, error)
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes from the socket."""
        if self._tls is None:
            return
        if self._fresh:
            self._fresh = False
            if data[0] not in _TLS_FIRST_BYTES:
                log.warning(
                    "%s spoke plain %s to the HTTPS port: use https:// there, or the port of ports.http",
                    self._connection.reader.remote,
                    "HTTP" if data[:1].isalpha() else "bytes",
                )
                self._transport.write(_PLAIN_ANSWER)
                self._transport.close()
                return
        self._incoming.write(data)
        if self.open or self._shake_hands(self._tls):
            self._read()

    def _shake_hands(self, tls: ssl.SSLObject) -> bool:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            return False
        except (ssl.SSLError, ValueError) as error:
            remote = self._connection.reader.remote
            log.warning("TLS handshake with %s failed: %s", remote, self._explain(tls, error, remote))
            self.flush()
            self._transport.close()
            return False
        self.flush()
        self.open = True
        reader = self._connection.reader
        reader.secure = True
        reader.client_subject = _subject(tls.getpeercert())
        return True

    def _read(self) -> None:
        """Hand on what can be decrypted, until the connection wants to read no more."""
        tls = self._tls
        while tls is not None and self._reading and not self._transport.is_closing():
            try:
                data = tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                log.info("TLS with %s failed: %s", self._connection.reader.remote, error.reason or error)
                self._transport.abort()
                return
            if not data:
                self._end_of_file()
                return
            self._connection.data_received(data)
        self.flush()

    def _end_of_file(self) -> None:
        if not self._connection.eof_received():
            self.close()

    def eof_received(self) -> bool:
        """The socket's other side sends no more."""
        if self.open:
            return self._connection.eof_received()
        if not self._fresh and not self._transport.is_closing():
            reason = "the peer closed the connection"
            log.info("TLS handshake with %s failed: %s", self._connection.reader.remote, reason)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._tls = None
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """The socket's buffer has emptied."""
        self._connection.resume_writing()

    # the side of _TlsTransport

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if self._tls is None or not self.open or self._transport.is_closing():
            return
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError as error:
            log.info("TLS with %s failed: %s", self._connection.reader.remote, error.reason or error)
            self._transport.abort()
            return
        self.flush()

    def flush(self) -> None:
        """Send what OpenSSL has ready."""
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    def close_notify(self) -> None:
        """Tell the peer that nothing follows (RFC 8446 6.1)."""
        if self._tls is not None and self.open:
            # The peer's answer hasn't come, or never will; ours is what counts.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self.flush()

    def close(self) -> None:
        """Send what is left and close."""
        self.close_notify()
        self._transport.close()

    def set_reading(self, reading: bool) -> None:
        """Stop or go on reading; what was decrypted already is handed on first."""
        self._reading = reading
        if reading:
            self._transport.resume_reading()
            asyncio.get_running_loop().call_soon(self._read)
        else:
            self._transport.pause_reading()


class _TlsTransport(asyncio.Transport):
    """What the HTTP connection sees in place of the socket."""

    def __init__(self, tls: TlsFilter, transport: asyncio.Transport) -> None:
        super().__init__()
        self._tls = tls
        self._transport = transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._tls.write(bytes(data))

    def can_write_eof(self) -> bool:
        return self._tls.open

    def write_eof(self) -> None:
        self._tls.close_notify()
        self._transport.write_eof()

    def close(self) -> None:
        self._tls.close()

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._tls.set_reading(False)

    def resume_reading(self) -> None:
        self._tls.set_reading(True)


def _subject(certificate: dict[str, Any] | None) -> str:
    """``CN=web,O=Example``, most specific first (RFC 4514), of a certificate that OpenSSL has verified."""
    names = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}
    parts = [pair for group in (certificate or {}).get("subject", ()) for pair in group]
    return ",".join(f"{names.get(name, name)}={value}" for name, value in reversed(parts))
