"""What both ends of an HTTP/1.1 connection share: heads and bodies as bytes, one exchange at a time, bytes after a 101.

RFC 9112 2.1, 6, 7.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshnode.l7.model import HTTP_1_1, NO_WINDOW, BodyReceived, Bounds, Event, Fields, MessageEnded, Output

__all__ = ["SWITCHING", "Framing", "Http1End", "head_bytes", "length_of"]

#: The status after which both directions are bytes.
SWITCHING: Final = 101
_MAX_LENGTH_DIGITS: Final = 18


class Framing:
    """How the body of a message that is sent is told from what follows: counted, in chunks, or by the connection's end.

    Raises :class:`ValueError`, whose text ends a sentence, for a body that is not what the head said.
    """

    def __init__(self, left: int | None, *, chunked: bool = False) -> None:
        #: Bytes to come; ``None``: nobody said how many.
        self._left = left
        self.chunked = chunked

    def body(self, data: bytes) -> bytes:
        """A piece, which is not empty, as it is sent."""
        if self.chunked:
            return b"%x\r\n%b\r\n" % (len(data), data)
        if self._left is not None:
            if len(data) > self._left:
                raise ValueError("its body is longer")
            self._left -= len(data)
        return data

    def end(self, trailers: Fields) -> bytes:
        """What stands behind the last piece; trailers go only where there are chunks."""
        if self.chunked:
            return head_bytes(b"0", trailers)
        if self._left:
            raise ValueError(f"its body lacks {self._left} bytes")
        return b""


def head_bytes(first: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A first line and fields, up to the empty line. Raises :class:`ValueError` when one of them holds another line."""
    lines = [first, *(b"%b: %b" % pair for pair in fields), b"", b""]
    data = b"\r\n".join(lines)
    # What is sent was checked as it was received; that nobody can add a line does not hang on it.
    if data.count(b"\n") != len(lines) - 1 or data.count(b"\r") != len(lines) - 1 or b"\0" in data:
        raise ValueError("a line end or NUL is inside of a field")
    return data


def length_of(fields: Iterable[tuple[bytes, bytes]]) -> int | None:
    """What ``content-length`` says. Raises :class:`ValueError` when it says two things, or no number."""
    found = {value for name, value in fields if name == b"content-length"}
    if not found:
        return None
    value = found.pop()
    if found or not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
        raise ValueError("its Content-Length is not one number")
    return int(value)


class Http1End:
    """One end of a connection."""

    def __init__(self, bounds: Bounds) -> None:
        self.version = HTTP_1_1
        self._bounds = bounds
        self._output = Output()
        self._stream = 0
        self._tunnel = False
        #: Of the message that is being sent.
        self._framing: Framing | None = None
        self.finished = False

    def start(self) -> None:
        """Nothing: the client's request is the first that is sent."""

    def window(self, stream: int) -> int:
        """As :class:`~meshnode.l7.model.Codec`."""
        return NO_WINDOW

    def consumed(self, stream: int, weight: int) -> None:
        """Nothing: the connection itself is the flow control."""

    def take_output(self) -> bytes:
        """As :class:`~meshnode.l7.model.Codec`."""
        return self._output.take()

    def _tunnelled(self, data: bytes) -> list[Event]:
        """What came through a connection that is bytes now; none is its end."""
        return [BodyReceived(self._stream, data, len(data)) if data else MessageEnded(self._stream)]
