"""Requests that two readers might end at different places, and requests in order: for ours and for other proxies."""

from __future__ import annotations

from dataclasses import dataclass

import h11

from meshnode.l7.gate import EndRead, HeadRead, Read

__all__ = ["CHUNKED", "HEAD", "IN_ORDER", "SMUGGLING", "Reading", "by_gate", "by_h11"]

HEAD = b"POST /a HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

#: What it is, with the section that forbids it -> status, bytes.
SMUGGLING = {
    "CL.TE: both lengths (RFC 9112 6.3)": (
        400,
        HEAD + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    ),
    "TE.CL: both lengths, the other way round (RFC 9112 6.3)": (
        400,
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n",
    ),
    "two lengths that differ (RFC 9112 6.3)": (
        400,
        HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    ),
    "two lengths that agree (RFC 9112 6.3)": (
        400,
        HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    ),
    "a list of lengths (RFC 9110 8.6)": (400, HEAD + b"Content-Length: 3, 3\r\n\r\nabc"),
    "a length with a sign (RFC 9110 8.6)": (400, HEAD + b"Content-Length: +3\r\n\r\nabc"),
    "a negative length (RFC 9110 8.6)": (400, HEAD + b"Content-Length: -1\r\n\r\n"),
    "a length in hexadecimal (RFC 9110 8.6)": (400, HEAD + b"Content-Length: 0x3\r\n\r\nabc"),
    "an empty length (RFC 9110 8.6)": (400, HEAD + b"Content-Length: \r\n\r\n"),
    "a length of 19 digits": (400, HEAD + b"Content-Length: 1000000000000000000\r\n\r\n"),
    "TE.TE: twice (RFC 9112 6.1)": (
        400,
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    "TE.TE: a list (RFC 9112 6.1)": (501, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "TE: xchunked (RFC 9112 6.1)": (501, HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "TE: chunked with a parameter (RFC 9112 7)": (
        501,
        HEAD + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    ),
    "TE in quotes": (501, HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    "TE after a vertical tab (RFC 9110 5.5)": (
        400,
        HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    "TE of HTTP/1.0 (RFC 9112 6.1)": (
        400,
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "space before the colon (RFC 9112 5.1)": (400, HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    "a folded field (RFC 9112 5.2)": (400, HEAD + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a folded field with a tab (RFC 9112 5.2)": (
        400,
        HEAD + b"Transfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
    ),
    "space before the first field (RFC 9112 2.2)": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "bare LF between fields (RFC 9112 2.2)": (
        400,
        b"GET / HTTP/1.1\r\nHost: a\nContent-Length: 3\r\n\r\nabc",
    ),
    "bare LF at the end of the head (RFC 9112 2.2)": (400, b"GET / HTTP/1.1\r\nHost: a\n\n"),
    "bare CR in a value (RFC 9112 2.2)": (400, HEAD + b"X: a\rContent-Length: 3\r\n\r\n"),
    "CR CR LF (RFC 9112 2.2)": (400, b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    "NUL in a value (RFC 9110 5.5)": (400, HEAD + b"X: a\x00b\r\n\r\n"),
    "NUL in a name (RFC 9110 5.1)": (400, HEAD + b"Content\x00-Length: 3\r\n\r\n"),
    "a field without a name (RFC 9110 5.1)": (400, HEAD + b": a\r\n\r\n"),
    "a field without a colon (RFC 9112 5)": (400, HEAD + b"Content-Length 3\r\n\r\n"),
    "a name beyond ASCII (RFC 9110 5.1)": (400, HEAD + b"\xe9: a\r\n\r\n"),
    "HTTP/0.9 (RFC 9112 2.3)": (400, b"GET /\r\n\r\n"),
    "HTTP/2.0 in the first line (RFC 9112 2.3)": (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    "HTTP/1.10 (RFC 9112 2.3)": (400, b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    "http in lower case (RFC 9112 2.3)": (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    "two spaces in the first line (RFC 9112 3)": (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a tab in the first line (RFC 9112 3)": (400, b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a space in the target (RFC 9112 3.2)": (400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two empty lines first (RFC 9112 2.2)": (400, b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a chunk's size with a sign (RFC 9112 7.1)": (400, CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    "a chunk's size with 0x (RFC 9112 7.1)": (400, CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    "a chunk's size with an underscore": (400, CHUNKED + b"1_0\r\n"),
    "a chunk's size with space behind it (RFC 9112 7.1)": (400, CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    "a chunk's size of 16 digits": (400, CHUNKED + b"1000000000000000\r\n"),
    "an empty size (RFC 9112 7.1)": (400, CHUNKED + b"\r\nabc\r\n"),
    "bare LF after a chunk's size (RFC 9112 7.1)": (400, CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    "bare LF in a chunk's extension (RFC 9112 7.1.1)": (
        400,
        CHUNKED + b"3;a\nGET /admin HTTP/1.1\r\nabc\r\n",
    ),
    "bare LF after a chunk (RFC 9112 7.1)": (400, CHUNKED + b"3\r\nabc\n0\r\n\r\n"),
    "a chunk that is longer than it says (RFC 9112 7.1)": (400, CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n"),
    "bare LF in the trailers (RFC 9112 7.1.2)": (400, CHUNKED + b"0\r\nX: a\n\nGET /admin HTTP/1.1\r\n\r\n"),
    "bare LF at once after the last chunk": (400, CHUNKED + b"0\r\n\nGET /admin HTTP/1.1\r\n\r\n"),
    "a folded trailer (RFC 9112 5.2)": (400, CHUNKED + b"0\r\nX: a\r\n b\r\n\r\n"),
}

IN_ORDER = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    HEAD + b"Content-Length: 0\r\n\r\n",
    HEAD + b"content-length:3\r\n\r\nabc",
    HEAD + b"X-Empty:\r\nX-Spaces: \t a b \t\r\n\r\n",
    CHUNKED + b"0\r\n\r\n",
    CHUNKED + b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
    HEAD + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
]


@dataclass(slots=True)
class Reading:
    """One request, as somebody read it to its end."""

    method: str = ""
    target: str = ""
    old: bool = False
    fields: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    ended: bool = False


def by_gate(found: list[Read]) -> Reading:
    """What the gate read."""
    reading = Reading()
    for each in found:
        match each:
            case HeadRead():
                # h11 tells the name of the coding in lower case.
                fields = tuple(
                    (name, value.lower() if name == b"transfer-encoding" else value)
                    for name, value in each.fields
                )
                reading = Reading(each.method, each.target, each.old, fields)
            case EndRead():
                reading.trailers, reading.ended = each.trailers, True
            case _:
                reading.body += each
    return reading


def by_h11(data: bytes) -> Reading | None:
    """What h11 reads of the same bytes; ``None``: it finds a fault."""
    reader, reading = h11.Connection(h11.SERVER), Reading()
    reader.receive_data(data.removeprefix(b"\r\n"))
    try:
        while True:
            event = reader.next_event()
            if isinstance(event, h11.Request):
                target, old = event.target.decode(), event.http_version == b"1.0"
                reading = Reading(event.method.decode(), target, old, tuple(event.headers))
            elif isinstance(event, h11.Data):
                reading.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                reading.trailers, reading.ended = tuple(event.headers), not reader.trailing_data[0]
                return reading
            else:
                return reading
    except h11.RemoteProtocolError:
        return None
