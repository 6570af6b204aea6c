"""Bytes of HTTP/1.1 requests, read only where no two readers differ.

Whoever makes two readers disagree on where a request ends smuggles a second one past the first reader. A parser is
tolerant by tradition; here nothing is: lines end with CRLF, no line is folded, framing is said once and in one way.
What is read here is what h11 reads too (the tests hold both beside each other), and much that h11 reads is refused.
RFC 9112 2.2 (line ends), 5.2 (folded lines), 6.1 to 6.3 (framing), 7.1 (chunks).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from meshnode.l7.fields import shown
from meshnode.l7.model import Bounds, Fields, RefusalError

__all__ = ["MAX_CHUNK_LINE_BYTES", "EndRead", "HeadRead", "Read", "RequestGate"]

#: A chunk's size and its extensions, which nobody uses and which cost a reader more than the chunk.
MAX_CHUNK_LINE_BYTES: Final = 256

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_FIELD: Final = re.compile(
    rb"("
    + _TOKEN
    + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_END: Final = b"\r\n\r\n"
_HEX: Final = 16


class _At(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class HeadRead:
    """A head, field names in lower case; ``old``: it is of HTTP/1.0."""

    method: str
    target: str
    old: bool
    fields: Fields


@dataclass(frozen=True, slots=True)
class EndRead:
    """The end of a request, with what stood behind its last chunk."""

    trailers: Fields = ()


#: Bytes are a piece of the body.
Read: TypeAlias = HeadRead | bytes | EndRead


class RequestGate:
    """One connection's. ``receive`` bytes, then ``read`` those that are in order, up to the end of one request."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._buffer = bytearray()
        self._at = _At.HEAD
        self._left = 0
        self._trailer_bytes = 0
        self._trailers: list[tuple[bytes, bytes]] = []
        self._body_bytes = 0
        #: Where the search for the end of the head goes on.
        self._searched = 0
        #: An empty line before the head was left out.
        self._skipped = False

    @property
    def waiting(self) -> int:
        """Bytes that were received and not read."""
        return len(self._buffer)

    @property
    def done(self) -> bool:
        """Whether a request has ended, and the next one waits for :meth:`again`."""
        return self._at is _At.DONE

    @property
    def in_head(self) -> bool:
        """Whether a head has begun that has not ended."""
        return self._at is _At.HEAD and bool(self._buffer)

    def receive(self, data: bytes) -> None:
        """Keep ``data``."""
        self._buffer += data

    def again(self) -> None:
        """The next request may come."""
        self._at, self._searched, self._skipped = _At.HEAD, 0, False
        self._trailer_bytes = self._body_bytes = 0
        self._trailers.clear()

    def rest(self) -> bytes:
        """Everything that was not read, unchecked: the protocol is another one now."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def read(self) -> list[Read]:
        """What is whole and in order. Raises :class:`RefusalError` for the first bytes that are not."""
        found: list[Read] = []
        while self._at is not _At.DONE and self._buffer:
            before, at = len(self._buffer), self._at
            match at:
                case _At.HEAD:
                    self._head(found)
                case _At.BODY | _At.CHUNK:
                    self._counted(found)
                case _At.CHUNK_SIZE:
                    self._chunk_size()
                case _At.CHUNK_END:
                    self._chunk_end()
                case _At.TRAILERS:
                    self._trailer()
            if self.done:
                found.append(EndRead(tuple(self._trailers)))
            elif len(self._buffer) == before and self._at is at:
                break
        return found

    def _head(self, found: list[Read]) -> None:
        if self._searched == 0 and self._buffer.startswith(b"\r\n"):
            # Some clients send one after a body; it belongs to no message (RFC 9112 2.2).
            if self._skipped:
                raise RefusalError(400, "the request begins with empty lines")
            self._skipped = True
            del self._buffer[:2]
            return
        end = self._buffer.find(_END, self._searched)
        most = self._bounds.max_head_bytes
        if end < 0:
            # A CR at the end may still get its LF.
            self._refuse_bare(max(0, self._searched - 1), len(self._buffer) - self._buffer.endswith(b"\r"))
            self._searched = max(0, len(self._buffer) - 3)
            if len(self._buffer) > most:
                self._refuse_size()
            return
        self._refuse_bare(max(0, self._searched - 1), end)
        if end + len(_END) > most:
            self._refuse_size()
        head = bytes(self._buffer[:end])
        found.append(self._frame(head.split(b"\r\n")))
        del self._buffer[: end + len(_END)]

    def _refuse_bare(self, start: int, end: int) -> None:
        if _BARE.search(self._buffer, start, max(start, end)):
            raise RefusalError(400, "a line of the head ends with CR or LF alone: write CRLF")

    def _refuse_size(self) -> None:
        most = self._bounds.max_head_bytes
        if b"\r\n" not in self._buffer[:most]:
            raise RefusalError(414, f"the first line of the request has more than {most} bytes")
        raise RefusalError(431, f"the head of the request has more than {most} bytes")

    def _frame(self, lines: list[bytes]) -> HeadRead:
        """The head, and what follows it."""
        found = _REQUEST_LINE.fullmatch(lines[0])
        if found is None:
            raise RefusalError(400, f"{shown(lines[0])} is not the first line of an HTTP request")
        if found[3] != b"1" or found[4] not in {b"0", b"1"}:
            raise RefusalError(505, "the request is of another version than HTTP/1.0 and HTTP/1.1")
        if len(lines) - 1 > self._bounds.max_fields:
            raise RefusalError(431, f"the request has more than {self._bounds.max_fields} header fields")
        fields = tuple(map(_field, lines[1:]))
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = [value for name, value in fields if name == b"transfer-encoding"]
        old = found[4] == b"0"
        self._at, self._left = self._framing(lengths, codings, old=old)
        return HeadRead(found[1].decode("ascii"), found[2].decode("ascii"), old, fields)

    def _framing(self, lengths: list[bytes], codings: list[bytes], *, old: bool) -> tuple[_At, int]:
        if lengths and codings:
            raise RefusalError(
                400, "the request has both Content-Length and Transfer-Encoding: send one of them"
            )
        if len(lengths) > 1 or len(codings) > 1:
            name = "Content-Length" if lengths else "Transfer-Encoding"
            raise RefusalError(400, f"the request has {name} more than once")
        if codings:
            if old:
                raise RefusalError(400, "a request of HTTP/1.0 can't have Transfer-Encoding")
            if codings[0].lower() != b"chunked":
                raise RefusalError(
                    501, f"Transfer-Encoding {shown(codings[0])} is not served: use chunked alone"
                )
            return _At.CHUNK_SIZE, 0
        if not lengths:
            return _At.DONE, 0
        if not _LENGTH.fullmatch(lengths[0]):
            raise RefusalError(400, f"Content-Length {shown(lengths[0])} is not a number of bytes")
        length = int(lengths[0])
        self._count(length)
        return (_At.BODY, length) if length else (_At.DONE, 0)

    def _count(self, length: int) -> None:
        self._body_bytes += length
        most = self._bounds.max_body_bytes
        if most and self._body_bytes > most:
            raise RefusalError(413, f"the body of the request has more than {most} bytes")

    def _counted(self, found: list[Read]) -> None:
        taken = min(self._left, len(self._buffer))
        found.append(bytes(self._buffer[:taken]))
        del self._buffer[:taken]
        self._left -= taken
        if not self._left:
            self._at = _At.DONE if self._at is _At.BODY else _At.CHUNK_END

    def _line(self, most: int, what: str, status: int = 400) -> bytes | None:
        """The next line without its end, left where it is; ``None``: there is no whole one yet."""
        end = self._buffer.find(b"\r\n", 0, most + 2)
        if end < 0:
            if len(self._buffer) > most:
                raise RefusalError(status, f"{what} has more than {most} bytes, or does not end with CRLF")
            if _BARE.search(self._buffer, 0, len(self._buffer) - self._buffer.endswith(b"\r")):
                raise RefusalError(400, f"{what} ends with CR or LF alone: write CRLF")
            return None
        return bytes(self._buffer[:end])

    def _chunk_size(self) -> None:
        line = self._line(MAX_CHUNK_LINE_BYTES, "the size of a chunk")
        if line is None:
            return
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise RefusalError(400, f"{shown(line)} is not the size of a chunk")
        self._left = int(found[1], _HEX)
        self._count(self._left)
        del self._buffer[: len(line) + 2]
        self._at = _At.CHUNK if self._left else _At.TRAILERS

    def _chunk_end(self) -> None:
        if not b"\r\n".startswith(bytes(self._buffer[:2])):
            raise RefusalError(400, "a chunk has more bytes than its size says")
        if len(self._buffer) >= len(b"\r\n"):
            del self._buffer[:2]
            self._at = _At.CHUNK_SIZE

    def _trailer(self) -> None:
        left = self._bounds.max_head_bytes - self._trailer_bytes
        if left <= 0:
            raise RefusalError(431, f"the trailers have more than {self._bounds.max_head_bytes} bytes")
        line = self._line(left, "a trailer", 431)
        if line is None:
            return
        if line:
            self._trailers.append(_field(line))
        else:
            self._at = _At.DONE
        self._trailer_bytes += len(line) + 2
        del self._buffer[: len(line) + 2]


def _field(line: bytes) -> tuple[bytes, bytes]:
    if line[:1] in {b" ", b"\t"}:
        raise RefusalError(400, "a header field is folded over two lines: write it on one")
    found = _FIELD.fullmatch(line)
    if found is None:
        raise RefusalError(
            400, f"{shown(line)} is not a header field: write name:value, without space before the colon"
        )
    return found[1].lower(), found[2]
