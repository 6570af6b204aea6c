"""One HTTP/1.1 answer, read from bytes as they come: of the agent for its clients, of a service for its checks."""

from __future__ import annotations

from typing import Final

import httptools

from meshnode.base.errors import RemoteProtocolError

__all__ = ["MAX_HEAD_BYTES", "AnswerReader", "HeadTooLong", "MalformedAnswer"]

#: Status line and headers; llhttp itself has no bound.
MAX_HEAD_BYTES: Final = 256 * 1024


class MalformedAnswer(RemoteProtocolError):  # noqa: N818  a state of what came
    """What came is no answer of HTTP/1.1; ``str()`` ends a sentence that names who sent it."""


class HeadTooLong(MalformedAnswer):
    """There is more of a head than anybody means to send."""


class AnswerReader:
    """Collects what httptools reports of one answer; who feeds it takes ``pieces`` away and bounds the body.

    ``bodiless``: it is the answer to ``HEAD``. Header names are in lower case; of a repeated one the first counts.
    """

    def __init__(self, *, bodiless: bool = False) -> None:
        self._bodiless = bodiless
        self._parser = httptools.HttpResponseParser(self)
        self._framed = False
        self._head_bytes = 0
        self._reason = b""
        self.headers: dict[str, str] = {}
        #: 0 until the head is whole.
        self.status = 0
        self.pieces: list[bytes] = []
        self.complete = False
        #: The connection can carry another request: the answer ended where it said, and nothing came after it.
        self.reusable = False

    def feed(self, data: bytes) -> None:
        """Take in what was read; raises :class:`MalformedAnswer`, whose text ends what a sentence began."""
        if not data:
            return
        if self.complete:
            self.reusable = False
            return
        if not self.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._malformed()
        if not self.status and self._head_bytes >= MAX_HEAD_BYTES:
            raise HeadTooLong(f"answers with more than {MAX_HEAD_BYTES} bytes of headers")

    @property
    def reason(self) -> str:
        """What stands after the status."""
        return self._reason.decode("utf-8", "replace")

    def ended(self) -> bool:
        """The connection ended; whether the answer is whole (one without a length ends like that)."""
        if self.status and not self._framed:
            self.complete = True
        return self.complete

    def _malformed(self) -> None:
        if not self.complete:
            raise MalformedAnswer("does not speak HTTP")
        self.reusable = False

    # Called by httptools

    def on_message_begin(self) -> None:
        """An answer, of which only the first was asked for."""
        if self.complete:
            self.reusable = False

    def on_status(self, reason: bytes) -> None:
        """Some of the reason."""
        if not self.status:
            self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody wants."""
        if self.status:
            return
        name = name.lower()
        self._framed = self._framed or name in {b"content-length", b"transfer-encoding"}
        self.headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """The head is whole; what comes before the real answer (1xx) is passed over."""
        if self.complete:
            return
        status = self._parser.get_status_code()
        if status >= 200:
            self.status, self.complete = status, self._bodiless
        else:
            self.headers, self._reason, self._framed = {}, b"", False

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        if not self.complete:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self.complete and self.status:
            self.complete = True
            self.reusable = bool(self._parser.should_keep_alive())
