"""HTTP/1.x bytes to requests, on httptools (llhttp): strict, bounded, and without I/O.

llhttp refuses bare CR and LF, NUL, folded headers, two lengths, a length beside a transfer coding. What it leaves open
(versions, Host, fragments, sizes) is refused here. After a refusal nothing more is read from the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

import httptools

from meshnode.base.errors import RemoteProtocolError
from meshnode.http.message import Request, Response
from meshnode.http.target import parse_target

__all__ = ["Parsed", "Phase", "RequestReader"]

_METHODS: Final = {name.encode(): name for name in ("GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS")}
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})


class Phase(Enum):
    """How far the message that is being read has come."""

    IDLE = 1
    HEAD = 2
    BODY = 3


class Parsed(NamedTuple):
    """A request that is complete or, with ``refusal``, the answer to what was none; the connection ends with it."""

    request: Request
    keep_alive: bool = False
    http10: bool = False
    refusal: Response | None = None


class Refused(Exception):  # noqa: N818
    """Leaves a callback of the parser; the refusal itself is kept by the reader."""


class RequestReader:
    """Feed it bytes; it gives the requests that they complete. ``max_body_bytes`` maps a path to its bound."""

    def __init__(self, max_header_bytes: int, max_body_bytes: Callable[[str], int]) -> None:
        self.phase = Phase.IDLE
        #: Requests of which at least one byte came.
        self.begun = 0
        #: The client waits for ``100 Continue`` before it sends the body; who sends it clears this.
        self.continue_due = False
        self.remote = ""
        self.secure = False
        self.client_subject = ""
        self._max_header_bytes = max_header_bytes
        self._limit_of = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._done: list[Parsed] = []
        self._refusal: Response | None = None
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._target: tuple[str, str] = ("", "")
        self._max_body_bytes = 0
        self._fed_bytes = 0
        self._uncounted_bytes = 0
        self._barren_bytes = 0
        self._http10 = False

    def feed(self, data: bytes) -> list[Parsed]:
        """The requests that ``data`` completes, in order; a refusal is the last one, and then nothing may follow."""
        self._done = []
        begun, phase = self.begun, self.phase
        self._fed_bytes += len(data)
        self._barren_bytes += len(data)
        try:
            self._parse(data)
            if self.phase is Phase.HEAD:
                if self.begun != begun and (phase is not Phase.IDLE or self._done):
                    # Only the tail of ``data`` belongs to this head, and how much isn't known: it is counted below,
                    # when the head is complete.
                    self._fed_bytes, self._uncounted_bytes = 0, len(data)
                if self._fed_bytes > self._max_header_bytes:
                    self._refuse(431, f"Request head is larger than {self._max_header_bytes} bytes")
            elif self.phase is Phase.BODY and self._barren_bytes > 2 * self._max_header_bytes:
                self._refuse(431, "Chunk extensions or trailers without end")
        except Refused:
            assert self._refusal is not None
            self._done.append(Parsed(Request("", ""), refusal=self._refusal))
        return self._done

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # We upgrade to nothing: the request was answered as it is, and what follows is the next one.
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserError as error:
                if self._refusal is not None:
                    raise Refused from None
                self._refuse(400, f"Bad request: {error}")
            return

    def _refuse(self, status: int, reason: str) -> None:
        self._refusal = Response.text(status, reason)
        raise Refused

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """A request starts."""
        self.phase = Phase.HEAD
        self.begun += 1
        self._url = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is not kept."""
        if self.phase is Phase.HEAD:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is complete: refuse what must not reach a handler."""
        headers = self._headers
        if self._fed_bytes + self._uncounted_bytes > self._max_header_bytes:
            # The bytes fed may hold more than this head: count it as it was sent, but for optional white space.
            size = 14 + len(self._parser.get_method()) + len(self._url)
            size += sum(len(name) + len(value) + 4 for name, value in headers)
            if size > self._max_header_bytes:
                self._refuse(431, f"Request head is larger than {self._max_header_bytes} bytes")
        self.phase = Phase.BODY
        self._barren_bytes = 0
        version = self._parser.get_http_version()
        self._http10 = version == "1.0"
        if not self._http10 and version != "1.1":
            self._refuse(505, f"HTTP version {version} is not supported here: use HTTP/1.1")
        try:
            self._target = parse_target(self._url)
        except RemoteProtocolError as error:
            self._refuse(400, f"Bad request: {error}")
        self._max_body_bytes = 0
        hosts = 0
        for name, value in headers:
            if name == b"host":
                hosts += 1
            elif name in _FRAMING:
                self._check_framing(name, value)
        if hosts != 1 and (hosts or not self._http10):
            self._refuse(400, "Bad request: exactly one Host header is required")

    def _check_framing(self, name: bytes, value: bytes) -> None:
        if name == b"transfer-encoding":
            if self._http10 or value.strip().lower() != b"chunked":
                self._refuse(400, "Bad request: the only transfer coding taken is chunked, in HTTP/1.1")
        elif name == b"expect":
            if value.strip().lower() != b"100-continue":
                self._refuse(417, "Expectation failed: only 100-continue is understood")
            self.continue_due = not self._http10
        else:
            self._bound_body(int(value))

    def _bound_body(self, size: int) -> None:
        if not self._max_body_bytes:
            self._max_body_bytes = self._limit_of(self._target[0])
        if size > self._max_body_bytes:
            self._refuse(413, f"Request body is larger than {self._max_body_bytes} bytes")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._barren_bytes = 0
        self.continue_due = False
        self._bound_body(len(self._body) + len(body))
        self._body += body

    def on_message_complete(self) -> None:
        """A request is whole."""
        method = self._parser.get_method()
        request = Request(
            _METHODS.get(method) or method.decode("ascii"),
            *self._target,
            self._headers,
            remote=self.remote,
            secure=self.secure,
            client_subject=self.client_subject,
        )
        if self._body:
            request.body = bytes(self._body)
            self._body = bytearray()
        self.phase = Phase.IDLE
        self.continue_due = False
        self._fed_bytes = self._uncounted_bytes = 0
        self._done.append(Parsed(request, self._parser.should_keep_alive(), self._http10))
