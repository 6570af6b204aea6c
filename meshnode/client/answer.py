"""One HTTP/1.1 answer of the agent, read from bytes as they come, and the errors of the API. No I/O in here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httptools

from meshnode.base.errors import MeshError

__all__ = [
    "MAX_ANSWER_BYTES",
    "MAX_HEAD_BYTES",
    "AgentUnreachable",
    "Answer",
    "AnswerReader",
    "ApiError",
    "MalformedAnswer",
]

#: A body, far above what any command or proxy reads; a stream is not counted.
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
#: Status line and headers; llhttp itself has no bound.
MAX_HEAD_BYTES: Final = 256 * 1024
#: Of an error's body, in the sentence about it.
_MAX_SHOWN: Final = 4096


class ApiError(MeshError):
    """The agent answered with a status other than 200."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"Unexpected response code: {status} ({body.strip()})")
        self.status = status
        self.body = body.strip()


class AgentUnreachable(MeshError):  # noqa: N818  a state of the agent, as ConnectionRefused would be
    """No whole answer came: nobody listens there, TLS failed, or it took too long."""


class MalformedAnswer(AgentUnreachable):
    """What came is no answer of HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of any status. Header names are in lower case; of a repeated one the first counts."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body decoded, ``None`` when it is empty; raises :class:`MeshError` for what is not JSON."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise MeshError("what answers is no agent: its answer is not JSON") from None

    def checked(self) -> Answer:
        """Itself; raises :class:`ApiError` when the status is not 200."""
        if self.status != 200:
            raise ApiError(self.status, self.body[:_MAX_SHOWN].decode(errors="replace"))
        return self

    @property
    def index(self) -> int:
        """``X-Consul-Index``; 0 when there is none, or nothing that is a number."""
        text = self.headers.get("x-consul-index", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0

    @property
    def content_hash(self) -> str:
        """``X-Consul-ContentHash``, empty when there is none."""
        return self.headers.get("x-consul-contenthash", "")


class AnswerReader:
    """Collects what httptools reports of one answer; who feeds it takes ``pieces`` away and bounds the body."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._framed = False
        self._head_bytes = 0
        self.headers: dict[str, str] = {}
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
        if not self.status and self._head_bytes > MAX_HEAD_BYTES:
            raise MalformedAnswer(f"answers with more than {MAX_HEAD_BYTES} bytes of headers")

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
            self.status = status
        else:
            self.headers, self._framed = {}, False

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        if not self.complete:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self.complete and self.status:
            self.complete = True
            self.reusable = bool(self._parser.should_keep_alive())
