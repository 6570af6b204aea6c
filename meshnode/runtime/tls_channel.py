"""TLS over bytes in memory, and what certificates a handshake carried.

OpenSSL verifies and refuses; nothing here weakens that. But it drops a certificate that it refused (a server can't ask
for it at all), so the Certificate messages are copied by the message callback of the context, for the log line only.
Should that callback be missing from a later Python, the sentence is poorer and the refusal the same.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from meshnode.runtime.tls_certificate import certificates_in_message, summarize
from meshnode.runtime.tls_explain import HandshakeFailure, Side, explain

__all__ = ["PeerCertificates", "TlsChannel", "TlsProfile", "explain_object", "watch_certificates"]

_HANDSHAKE_CONTENT, _CERTIFICATE_MESSAGE = 22, 11
#: Plaintext taken at a time: more than a TLS record can hold.
_READ_BYTES: Final = 32 * 1024


class PeerCertificates(ssl.SSLObject):
    """An ``SSLObject`` that remembers the Certificate message of its peer, verified or not."""

    peer_message: bytes = b""
    peer_message_is_tls13: bool = False

    def shown(self) -> tuple[bytes, ...]:
        """DER of what the peer showed, its own certificate first; **not verified** unless the handshake succeeded."""
        return certificates_in_message(self.peer_message, tls13=self.peer_message_is_tls13)


@dataclass(frozen=True, slots=True)
class TlsProfile:
    """All that one handshake needs. ``server_hostname``: what the peer's certificate must be valid for, or SNI only."""

    context: ssl.SSLContext
    side: Side
    server_hostname: str | None = None


def watch_certificates(context: ssl.SSLContext, on_presented: Callable[[bytes], None]) -> None:
    """Make ``context`` produce :class:`PeerCertificates`; ``on_presented`` gets the DER that we present, each time."""

    def on_message(
        connection: object, direction: str, version: int, content: int, message_type: int, data: bytes
    ) -> None:
        if content != _HANDSHAKE_CONTENT or message_type != _CERTIFICATE_MESSAGE:
            return
        tls13 = version >= ssl.TLSVersion.TLSv1_3
        if direction == "read":
            if isinstance(connection, PeerCertificates):
                connection.peer_message, connection.peer_message_is_tls13 = data, tls13
        elif presented := certificates_in_message(data, tls13=tls13):
            on_presented(presented[0])

    context.sslobject_class = PeerCertificates
    # The descriptor below ssl.SSLContext: its Python wrapper builds three enums for every TLS record.
    descriptor: Any = getattr(super(ssl.SSLContext, ssl.SSLContext), "_msg_callback", None)
    if descriptor is not None:
        descriptor.__set__(context, on_message)


def explain_object(tls: ssl.SSLObject | None, error: Exception, peer: str, side: Side) -> HandshakeFailure:
    """Put the failure of a handshake into words, with what ``tls`` remembers of the peer's certificate."""
    shown = tls.shown() if isinstance(tls, PeerCertificates) else ()
    return explain(error, peer, side, summarize(shown[0]) if shown else None, presented=bool(shown))


class TlsChannel:
    """One TLS connection: ciphertext in, plaintext out, and back. Errors are those of ``ssl``."""

    def __init__(self, profile: TlsProfile) -> None:
        self._profile = profile
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = profile.context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=profile.side.server,
            server_hostname=profile.server_hostname,
        )
        self.established = False
        #: The peer said it will send no more.
        self.ended = False

    def receive(self, ciphertext: bytes) -> bytes:
        """Take bytes off the wire (none: start the handshake); returns plaintext. Look at ``to_send`` afterwards.

        Raises ``ssl.SSLError``; an alert for the peer is then in ``to_send``.
        """
        self._incoming.write(ciphertext)
        try:
            if not self.established:
                self._object.do_handshake()
                self.established = True
            return self._read()
        except ssl.SSLWantReadError:
            return b""

    def _read(self) -> bytes:
        chunks: list[bytes] = []
        try:
            while chunk := self._object.read(_READ_BYTES):
                chunks.append(chunk)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(chunks) if len(chunks) != 1 else chunks[0]

    def send(self, plaintext: bytes) -> None:
        """Encrypt; the result is in ``to_send``."""
        self._object.write(plaintext)

    def finish(self) -> None:
        """Say that we will send no more (close_notify)."""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            return  # no answer yet, or no session to end: what there was to say is in to_send

    def to_send(self) -> bytes:
        """Bytes for the wire."""
        return self._outgoing.read()

    def peer_certificate(self) -> bytes | None:
        """DER of the peer's certificate after a handshake that verified it; ``None`` when it had to show none."""
        verified = self.established and self._profile.context.verify_mode is ssl.CERT_REQUIRED
        return self._object.getpeercert(binary_form=True) if verified else None

    def description(self) -> tuple[str, str]:
        """(version, cipher) of an established channel, such as ``("TLSv1.3", "TLS_AES_256_GCM_SHA384")``."""
        cipher = self._object.cipher()
        return self._object.version() or "", cipher[0] if cipher else ""

    def explain(self, error: Exception, peer: str) -> HandshakeFailure:
        """Why the handshake failed."""
        return explain_object(self._object, error, peer, self._profile.side)
