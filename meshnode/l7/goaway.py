"""GOAWAY without an error, taken out of the frames that h2 is given.

For h2 the connection ends with it at once, while by RFC 9113 6.8 the streams that the peer has seen are finished.
"""

from __future__ import annotations

from typing import Final

__all__ = ["GoAwaySieve"]

_HEAD_BYTES: Final = 9
_GOAWAY: Final = 7
#: Above that it is passed on, and refused by who reads it: debug data of a whole frame are no use to us.
_MAX_BYTES: Final = 16 * 1024
_LAST_STREAM: Final = 0x7FFFFFFF


class GoAwaySieve:
    """``skip``: bytes in front of the first frame."""

    def __init__(self, skip: int = 0) -> None:
        #: Bytes that are passed on unseen, and what is known of a frame whose head or GOAWAY is not complete.
        self._passing = skip
        self._held = b""

    def sift(self, data: bytes) -> tuple[bytes, int | None]:
        """The bytes that go on, and the last stream that the peer finishes, if it said so."""
        passed, last, place = bytearray(), None, 0
        while place < len(data):
            if self._passing:
                piece = data[place : place + self._passing]
                passed += piece
                self._passing -= len(piece)
                place += len(piece)
                continue
            piece = data[place : place + self._wanted() - len(self._held)]
            self._held += piece
            place += len(piece)
            if len(self._held) < self._wanted():
                continue
            if self._is_goaway():
                if int.from_bytes(self._held[13:17]) == 0:
                    last = int.from_bytes(self._held[9:13]) & _LAST_STREAM
                else:
                    passed += self._held
            else:
                passed += self._held
                self._passing = int.from_bytes(self._held[:3])
            self._held = b""
        return bytes(passed), last

    def _is_goaway(self) -> bool:
        return self._held[3] == _GOAWAY and 8 <= int.from_bytes(self._held[:3]) <= _MAX_BYTES

    def _wanted(self) -> int:
        """Bytes that are needed to say what to do."""
        if len(self._held) >= _HEAD_BYTES and self._is_goaway():
            return _HEAD_BYTES + int.from_bytes(self._held[:3])
        return _HEAD_BYTES
