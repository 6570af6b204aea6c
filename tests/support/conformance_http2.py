"""The corpus of HTTP/2: the frames of one request, on stream 1, in order, odd and hostile.

Frames and header blocks are made by hand, since a library refuses to make most of them. ``conformance_http2_client``
sends them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["CLIENT_HELLO", "HTTP2_SECTIONS", "SENTINEL_STREAM", "frame", "sentinel"]

Pairs = Iterable[tuple[bytes, bytes]]

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x4, 0x8, 0x20
#: Of the request that is sent behind each case.
SENTINEL_STREAM: Final = 99
_WINDOW: Final = 1024 * 1024


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """RFC 9113 4.1."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _text(data: bytes) -> bytes:
    """A string literal (RFC 7541 5.2), its length in as many bytes as it takes."""
    left = len(data) - 127
    if left < 0:
        return bytes((len(data),)) + data
    length = bytearray((127,))
    while left >= 128:
        length.append(left % 128 + 128)
        left //= 128
    return bytes((*length, left)) + data


def block(pairs: Pairs) -> bytes:
    """Literal fields that no table keeps (RFC 7541 6.2.2): each case stands for itself."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in pairs)


def _setting(number: int, value: int) -> bytes:
    return number.to_bytes(2) + value.to_bytes(4)


#: Preface, settings with room for what the application answers, more room for all of it.
CLIENT_HELLO: Final = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + frame(SETTINGS, 0, 0, _setting(2, 0) + _setting(4, _WINDOW))
    + frame(WINDOW_UPDATE, 0, 0, _WINDOW.to_bytes(4))
)
_METHOD, _SCHEME, _AUTHORITY, _PATH = (
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"a"),
    (b":path", b"/a"),
)
_GET: Final = (_METHOD, _SCHEME, _AUTHORITY, _PATH)
_POST: Final = ((b":method", b"POST"), _SCHEME, _AUTHORITY, _PATH)


def _head(*pairs: tuple[bytes, bytes], base: Pairs = _GET, flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(HEADERS, flags, 1, block((*base, *pairs)))


def _with(name: bytes, value: bytes, base: Pairs = _GET) -> bytes:
    """A pseudo-header of another value."""
    return _head(base=[(known, value if known == name else old) for known, old in base])


def _without(name: bytes) -> bytes:
    return _head(base=[pair for pair in _GET if pair[0] != name])


def _post(*pairs: tuple[bytes, bytes], body: bytes = b"abc", trailers: Pairs = ()) -> bytes:
    """A head, a body, and trailers where there are any."""
    sent = _head(*pairs, base=_POST, flags=END_HEADERS)
    if not trailers:
        return sent + frame(DATA, END_STREAM, 1, body)
    return sent + frame(DATA, 0, 1, body) + frame(HEADERS, END_STREAM | END_HEADERS, 1, block(trailers))


def _pieces(data: bytes, size: int) -> bytes:
    """HEADERS and as many CONTINUATIONs as there are pieces more."""
    pieces = [data[place : place + size] for place in range(0, len(data), size)]
    sent = frame(HEADERS, END_STREAM, 1, pieces[0])
    sent += b"".join(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:])
    return sent + frame(CONTINUATION, END_HEADERS, 1)


def sentinel() -> bytes:
    """A request in order."""
    pairs = [(known, b"/sentinel" if known == b":path" else value) for known, value in _GET]
    return frame(HEADERS, END_STREAM | END_HEADERS, SENTINEL_STREAM, block(pairs))


_ORDINARY: Final = {
    "GET": _head(),
    "a body without a length": _post(),
    "a body with its length": _post((b"content-length", b"3")),
    "a trailer": _post(trailers=[(b"x-sum", b"1")]),
    "a trailer without a body": _post(body=b"", trailers=[(b"x-sum", b"1")]),
    "cookies in two fields": _head((b"cookie", b"a=1"), (b"cookie", b"b=2")),
    "te: trailers": _head((b"te", b"trailers")),
    "host besides :authority": _head((b"host", b"a")),
    "host in place of :authority": _head((b"host", b"a"), base=[_METHOD, _SCHEME, _PATH]),
    "padding": frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\x05" + block(_GET) + bytes(5)),
    "a priority": frame(
        HEADERS, END_STREAM | END_HEADERS | PRIORITISED, 1, bytes((0, 0, 0, 0, 15)) + block(_GET)
    ),
    "a head in three frames": _pieces(block(_GET), 20),
    "a frame that nobody knows": frame(0xBE, 0, 0, b"?") + _head(),
    "bytes beyond ASCII in a value": _head((b"x", b"\xc3\xa4\xff")),
    "a head of 32 KiB": _pieces(block((*_GET, (b"x", b"x" * 32 * 1024))), 16 * 1024),
    "expect: 100-continue": _post((b"expect", b"100-continue")),
}
_FIELDS: Final = {
    "a name in capitals": _head((b"X-A", b"1")),
    "a name with a colon": _head((b"x:a", b"1")),
    "a name with a space": _head((b"x a", b"1")),
    "an empty name": _head((b"", b"1")),
    "NUL in a value": _head((b"x", b"a\x00b")),
    "CRLF in a value": _head((b"x", b"a\r\nx-admin: 1")),
    "LF in a value": _head((b"x", b"a\nb")),
    "CRLF in a name": _head((b"x: 1\r\nx-admin", b"1")),
    "a control character in a value": _head((b"x", b"a\x01b")),
    "space around a value": _head((b"x", b" 1 ")),
    "connection": _head((b"connection", b"close")),
    "connection, and a field that it names": _head((b"connection", b"x-mine"), (b"x-mine", b"1")),
    "keep-alive": _head((b"keep-alive", b"5")),
    "proxy-connection": _head((b"proxy-connection", b"keep-alive")),
    "upgrade": _head((b"upgrade", b"websocket")),
    "transfer-encoding: chunked": _post((b"transfer-encoding", b"chunked"), body=b"3\r\nabc\r\n0\r\n\r\n"),
    "te: gzip": _head((b"te", b"gzip")),
    "host other than :authority": _head((b"host", b"b")),
    "host twice": _head((b"host", b"a"), (b"host", b"a")),
    "proxy-authorization": _head((b"proxy-authorization", b"Basic eDp5")),
    "Envoy's own fields": _head((b"x-envoy-retry-on", b"5xx"), (b"x-envoy-internal", b"true")),
    "what clients may not say": _head((b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-proto", b"gopher")),
    "a length that is less than the body": _post((b"content-length", b"2")),
    "a length that is more than the body": _post((b"content-length", b"4")),
    "a length without a body": _head((b"content-length", b"4")),
    "two lengths that differ": _post((b"content-length", b"3"), (b"content-length", b"4")),
    "two lengths that agree": _post((b"content-length", b"3"), (b"content-length", b"3")),
    "a length with a sign": _post((b"content-length", b"+3")),
    "a length in a trailer": _post(trailers=[(b"content-length", b"9")]),
    "host in a trailer": _post(trailers=[(b"host", b"b")]),
    "transfer-encoding in a trailer": _post(trailers=[(b"transfer-encoding", b"chunked")]),
    "CRLF in a trailer": _post(trailers=[(b"x", b"a\r\n\r\nGET /admin HTTP/1.1")]),
    "200 fields": _head(*((b"x-%d" % number, b"1") for number in range(195))),
    "10 000 fields": _pieces(block((*_GET, *((b"x", b"1"),) * 10000)), 16 * 1024),
    "a head of 65 KiB": _pieces(block((*_GET, (b"x", b"x" * 65 * 1024))), 16 * 1024),
    "a head of 1 MiB": _pieces(block((*_GET, *((b"x", b"x" * 8000),) * 128)), 16 * 1024),
    "a bomb: one field of 4 KiB in the table, named 20 000 times": _pieces(
        block(_GET) + b"\x40" + _text(b"x") + _text(b"x" * 4000) + b"\xbe" * 20000, 16 * 1024
    ),
}
_PSEUDO: Final = {
    "no :method": _without(b":method"),
    "no :scheme": _without(b":scheme"),
    "no :path": _without(b":path"),
    "no :authority and no host": _without(b":authority"),
    "an empty :path": _with(b":path", b""),
    "an empty :authority": _with(b":authority", b""),
    ":scheme http over TLS": _with(b":scheme", b"http"),
    ":scheme ftp": _with(b":scheme", b"ftp"),
    ":scheme with a path in it": _with(b":scheme", b"https://b/?"),
    ":path twice": _head((b":path", b"/b")),
    "a pseudo-header behind a field": _head((b"x", b"1"), _PATH, base=[_METHOD, _SCHEME, _AUTHORITY]),
    "a pseudo-header that nobody knows": _head(base=[*_GET, (b":admin", b"1")]),
    ":status": _head(base=[*_GET, (b":status", b"200")]),
    "a pseudo-header in the trailers": _post(trailers=[(b":path", b"/b")]),
    ":path without a slash": _with(b":path", b"a"),
    ":path *": _with(b":path", b"*"),
    "OPTIONS, :path *": _with(b":path", b"*", base=((b":method", b"OPTIONS"), _SCHEME, _AUTHORITY, _PATH)),
    ":path in absolute form": _with(b":path", b"http://b/"),
    ":path with a space": _with(b":path", b"/a HTTP/1.1"),
    ":path with CRLF": _with(b":path", b"/a HTTP/1.1\r\nHost: b\r\n\r\nGET /b"),
    ":path with NUL": _with(b":path", b"/a\x00b"),
    ":path with a fragment": _with(b":path", b"/a#b"),
    ":path beyond ASCII": _with(b":path", b"/\xc3\xa4"),
    ":method in lower case": _with(b":method", b"get"),
    ":method that nobody knows": _with(b":method", b"BREW"),
    ":method with a space": _with(b":method", b"GET /b HTTP/1.1"),
    ":method with CRLF": _with(b":method", b"GET / HTTP/1.1\r\nHost: b\r\n\r\nGET"),
    ":authority with a user": _with(b":authority", b"me@a"),
    ":authority with a space": _with(b":authority", b"a b"),
    ":authority with CRLF": _with(b":authority", b"a\r\nx-admin: 1"),
    ":authority with a path": _with(b":authority", b"a/b"),
    "CONNECT": _head(base=[(b":method", b"CONNECT"), (b":authority", b"a:443")]),
    "extended CONNECT": _head(
        base=[(b":method", b"CONNECT"), *_GET[1:], (b":protocol", b"websocket")], flags=END_HEADERS
    ),
}
_BIG: Final = (2**31 - 1).to_bytes(4)
_FRAMES: Final = {
    "DATA on stream 0": _head() + frame(DATA, 0, 0, b"abc"),
    "DATA on a stream that nobody opened": _head() + frame(DATA, END_STREAM, 7, b"abc"),
    "DATA behind the end": _head() + frame(DATA, END_STREAM, 1, b"abc"),
    "HEADERS on stream 0": frame(HEADERS, END_STREAM | END_HEADERS, 0, block(_GET)),
    "HEADERS on an even stream": frame(HEADERS, END_STREAM | END_HEADERS, 2, block(_GET)),
    "a stream below one that was opened": _head()
    + frame(HEADERS, END_STREAM | END_HEADERS, 9, block(_GET))
    + frame(HEADERS, END_STREAM | END_HEADERS, 7, block(_GET)),
    "trailers that don't end the stream": _head(base=_POST, flags=END_HEADERS)
    + frame(HEADERS, END_HEADERS, 1, block([(b"x", b"1")])),
    "CONTINUATION out of nowhere": _head() + frame(CONTINUATION, END_HEADERS, 1, block(_GET)),
    "PING between HEADERS and CONTINUATION": frame(HEADERS, END_STREAM, 1, block(_GET))
    + frame(PING, 0, 0, bytes(8))
    + frame(CONTINUATION, END_HEADERS, 1),
    "10 000 empty CONTINUATIONs": frame(HEADERS, END_STREAM, 1, block(_GET))
    + frame(CONTINUATION, 0, 1) * 10000
    + frame(CONTINUATION, END_HEADERS, 1),
    "10 000 empty DATA frames": _head(base=_POST, flags=END_HEADERS) + frame(DATA, 0, 1) * 10000,
    "20 000 PINGs": frame(PING, 0, 0, bytes(8)) * 20000 + _head(),
    "20 000 SETTINGS": frame(SETTINGS, 0, 0) * 20000 + _head(),
    "10 000 streams that are reset at once": b"".join(
        frame(HEADERS, END_STREAM | END_HEADERS, stream, block(_GET)) + frame(RST_STREAM, 0, stream, bytes(4))
        for stream in range(1, 20001, 2)
    ),
    "padding longer than the frame": frame(
        HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\xff" + block(_GET)
    ),
    "a field that no table has": frame(HEADERS, END_STREAM | END_HEADERS, 1, block(_GET) + b"\xff\xff\x7f"),
    "a table larger than allowed": frame(
        HEADERS, END_STREAM | END_HEADERS, 1, b"\x3f\xe1\xff\xff\x7f" + block(_GET)
    ),
    "a header block cut short": frame(HEADERS, END_STREAM | END_HEADERS, 1, block(_GET)[:-3]),
    "a frame of 20 000 bytes": _head(base=_POST, flags=END_HEADERS)
    + frame(DATA, END_STREAM, 1, bytes(20000)),
    "PING of 7 bytes": frame(PING, 0, 0, bytes(7)) + _head(),
    "SETTINGS of 5 bytes": frame(SETTINGS, 0, 0, bytes(5)) + _head(),
    "SETTINGS: a window of 2^31": frame(SETTINGS, 0, 0, _setting(4, 2**31)) + _head(),
    "SETTINGS: push 2": frame(SETTINGS, 0, 0, _setting(2, 2)) + _head(),
    "SETTINGS: frames of 1 byte": frame(SETTINGS, 0, 0, _setting(5, 1)) + _head(),
    "WINDOW_UPDATE of 0": frame(WINDOW_UPDATE, 0, 0, bytes(4)) + _head(),
    "WINDOW_UPDATE beyond 2^31": frame(WINDOW_UPDATE, 0, 0, _BIG) * 2 + _head(),
    "PUSH_PROMISE by the client": frame(PUSH_PROMISE, END_HEADERS, 1, (2).to_bytes(4) + block(_GET))
    + _head(),
    "RST_STREAM of a stream that nobody opened": frame(RST_STREAM, 0, 7, bytes(4)) + _head(),
    "a stream that depends on itself": frame(PRIORITY, 0, 1, (1).to_bytes(4) + b"\x0f") + _head(),
    "GOAWAY by the client": _head() + frame(GOAWAY, 0, 0, bytes(8)),
}
#: Section of the page -> case -> bytes behind :data:`CLIENT_HELLO`.
HTTP2_SECTIONS: Final = {
    "HTTP/2 in order": _ORDINARY,
    "HTTP/2: fields": _FIELDS,
    "HTTP/2: pseudo-headers": _PSEUDO,
    "HTTP/2: frames": _FRAMES,
}
