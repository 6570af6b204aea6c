"""TLS as it looks from outside: a walk over the records of one direction, however long (RFC 5246 6.2, RFC 8446 5.1).

What is sealed is opaque; that it is sealed is believed when every byte of the stream belongs to a record, the
handshake chose a suite that encrypts, and the application data does not read as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from meshnode.prove.tls_hello import Handshake

__all__ = ["MAX_RECORD_BYTES", "RESYNC_BYTES", "TlsWalk", "find_records", "is_text", "looks_like_tls"]

_CHANGE_CIPHER, _HANDSHAKE, _APPLICATION_DATA = 20, 22, 23
_CONTENT_TYPES: Final = frozenset({20, 21, 22, 23, 24})
_HEADER_BYTES: Final = 5
#: RFC 8446 5.1 allows 2^14 plus 256; TLS 1.2 allows up to 2048 more.
MAX_RECORD_BYTES: Final = (1 << 14) + 2048
#: Handshake messages that are kept until they are whole: long certificate chains fit many times over.
MAX_HANDSHAKE_BYTES: Final = 128 * 1024
#: What is needed of a stream that was joined in the middle: within two whole records there is a header, and its next.
RESYNC_BYTES: Final = 2 * (MAX_RECORD_BYTES + _HEADER_BYTES) + _HEADER_BYTES
_HEADER: Final = re.compile(rb"[\x14-\x18]\x03[\x00-\x04]", re.DOTALL)
#: Start of each record's body that is looked at: 24 random bytes are text once in 10^9 records.
_SAMPLE_BYTES: Final = 64
_MIN_TEXT_BYTES: Final = 24
_NOT_TEXT: Final = bytes(set(range(256)) - set(range(32, 127)) - {9, 10, 13})


def is_text(data: bytes, least: int = _MIN_TEXT_BYTES) -> bool:
    """Whether at least ``least`` bytes are there and nearly all of them are printable ASCII."""
    return len(data) >= least and len(data.translate(None, _NOT_TEXT)) >= 0.95 * len(data)


def looks_like_tls(data: bytes | bytearray) -> bool:
    """Whether ``data`` starts with a record header that a real stack would send."""
    return (
        len(data) >= _HEADER_BYTES
        and data[0] in _CONTENT_TYPES
        and data[1] == 3
        and data[2] <= 4
        and 0 < int.from_bytes(data[3:5], "big") <= MAX_RECORD_BYTES
    )


def find_records(data: bytes) -> int | None:
    """Where records start in a stream that was joined in the middle, or ``None``.

    At a header that is followed by a whole record, and that by another header or by the end. What comes before has
    to be the rest of a record, so it is no longer than one and does not read as text.
    """
    for found in _HEADER.finditer(data, 0, MAX_RECORD_BYTES + _HEADER_BYTES):
        start = found.start()
        if not looks_like_tls(data[start : start + _HEADER_BYTES]):
            continue
        following = start + _HEADER_BYTES + int.from_bytes(data[start + 3 : start + 5], "big")
        if following == len(data) or looks_like_tls(data[following : following + _HEADER_BYTES]):
            return None if is_text(data[:start]) else start
    return None


@dataclass(slots=True)
class TlsWalk:
    """Walks the records of one direction.

    ``broken_at`` is where the first bytes are that are no record, ``readable_at`` where application data is text;
    ``first_sealed_bytes`` is the length of the first record of application data, which in TLS 1.3 is of the handshake.
    """

    handshake: Handshake = field(default_factory=Handshake)
    position: int = 0
    records: int = 0
    sealed_bytes: int = 0
    first_sealed_bytes: int | None = None
    broken_at: int | None = None
    readable_at: int | None = None
    _header: bytearray = field(default_factory=bytearray)
    _body: bytearray = field(default_factory=bytearray)
    _left: int = 0
    _clear: bytearray = field(default_factory=bytearray)
    _in_clear: bool = True

    def feed(self, data: bytes) -> None:
        """Take the next bytes; after ``broken_at`` is set nothing more is read."""
        at = 0
        while at < len(data) and self.broken_at is None:
            if not self._left:
                wanted = _HEADER_BYTES - len(self._header)
                self._header += data[at : at + wanted]
                at += wanted
                if len(self._header) < _HEADER_BYTES:
                    break
                if not looks_like_tls(self._header):
                    self.broken_at = self.position
                    break
                self._left = int.from_bytes(self._header[3:5], "big")
                self._body.clear()
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            room = MAX_RECORD_BYTES if self._header[0] == _HANDSHAKE and self._in_clear else _SAMPLE_BYTES
            if len(self._body) < room:
                self._body += piece[: room - len(self._body)]
            if not self._left:
                self._end_record()

    def finish(self) -> None:
        """Nothing follows: look at the record that was cut off, too."""
        if self._left and self._header[0] == _APPLICATION_DATA and is_text(bytes(self._body)):
            self.readable_at = self.readable_at or self.position + _HEADER_BYTES

    def _end_record(self) -> None:
        kind, length = self._header[0], int.from_bytes(self._header[3:5], "big")
        if kind == _APPLICATION_DATA:
            self.sealed_bytes += length
            if self.first_sealed_bytes is None:
                self.first_sealed_bytes = length
            self._stop_reading()
            if self.readable_at is None and is_text(bytes(self._body)):
                self.readable_at = self.position + _HEADER_BYTES
        elif kind == _CHANGE_CIPHER:
            # What looks like handshake records afterwards is sealed. A server that asked for another hello first
            # sends this before its real one (RFC 8446 4.1.4, D.4).
            if self.handshake.side != "server" or self.handshake.version:
                self._stop_reading()
        elif kind == _HANDSHAKE and self._in_clear and len(self._clear) < MAX_HANDSHAKE_BYTES:
            self._clear += self._body
            del self._clear[: self.handshake.read(bytes(self._clear))]
        self.records += 1
        self.position += _HEADER_BYTES + length
        self._header.clear()

    def _stop_reading(self) -> None:
        self._in_clear = False
        self._clear.clear()
