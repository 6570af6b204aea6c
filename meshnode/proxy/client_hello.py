"""What a TLS client offers in its first message, as far as it decides who answers (RFC 8446 4.1.2, 4.2.1, 4.2.11).

Read before the handshake and by nobody's word: whoever lies here gets a full handshake instead of a short one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["ClientOffer", "read_client_offer"]

_HANDSHAKE_RECORD: Final = 22
_CLIENT_HELLO: Final = 1
_SUPPORTED_VERSIONS: Final = 43
_PRE_SHARED_KEY: Final = 41
_TLS_1_3: Final = b"\x03\x04"


@dataclass(frozen=True, slots=True)
class ClientOffer:
    """``tls13``: it speaks TLS 1.3. ``ticket_bytes``: length of the first ticket that it wants to resume with, or 0."""

    tls13: bool
    ticket_bytes: int


class _ShortError(Exception):
    """The message ends before a length in it says so."""


class _Fields:
    """Bytes taken from the front."""

    __slots__ = ("_data", "_from")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._from = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._from

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _ShortError
        self._from += count
        return self._data[self._from - count : self._from]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """Bytes after their length, which has ``size`` bytes."""
        return self.take(self.number(size))


def read_client_offer(data: bytes) -> ClientOffer | None:
    """The offer in ``data``, the first bytes of a connection. ``None``: they are no ClientHello in one whole record."""
    try:
        record = _Fields(data)
        kind, _ = record.number(1), record.take(2)
        message = _Fields(record.vector(2))
        if kind != _HANDSHAKE_RECORD or message.number(1) != _CLIENT_HELLO:
            return None
        return _offer(_Fields(message.vector(3)))
    except _ShortError:
        return None


def _offer(hello: _Fields) -> ClientOffer:
    hello.take(2 + 32)  # legacy version, random
    hello.vector(1)  # legacy session id
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression
    tls13, ticket_bytes = False, 0
    if hello.left:
        extensions = _Fields(hello.vector(2))
        while extensions.left:
            kind, body = extensions.number(2), _Fields(extensions.vector(2))
            if kind == _SUPPORTED_VERSIONS:
                versions = body.vector(1)
                tls13 = _TLS_1_3 in (versions[at : at + 2] for at in range(0, len(versions), 2))
            elif kind == _PRE_SHARED_KEY:
                ticket_bytes = len(_Fields(body.vector(2)).vector(2))
    return ClientOffer(tls13, ticket_bytes)
