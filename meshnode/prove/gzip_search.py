"""What gzip hides in a stream: members are found by their first bytes and expanded as they come, in bounded memory.

A chunk header of HTTP between two pieces ends the expansion; what came before it has been looked at.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

__all__ = ["GZIP_MAGIC", "MAX_EXPANDED_BYTES", "MAX_MEMBERS", "Gunzip"]

#: What every member begins with.
GZIP_MAGIC: Final = b"\x1f\x8b\x08"
#: Magic, deflate, and the flags that are written: none, or a name of a file (RFC 1952 2.3).
_MAGIC: Final = re.compile(rb"\x1f\x8b\x08[\x00\x08]")
_MAGIC_BYTES: Final = 4
#: Expanded bytes of one member, and members of one stream: a bomb ends here.
MAX_EXPANDED_BYTES: Final = 4 * 1024 * 1024
MAX_MEMBERS: Final = 1024
_PIECE_BYTES: Final = 256 * 1024


class Gunzip:
    """Takes a stream in pieces; gives what is compressed in it, expanded."""

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None
        self._room = 0
        self._members = 0
        self._tail = b""

    def feed(self, data: bytes) -> list[bytes]:
        """What the members in ``data`` hold, in pieces; an empty piece stands between two members."""
        found: list[bytes] = []
        while data:
            inflate = self._inflate
            if inflate is None:
                inflate, data = self._find(data)
                if inflate is None:
                    break
                found.append(b"")
            text, data = self._expand(inflate, data)
            if text:
                found.append(text)
        return found

    def skip(self) -> None:
        """Bytes are missing here."""
        self._inflate = None
        self._tail = b""

    def _find(self, data: bytes) -> tuple[zlib._Decompress | None, bytes]:
        """Begin the next member that ``data`` holds the start of; returns what expands it, and its bytes."""
        window = self._tail + data
        start = _MAGIC.search(window) if self._members < MAX_MEMBERS else None
        if start is None:
            self._tail = window[-(_MAGIC_BYTES - 1) :]
            return None, b""
        self._members += 1
        self._room = MAX_EXPANDED_BYTES
        self._tail = b""
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        return self._inflate, window[start.start() :]

    def _expand(self, inflate: zlib._Decompress, data: bytes) -> tuple[bytes, bytes]:
        """A piece of text, and what of ``data`` has still to be looked at."""
        if not self._room:
            self._inflate = None
            return b"", data[1:]
        try:
            text = inflate.decompress(data, min(self._room, _PIECE_BYTES))
        except zlib.error:
            self._inflate = None
            # The first bytes were those of no member, or of one that was cut: look behind them.
            return b"", data[1:]
        self._room -= len(text)
        if inflate.eof:
            self._inflate = None
            return text, inflate.unused_data
        return text, inflate.unconsumed_tail
