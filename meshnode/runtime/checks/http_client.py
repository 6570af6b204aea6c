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

import httptools

from meshnode.base.errors import RemoteProtocolError
from meshnode.local.check_status import OutputTail

__all__ = ["MAX_BODY_BYTES", "MAX_HEAD_BYTES", "AnswerHead", "AnswerReader", "close", "request_bytes"]

#: Status line and headers of an answer.
MAX_HEAD_BYTES: Final = 256 * 1024
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


class AnswerReader:
    """Reads one answer; ``head`` stands once it is whole, whatever becomes of the body."""

    def __init__(self, body: OutputTail, *, bodiless: bool = False) -> None:
        """``bodiless``: the answer to ``HEAD``."""
        self.head: AnswerHead | None = None
        self._body = body
        self._bodiless = bodiless
        self._parser = httptools.HttpResponseParser(self)
        self._reason = b""
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._complete = False

    async def read(self, stream: asyncio.StreamReader, *, head_only: bool = False) -> AnswerHead:
        """Read until the answer ends, or until its head does.

        Raises :class:`RemoteProtocolError` when it isn't HTTP or ends before its head does, and ``OSError``.
        """
        while not (self._complete or (self.head and head_only) or self._body.total_bytes >= MAX_BODY_BYTES):
            data = await stream.read(_CHUNK_BYTES)
            if not data:
                break
            self._feed(data)
        if self.head is None:
            raise RemoteProtocolError("EOF: the connection was closed before an answer")
        return self.head

    def _feed(self, data: bytes) -> None:
        if self.head is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._complete = True
        except httptools.HttpParserError:
            self._complete = True
            if self.head is None:
                raise RemoteProtocolError(
                    f"malformed HTTP response {data[:40]!r}: does the server speak TLS, or no HTTP/1.1?"
                ) from None
        if self.head is None and self._head_bytes >= MAX_HEAD_BYTES:
            raise RemoteProtocolError(f"server response headers exceeded {MAX_HEAD_BYTES} bytes; aborted")

    # Called by httptools

    def on_status(self, reason: bytes) -> None:
        """Some of the reason."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        self._headers.setdefault(name.decode("latin-1").lower(), value.decode("utf-8", "replace"))

    def on_headers_complete(self) -> None:
        """The head is whole; what comes before the real answer (1xx) is passed over."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.head = AnswerHead(status, self._reason.decode("utf-8", "replace"), self._headers)
            self._complete = self._bodiless
        self._reason, self._headers = b"", {}

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        if self.head is not None and not self._bodiless:
            self._body.write(data)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was a 1xx."""
        self._complete = self.head is not None


async def close(writer: asyncio.StreamWriter) -> None:
    """Say goodbye, for a second at most."""
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await writer.wait_closed()
        finally:
            writer.transport.abort()
