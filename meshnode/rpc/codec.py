"""net/rpc in msgpack: a header, then a body, for each request and each response. Incremental and bounded.

Source: hashicorp/net-rpc-msgpackrpc with go-msgpack. A header is a map in the sorted field order that Go writes
(``Seq, ServiceMethod`` and ``Error, Seq, ServiceMethod``); its reader takes any order and skips unknown fields. Both
ends use the old msgpack spec: text and bytes are one type, so bodies are read *raw*: every string, map keys
included, is ``bytes``; ``with_text_keys`` turns the keys into text. On an error the body is the empty map, as in Go.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgpack

from meshnode.base.errors import LocalProtocolError, RemoteProtocolError
from meshnode.rpc.msgpack_extent import Extent

__all__ = [
    "Request",
    "RequestParser",
    "Response",
    "ResponseParser",
    "serialize_request",
    "serialize_response",
    "with_text_keys",
]

#: A header holds a method name or an error text.
MAX_HEADER_BYTES: Final = 64 * 1024
MAX_HEADER_VALUES: Final = 64
#: The largest body either way: a KV transaction or a snapshot of a catalog is far below.
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
#: Values in one body: each costs up to about 100 bytes once built.
MAX_BODY_VALUES: Final = 1_000_000
#: Error texts are cut here when sent.
MAX_ERROR_BYTES: Final = 8 * 1024

_EMPTY_BODY: Final = b"\x80"


@dataclass(frozen=True, slots=True)
class Request:
    """A call: ``method`` is ``Service.Method``; ``body`` is raw (see the top of this file)."""

    method: str
    seq: int
    body: Any


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; ``error`` is empty on success."""

    method: str
    seq: int
    error: str
    body: Any


class _PairParser:
    """Cuts a byte stream into (header, body) pairs."""

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES, max_body_values: int = MAX_BODY_VALUES) -> None:
        self._buffer = bytearray()
        self._max_body = (max_body_bytes, max_body_values)
        self._header: dict[bytes, Any] | None = None
        self._extent = Extent(0, MAX_HEADER_BYTES, MAX_HEADER_VALUES)

    @property
    def buffered_bytes(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def _pairs(self, data: bytes) -> list[tuple[dict[bytes, Any], Any]]:
        """Every pair that ``data`` completes. After ``RemoteProtocolError`` the stream can't be read any further."""
        buffer, start = self._buffer, 0
        buffer += data
        pairs: list[tuple[dict[bytes, Any], Any]] = []
        while start < len(buffer) and self._extent.advance(buffer):
            end = self._extent.end
            value = _unpack(buffer, start, end)
            start = end
            if self._header is not None:
                pairs.append((self._header, value))
                self._header = None
                self._extent = Extent(end, MAX_HEADER_BYTES, MAX_HEADER_VALUES)
            elif isinstance(value, dict):
                self._header = value
                self._extent = Extent(end, *self._max_body)
            else:
                raise RemoteProtocolError(f"net/rpc: a header is a map, not {type(value).__name__}")
        if start:
            del buffer[:start]
            self._extent.rebase(start)
        return pairs


class RequestParser(_PairParser):
    """What a server reads."""

    def feed(self, data: bytes) -> list[Request]:
        """The requests that ``data`` completes; raises ``RemoteProtocolError``, after which the parser is of no use."""
        return [
            Request(_text(header, b"ServiceMethod"), _number(header, b"Seq"), body)
            for header, body in self._pairs(data)
        ]


class ResponseParser(_PairParser):
    """What a client reads."""

    def feed(self, data: bytes) -> list[Response]:
        """The responses that ``data`` completes; raises ``RemoteProtocolError``, as ``RequestParser.feed``."""
        return [
            Response(_text(header, b"ServiceMethod"), _number(header, b"Seq"), _text(header, b"Error"), body)
            for header, body in self._pairs(data)
        ]


def serialize_request(request: Request) -> bytes:
    """The bytes of a request. Raises ``LocalProtocolError`` when the body can't be put in msgpack or is too long."""
    return b"\x82\xa3Seq" + _pack(request.seq) + _method_field(request.method) + _pack(request.body)


def serialize_response(response: Response) -> bytes:
    """The bytes of a response; with an error the body is the empty map and the text is cut to its bound."""
    error = response.error.encode("utf-8", "replace")[:MAX_ERROR_BYTES] if response.error else b""
    body = _EMPTY_BODY if error else _pack(response.body)
    return (
        b"\x83\xa5Error"
        + _pack(error)
        + b"\xa3Seq"
        + _pack(response.seq)
        + _method_field(response.method)
        + body
    )


def with_text_keys(value: Any) -> Any:
    """A raw body with the keys of its maps as text (UTF-8, with replacement) and all else as it was."""
    if isinstance(value, dict):
        return {
            key.decode("utf-8", "replace") if isinstance(key, bytes) else key: with_text_keys(item)
            for key, item in value.items()
        }
    return [with_text_keys(item) for item in value] if isinstance(value, list) else value


@lru_cache(maxsize=512)
def _method_field(method: str) -> bytes:
    return b"\xadServiceMethod" + _pack(method)


def _pack(value: Any) -> bytes:
    try:
        packed: bytes = msgpack.packb(value, use_bin_type=False, unicode_errors="surrogateescape")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"net/rpc: a value can't be written as msgpack: {error}") from error
    if len(packed) > MAX_BODY_BYTES:
        raise LocalProtocolError(
            f"net/rpc: a body of {len(packed)} bytes is over the bound of {MAX_BODY_BYTES}"
        )
    return packed


def _unpack(buffer: bytearray, start: int, end: int) -> Any:
    try:
        # Keys are strings: integer keys have predictable hashes, so a peer could make a dict slow with them.
        return msgpack.unpackb(bytes(memoryview(buffer)[start:end]), raw=True, strict_map_key=True)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise RemoteProtocolError(f"msgpack: {error or type(error).__name__}") from error


def _text(header: dict[bytes, Any], field: bytes) -> str:
    value = header.get(field, b"")
    if not isinstance(value, bytes):
        raise RemoteProtocolError(f"net/rpc: {field.decode()} is text, not {type(value).__name__}")
    return value.decode("utf-8", "replace")


def _number(header: dict[bytes, Any], field: bytes) -> int:
    value = header.get(field, 0)
    if type(value) is not int or not 0 <= value < 2**64:
        raise RemoteProtocolError(
            f"net/rpc: {field.decode()} is an unsigned number of 64 bits, not {value!r:.40}"
        )
    return value
