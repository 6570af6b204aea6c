"""Bytes of HTTP/1.1 responses to heads, pieces of body and ends, on httptools (llhttp). RFC 9112 4, 6.3."""

from __future__ import annotations

from typing import Final, TypeAlias

import httptools

from meshnode.l7.fields import checked, end_to_end, tokens, trailers
from meshnode.l7.gate import EndRead
from meshnode.l7.http1 import SWITCHING
from meshnode.l7.model import HTTP_1_1, Bounds, RefusalError, ResponseHead

__all__ = ["Answered", "ResponseReader"]

_INTERIM: Final = 100
_FINAL: Final = 200
#: For each field, what stands around name and value.
_FIELD_BYTES: Final = 4

#: Bytes are a piece of the body.
Answered: TypeAlias = ResponseHead | bytes | EndRead


class ResponseReader:
    """Of one exchange. ``bodiless``: the request was ``HEAD``; ``upgrading``: it offered another protocol.

    Nothing more is read after :class:`RefusalError` (502).
    """

    def __init__(self, bounds: Bounds, *, bodiless: bool, upgrading: bool) -> None:
        self._bounds = bounds
        self._bodiless = bodiless
        self._upgrading = upgrading
        self._parser = httptools.HttpResponseParser(self)
        # As tolerant of line ends as RFC 9112 2.2 lets readers be; where a response ends is told by its length alone.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        self._found: list[Answered] = []
        self._fields: list[tuple[bytes, bytes]] = []
        self._refusal: RefusalError | None = None
        self._framed = False
        self._head = False
        #: Bytes since the last head or piece of body was whole.
        self._barren = 0
        #: What followed a 101.
        self.rest = b""
        self.switched = False
        #: Something came at all.
        self.begun = False
        self.complete = False
        #: The connection can carry another exchange: the response ended where it said, and nothing came behind it.
        self.reusable = False

    def feed(self, data: bytes) -> list[Answered]:
        """What ``data`` completes."""
        self.begun = True
        if self.complete:
            self.reusable = False
            return []
        self._barren += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            if self._refusal is None and not self.complete:
                self._refusal = RefusalError(502, f"its response can't be read: {error}")
            self.reusable = False
        if self._barren > self._bounds.max_head_bytes and not self.complete:
            self._refusal = self._refusal or self._too_long()
        if self._refusal is not None:
            raise self._refusal
        found, self._found = self._found, []
        return found

    def ended(self) -> list[Answered]:
        """The connection ended: that is the end of a response that said no length. Raises for any other."""
        if self.complete:
            return []
        if not self._head:
            because = "its response can't be read: the connection ended" if self.begun else ""
            raise RefusalError(502, because or "the server ended the connection before it answered")
        if self._framed:
            raise RefusalError(502, "its response can't be read: the connection ended in the middle of it")
        self.complete = True
        return [EndRead()]

    def _too_long(self) -> RefusalError:
        return RefusalError(
            502, f"the head of its response has more than {self._bounds.max_head_bytes} bytes"
        )

    def _refuse(self, refusal: RefusalError) -> None:
        self._refusal = refusal
        raise refusal

    def _measure(self) -> None:
        size = sum(len(name) + len(value) + _FIELD_BYTES for name, value in self._fields)
        if size > self._bounds.max_head_bytes:
            self._refuse(self._too_long())

    # Called by httptools

    def on_message_begin(self) -> None:
        """A response; one that nobody asked for ends the use of the connection."""
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a head, or a trailer."""
        if not self.complete:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """A head is whole."""
        if self.complete:
            return
        self._measure()
        self._barren = 0
        status = self._parser.get_status_code()
        try:
            head = self._checked(status)
        except RefusalError as refusal:
            self._refuse(RefusalError(502, str(refusal)))
        self._fields = []
        self._found.append(head)
        if status == SWITCHING:
            self.complete = self.switched = True
        elif status >= _FINAL:
            self._head = True
            if self._bodiless:
                self._end(())

    def _checked(self, status: int) -> ResponseHead:
        fields = checked(self._fields, self._bounds.max_fields)
        if status < _INTERIM:
            raise RefusalError(502, f"its response has the status {status}, which is none")
        if status == SWITCHING and not self._upgrading:
            raise RefusalError(502, "the application changed the protocol, and nobody asked it to")
        names = [name for name, _ in fields]
        if status == SWITCHING and not (b"upgrade" in names and b"upgrade" in tokens(fields, b"connection")):
            raise RefusalError(502, "the application changed the protocol, and doesn't say to which")
        codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
        if codings and b"content-length" in names:
            raise RefusalError(502, "its response has both Content-Length and Transfer-Encoding")
        if codings not in ([], [b"chunked"]):
            raise RefusalError(502, "its response has a Transfer-Encoding other than chunked")
        self._framed = bool(codings) or b"content-length" in names
        old = f"HTTP/{self._parser.get_http_version()}" != HTTP_1_1
        self.reusable = not old and b"close" not in tokens(fields, b"connection")
        return ResponseHead(status, end_to_end(fields))

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._barren = 0
        if self.complete:
            self.reusable = False
        else:
            self._found.append(data)

    def on_message_complete(self) -> None:
        """A response is whole, if it was not one that others follow."""
        if self._head and not self.complete:
            self._measure()
            self._end(self._fields)

    def _end(self, fields: list[tuple[bytes, bytes]] | tuple[()]) -> None:
        self.complete = True
        try:
            self._found.append(EndRead(trailers(fields, self._bounds.max_fields)))
        except RefusalError as refusal:
            self._refuse(RefusalError(502, str(refusal)))
