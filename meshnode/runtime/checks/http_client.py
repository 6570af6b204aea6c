"""HTTP/1.1 over one connection, as far as checks need it: one request, one answer, the body kept to its end.

The head is bounded, and so is how much of a body is read at all; who calls bounds the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import RemoteProtocolError
from meshnode.base.http_answer import MAX_HEAD_BYTES, AnswerReader, HeadTooLong, MalformedAnswer
from meshnode.local.check_status import OutputTail

__all__ = ["MAX_BODY_BYTES", "AnswerHead", "CheckAnswer", "close", "request_bytes"]

#: Read of a body; a check that streams for ever is judged by what came until then.
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
#: Seconds that a goodbye may take.
CLOSE_TIMEOUT: Final = 1.0
_CHUNK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """Header names are in lower case; of a repeated one the first counts, as with Go's ``Header.Get``."""

    status: int
    reason: str
    headers: Mapping[str, str]


def request_bytes(method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> bytes:
    """A request; ``Content-Length`` and ``Connection: close`` are added. Raises ``ValueError`` for a line break."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    lines.append("Connection: close")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a header")
    return "\r\n".join((*lines, "", "")).encode("utf-8", "replace") + body


class CheckAnswer:
    """Reads one answer; ``head`` stands once it is whole, whatever becomes of the body, which goes to a tail."""

    def __init__(self, body: OutputTail, *, bodiless: bool = False) -> None:
        """``bodiless``: the answer to ``HEAD``."""
        self.head: AnswerHead | None = None
        self._body = body
        self._reader = AnswerReader(bodiless=bodiless)
        self._over = False

    async def read(self, stream: asyncio.StreamReader, *, head_only: bool = False) -> AnswerHead:
        """Read until the answer ends, or until its head does.

        Raises :class:`RemoteProtocolError` when it isn't HTTP or ends before its head does, and ``OSError``.
        """
        while not (self._over or (self.head and head_only) or self._body.total_bytes >= MAX_BODY_BYTES):
            data = await stream.read(_CHUNK_BYTES)
            if not data:
                break
            self._feed(data)
        if self.head is None:
            raise RemoteProtocolError("EOF: the connection was closed before an answer")
        return self.head

    def _feed(self, data: bytes) -> None:
        reader = self._reader
        try:
            reader.feed(data)
        except HeadTooLong:
            raise RemoteProtocolError(
                f"server response headers exceeded {MAX_HEAD_BYTES} bytes; aborted"
            ) from None
        except MalformedAnswer:
            if not reader.status:
                raise RemoteProtocolError(
                    f"malformed HTTP response {data[:40]!r}: does the server speak TLS, or no HTTP/1.1?"
                ) from None
            self._over = True
        for piece in reader.pieces:
            self._body.write(piece)
        reader.pieces.clear()
        self._over = self._over or reader.complete
        if self.head is None and reader.status:
            self.head = AnswerHead(reader.status, reader.reason, reader.headers)


async def close(writer: asyncio.StreamWriter) -> None:
    """Say goodbye, for a second at most."""
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await writer.wait_closed()
        finally:
            writer.transport.abort()
