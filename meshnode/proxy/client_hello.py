"""What a TLS client offers in its first message, as far as it decides who answers.

RFC 8446 4.1.2, 4.2.1, 4.2.11; RFC 6066 3.

Read before the handshake and by nobody's word: whoever lies here gets a full handshake instead of a short one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import RemoteProtocolError

__all__ = [
    "MAX_CLIENT_HELLO_BYTES",
    "TLS_ALERT_BYTES",
    "TLS_HANDSHAKE",
    "ClientOffer",
    "read_client_offer",
    "read_server_name",
]

#: A client's first message with its records; Envoy's bound too.
MAX_CLIENT_HELLO_BYTES: Final = 64 * 1024

#: First byte of a client that speaks TLS.
TLS_HANDSHAKE: Final = 22
#: What one is told that does not: fatal, protocol_version.
TLS_ALERT_BYTES: Final = b"\x15\x03\x01\x00\x02\x02\x46"
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_SUPPORTED_VERSIONS: Final = 43
_PRE_SHARED_KEY: Final = 41
_TLS_1_3: Final = b"\x03\x04"
#: Type and length of a record, without its version; type and length of the message in it.
_HEAD: Final = struct.Struct(">BxxHBBH")
_RECORD_BYTES: Final = 5
#: Type and length of an extension.
_EXTENSION: Final = struct.Struct(">HH")


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
        begin = self._from
        end = self._from = begin + count
        if end > len(self._data):
            raise _ShortError
        return self._data[begin:end]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """Bytes after their length, which has ``size`` bytes."""
        begin = self._from + size
        # Of a length that is cut off itself ``begin`` is past the end, whatever it says.
        end = self._from = begin + int.from_bytes(self._data[begin - size : begin], "big")
        if end > len(self._data):
            raise _ShortError
        return self._data[begin:end]


def read_client_offer(data: bytes) -> ClientOffer | None:
    """The offer in ``data``, the first bytes of a connection. ``None``: they are no ClientHello in one whole record."""
    if len(data) < _HEAD.size:
        return None
    kind, length, message, high, low = _HEAD.unpack_from(data)
    begin, end = _HEAD.size, _HEAD.size + (high << 16 | low)
    if kind != TLS_HANDSHAKE or message != _CLIENT_HELLO or not end <= _RECORD_BYTES + length <= len(data):
        return None
    try:
        return _offer(data[begin:end])
    except _ShortError:
        return None


def read_server_name(data: bytes) -> str | None:
    """The name that a client asks for (SNI), in lower case; empty when it names none. ``None``: there is more to come.

    ``data`` are the first bytes of a connection; the message may be cut into records in any way. Raises
    :class:`RemoteProtocolError` when they are no ClientHello, or one of more than ``MAX_CLIENT_HELLO_BYTES``.
    """
    message = _handshake_message(data[:MAX_CLIENT_HELLO_BYTES])
    if message is None:
        if len(data) >= MAX_CLIENT_HELLO_BYTES:
            raise RemoteProtocolError(f"its ClientHello is longer than {MAX_CLIENT_HELLO_BYTES} bytes")
        return None
    try:
        names = [message[at:end] for kind, at, end in _extensions(message) if kind == _SERVER_NAME]
        return _host_name(_Fields(_Fields(names[0]).vector(2))) if names else ""
    except _ShortError:
        raise RemoteProtocolError("its ClientHello is cut off inside") from None


def _handshake_message(data: bytes) -> bytes | None:
    """The body of the ClientHello that the records in ``data`` hold; ``None`` while it isn't whole."""
    records, message = _Fields(data), b""
    while records.left:
        if data[len(data) - records.left] != TLS_HANDSHAKE:
            raise RemoteProtocolError("it does not speak TLS")
        if records.left < 5:
            break
        records.take(3)
        length = records.number(2)
        if not length:
            raise RemoteProtocolError("it sends an empty record before its ClientHello is whole")
        message += records.take(min(length, records.left))
        if message and message[0] != _CLIENT_HELLO:
            raise RemoteProtocolError("its first message is no ClientHello")
        if len(message) >= 4 and len(message) - 4 >= int.from_bytes(message[1:4]):
            return message[4 : 4 + int.from_bytes(message[1:4])]
    return None


def _host_name(names: _Fields) -> str:
    while names.left:
        kind, name = names.number(1), names.vector(2)
        if kind == _HOST_NAME:
            if not (name.isascii() and name) or b"\0" in name:
                raise RemoteProtocolError("it asks for something that is no host name")
            return name.decode("ascii").lower()
    return ""


def _extensions(hello: bytes) -> Iterator[tuple[int, int, int]]:
    """Each one's type, and where its body begins and ends: this is done for every new connection."""
    at = 2 + 32  # legacy version, random
    for size in (1, 2, 1):  # legacy session id, cipher suites, compression
        at += size + int.from_bytes(hello[at : at + size], "big")
    if at == len(hello):
        return
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    # A length that was cut off itself is short too: what follows it lies behind the end.
    if end > len(hello):
        raise _ShortError
    at += 2
    while at < end:
        if end - at < _EXTENSION.size:
            raise _ShortError
        kind, length = _EXTENSION.unpack_from(hello, at)
        at += _EXTENSION.size + length
        if at > end:
            raise _ShortError
        yield kind, at - length, at


def _offer(hello: bytes) -> ClientOffer:
    tls13, ticket_bytes = False, 0
    for kind, begin, end in _extensions(hello):
        if kind == _SUPPORTED_VERSIONS:
            versions = _Fields(hello[begin:end]).vector(1)
            tls13 = _TLS_1_3 in [versions[at : at + 2] for at in range(0, len(versions), 2)]
        elif kind == _PRE_SHARED_KEY:
            ticket_bytes = len(_Fields(_Fields(hello[begin:end]).vector(2)).vector(2))
    return ClientOffer(tls13, ticket_bytes)
