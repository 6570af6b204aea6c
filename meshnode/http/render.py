"""Answers as bytes: JSON as Consul prints it, gzip where it is worth it, and the head of a response."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from meshnode.base.errors import LocalProtocolError
from meshnode.http.effects import Pieces
from meshnode.http.message import Headers, Request, Response, StreamResponse

__all__ = [
    "BODYLESS",
    "MIN_GZIP_BYTES",
    "Heads",
    "accepts_gzip",
    "array_json",
    "compressed",
    "compressed_pieces",
    "member_json",
    "object_json",
    "to_json",
]

#: Shorter bodies fit in one packet anyway.
MIN_GZIP_BYTES: Final = 1024
#: Most of what the best level saves, at a third of its time.
GZIP_LEVEL: Final = 4
#: Asks zlib for a gzip wrapper (zlib manual, deflateInit2); it writes no time stamp, so equal bodies stay equal.
GZIP_WINDOW_BITS: Final = 31
#: Rendered heads that are kept; those with an index in them come and go.
MAX_KNOWN_HEADS: Final = 256
_VARY: Final = ("Vary", "Accept-Encoding")
_COMPACT: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_PRETTY: Final = json.JSONEncoder(ensure_ascii=False, indent=4, allow_nan=False)
_TRUE: Final = (b"true", b"true\n")
_PHRASES: Final = {int(status): status.phrase for status in HTTPStatus}
#: Statuses that never have a body (RFC 9110 6.4.1), so neither a length.
BODYLESS: Final = frozenset({204, 304})


def to_json(value: Any, *, pretty: bool) -> bytes:
    """Minimised, or with an indent of four spaces and a final newline."""
    if value is True:
        return _TRUE[pretty]  # the answer to nearly every write
    text = _PRETTY.encode(value) + "\n" if pretty else _COMPACT.encode(value)
    return text.encode("utf-8", "replace")


def member_json(name: str, value: Any, *, pretty: bool) -> bytes:
    """One member of an object, for :func:`object_json`."""
    if not pretty:
        return to_json(name, pretty=False) + b":" + to_json(value, pretty=False)
    # A line break inside a text is escaped, so each one here begins a line.
    shown = to_json(value, pretty=True).rstrip(b"\n").replace(b"\n", b"\n    ")
    return to_json(name, pretty=False) + b": " + shown


def object_json(members: Iterable[bytes], *, pretty: bool) -> bytes:
    """The object of rendered members, to the byte what :func:`to_json` makes of it; ``members`` is not empty."""
    if not pretty:
        return b"{" + b",".join(members) + b"}"
    return b"{\n    " + b",\n    ".join(members) + b"\n}\n"


def array_json(slices: Iterable[list[Any]], *, pretty: bool) -> Iterator[bytes]:
    """The array of the values of all slices, slice by slice: joined, to the byte what :func:`to_json` makes of it.

    There is at least one slice, and no slice is empty.
    """
    start, comma, end = (b"[\n", b",\n", b"\n]\n") if pretty else (b"[", b",", b"]")
    before = start
    for values in slices:
        yield before + to_json(values, pretty=pretty)[len(start) : -len(end)]
        before = comma
    yield end


def accepts_gzip(request: Request) -> bool:
    """Whether ``Accept-Encoding`` names gzip with a weight other than 0 (RFC 9110 12.5.3)."""
    for coding in request.header(b"accept-encoding").lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() in ("gzip", "x-gzip"):
            quality = weight.strip().removeprefix("q=").strip()
            return not quality or quality.strip("0.") != ""
    return False


def compressed(request: Request, response: Response) -> Response:
    """``response``, gzipped when the body is worth it and the client takes it."""
    if len(response.body) < MIN_GZIP_BYTES:
        return response
    if _VARY not in response.headers:
        response.headers = (*response.headers, _VARY)
    if not accepts_gzip(request):
        return response
    if response.gzipped is None:
        packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW_BITS)
        body = packer.compress(response.body) + packer.flush()
        headers = (*response.headers, ("Content-Encoding", "gzip"))
        response.gzipped = Response(response.status, body, response.content_type, headers)
    return response.gzipped


def compressed_pieces(request: Request, response: StreamResponse) -> StreamResponse:
    """``response``, gzipped piece by piece when it is :class:`Pieces` and the client takes it."""
    source = response.source
    if isinstance(source, Pieces):
        response.headers = (*response.headers, _VARY)
        if accepts_gzip(request):
            response.headers = (*response.headers, ("Content-Encoding", "gzip"))
            response.source = Pieces(_gzipped(source.pieces))
    return response


def _gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW_BITS)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


class Heads:
    """Renders status lines and headers, the frequent ones once; ``extra`` is in every answer."""

    def __init__(self, extra: Mapping[str, str]) -> None:
        self._extra = tuple(extra.items())
        self._known: dict[tuple[int, str, Headers], bytes] = {}

    def render(self, status: int, content_type: str, headers: Headers = ()) -> bytes:
        """Status line and headers, without the framing headers and the empty line.

        Raises :class:`LocalProtocolError` for a header with a line break in it.
        """
        key = (status, content_type, headers)
        head = self._known.get(key)
        if head is None:
            if len(self._known) >= MAX_KNOWN_HEADS:
                self._known.clear()
            head = self._known[key] = self._lines(status, content_type, headers)
        return head

    def _lines(self, status: int, content_type: str, headers: Headers) -> bytes:
        lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}"]
        if status not in BODYLESS:
            lines.append(f"Content-Type: {content_type}")
        lines += [f"{name}: {value}" for name, value in (*self._extra, *headers)]
        if any("\r" in line or "\n" in line for line in lines):
            raise LocalProtocolError("a response header holds a line break")
        return ("\r\n".join(lines) + "\r\n").encode("utf-8", "replace")
