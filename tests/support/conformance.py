"""One corpus of HTTP/1.1 for every data plane: requests in order, odd ones and hostile ones, as bytes.

``conformance_planes`` sends them and tells what came of each; ``conformance.json`` has what is meant to come of each.
"""

from __future__ import annotations

from typing import Final

from tests.support.smuggling import CHUNKED, HEAD, SMUGGLING

__all__ = ["HTTP1", "PATHS", "SECTIONS"]

_GET: Final = b"GET /a HTTP/1.1\r\nHost: a\r\n"
_END: Final = b"\r\n"


def _get(fields: bytes = b"", target: bytes = b"/a", method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n" + fields + _END


def _filled(size: int) -> bytes:
    """A request whose head has so many bytes in all."""
    return _get(b"X: " + b"x" * (size - len(_get(b"X: \r\n"))) + b"\r\n")


_ORDINARY: Final = {
    "GET": _get(),
    "HEAD": _get(method=b"HEAD"),
    "DELETE without a body": _get(method=b"DELETE"),
    "a method that nobody knows": _get(method=b"BREW"),
    "a method in lower case": _get(method=b"get"),
    "POST with a length": HEAD + b"Content-Length: 3\r\n\r\nabc",
    "POST with length 0": HEAD + b"Content-Length: 0\r\n\r\n",
    "POST without a length": HEAD + _END,
    "GET with a body": _GET + b"Content-Length: 3\r\n\r\nabc",
    "chunks": CHUNKED + b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "chunks with sizes in either case, zeros in front": CHUNKED + b"00a\r\n0123456789\r\n00\r\n\r\n",
    "chunked in capitals": HEAD + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
    "a trailer": HEAD
    + b"Trailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    "Expect: 100-continue": HEAD + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    "two requests at once": _get() + _get(target=b"/b"),
    "an empty line in front": b"\r\n" + _get(),
    "no space, and much of it, around values": _get(b"X:1\r\nY: \t 2 \t\r\nZ:\r\n"),
    "a field that comes twice": _get(b"X: 1\r\nX: 2\r\n"),
    "cookies in two fields": _get(b"Cookie: a=1\r\nCookie: b=2\r\n"),
    "bytes beyond ASCII in a value": _get(b"X: \xc3\xa4\xff\r\n"),
    "Host with a port": b"GET /a HTTP/1.1\r\nHost: a:8080\r\n\r\n",
    "Host as an IPv6 address": b"GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "WebSocket offered": _get(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
    "Connection: close": _get(b"Connection: close\r\n"),
    "100 fields": _get(b"".join(b"X-%d: 1\r\n" % number for number in range(99))),
    "a head of 32 KiB": _filled(32 * 1024),
}
_ODD: Final = {
    "absolute form": b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form of https": b"GET https://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form without a path": b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form with a query and no path": b"GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form, another Host": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form, no Host": b"GET http://a/ HTTP/1.1\r\n\r\n",
    "absolute form with a user": b"GET http://me:secret@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form of ftp": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "OPTIONS *": _get(target=b"*", method=b"OPTIONS"),
    "GET *": _get(target=b"*"),
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "TRACE": _get(method=b"TRACE"),
    "no slash in front of the path": _get(target=b"a"),
    "a fragment": _get(target=b"/a#b"),
    "bytes beyond ASCII in the path": _get(target=b"/\xc3\xa4"),
    "a control character in the path": _get(target=b"/a\x01b"),
    "a path of 8 000 bytes": _get(target=b"/" + b"a" * 7999),
    "no Host": b"GET /a HTTP/1.1\r\n\r\n",
    "an empty Host": b"GET /a HTTP/1.1\r\nHost:\r\n\r\n",
    "Host twice": _get(b"Host: a\r\n"),
    "Host twice, and different": _get(b"Host: b\r\n"),
    "a list in Host": b"GET /a HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "Host with a path": b"GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "Host with a user": b"GET /a HTTP/1.1\r\nHost: me@a\r\n\r\n",
    "Host with a space": b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n",
    "HTTP/1.0 without Host": b"GET /a HTTP/1.0\r\n\r\n",
    "HTTP/1.0 with Host": b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n",
    "HTTP/1.0, keep-alive": b"GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "an expectation that nobody knows": _get(b"Expect: tea\r\n"),
    "a field of one connection": _get(b"Connection: x-mine\r\nX-Mine: 1\r\nX-Yours: 2\r\n"),
    "Keep-Alive, Proxy-Connection": _get(b"Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\n"),
    "TE: trailers": _get(b"TE: trailers\r\nConnection: TE\r\n"),
    "TE: gzip": _get(b"TE: gzip\r\nConnection: TE\r\n"),
    "proxy credentials": _get(b"Proxy-Authorization: Basic eDp5\r\n"),
    "h2c offered": _get(
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    ),
    "another protocol offered": _get(b"Connection: Upgrade\r\nUpgrade: tea\r\n"),
    "Upgrade, and Connection doesn't name it": _get(b"Upgrade: websocket\r\n"),
    "a chunk's extension": CHUNKED + b"3;a=b\r\nabc\r\n0\r\n\r\n",
    "a chunk's extension in quotes": CHUNKED + b'3;a="b;c"\r\nabc\r\n0\r\n\r\n',
    "an underscore in a name": _get(b"X_A: 1\r\n"),
    "what clients may not say": _get(
        b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: gopher\r\nX-Request-Id: mine\r\n"
    ),
    "Envoy's own fields": _get(
        b"X-Envoy-Retry-On: 5xx\r\nX-Envoy-Internal: true\r\nX-Envoy-Original-Path: /b\r\n"
    ),
    "a client certificate that nobody showed": _get(b"X-Forwarded-Client-Cert: By=a;URI=spiffe://x/y\r\n"),
}
_TRICKS: Final = {
    "Connection names Content-Length": HEAD + b"Connection: content-length\r\nContent-Length: 3\r\n\r\nabc",
    "Connection names Transfer-Encoding": (
        HEAD + b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    ),
    "Connection names Host": _get(b"Connection: host\r\n"),
    "Connection names Authorization": _get(b"Connection: authorization\r\nAuthorization: x\r\n"),
    "Connection names X-Forwarded-For": _get(b"Connection: x-forwarded-for\r\n"),
    "a length in a trailer": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
    "Host in a trailer": CHUNKED + b"0\r\nHost: b\r\n\r\n",
    "Authorization in a trailer": CHUNKED + b"0\r\nAuthorization: x\r\n\r\n",
    "a trailer without a name": CHUNKED + b"0\r\n: 1\r\n\r\n",
    "NUL in a trailer": CHUNKED + b"0\r\nX: a\x00b\r\n\r\n",
    "NUL in the path": _get(target=b"/a\x00b"),
    "NUL in the method": _get(method=b"G\x00T"),
    "NUL in Host": b"GET /a HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    "DEL in a value": _get(b"X: a\x7fb\r\n"),
    "a control character in a value": _get(b"X: a\x01b\r\n"),
    "a pseudo-header": _get(b":authority: b\r\n"),
    "a quote in a name": _get(b'X"A: 1\r\n'),
    "brackets in a name": _get(b"X(A): 1\r\n"),
    "a method with brackets": _get(method=b"G(T"),
    "a method of 65 bytes": _get(method=b"A" * 65),
    "a head of 65 KiB": _filled(65 * 1024),
    "a first line of 70 KiB": _get(target=b"/" + b"a" * 70 * 1024),
    "200 fields": _get(b"".join(b"X-%d: 1\r\n" % number for number in range(199))),
    "10 000 fields": _get(b"X: 1\r\n" * 9999),
    "a chunk's extension of 4 KiB": CHUNKED + b"3;" + b"a" * 4096 + b"\r\nabc\r\n0\r\n\r\n",
    "trailers of 70 KiB": CHUNKED + b"0\r\nX: " + b"x" * 70 * 1024 + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00" + _get(),
    "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "PROXY in front": b"PROXY TCP4 6.6.6.6 127.0.0.1 1 2\r\n" + _get(),
}
#: Section of the page -> case -> bytes. A whole request in order is sent behind each, to see where it was taken to end.
SECTIONS: Final = {
    "In order": _ORDINARY,
    "Odd": _ODD,
    "Where a request ends": {what: data for what, (_, data) in SMUGGLING.items()},
    "Other tricks": _TRICKS,
}
HTTP1: Final = {what: data for section in SECTIONS.values() for what, data in section.items()}

#: Paths that servers read in several ways, as the target of a request.
PATHS: Final = [
    *(
        "/",
        "/a/b?c=%2e",
        "//a",
        "/a//b",
        "/a///",
        "/a/./b",
        "/a/../b",
        "/../a",
        "/a/..",
        "/a/.",
        "/a/../../b",
    ),
    *(
        "/%61",
        "/%7ea",
        "/a%2Fb",
        "/a%2fb",
        "/a%5Cb",
        "/a\\b",
        "/a%00b",
        "/%2e%2e/a",
        "/a/%2E/b",
        "/a/%2e%2e%2fb",
    ),
    *(
        "/a%2",
        "/a%zz",
        "/a%",
        "/a%252e",
        "/a;b=1",
        "/a/..;/b",
        "/a%3Bb",
        "/a%20b",
        "/a+b",
        "/a%C3%A4",
        "/A/b",
    ),
    *(
        "/a/b/",
        "/a?b/../c",
        "/a?b//c",
        "/a?x=%2F",
        "/...",
        "/a/.../b",
        "/.%2e/a",
        "//../a",
        "/a/%2e.",
        "/a%3Fb",
    ),
]
