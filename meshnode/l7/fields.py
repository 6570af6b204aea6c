"""Header fields: which may be there, and which end at this connection.

RFC 9110 5.1, 5.5 (names and values), 7.6.1 (fields of one connection), 6.5.1 (trailers); RFC 9113 8.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from meshnode.l7.model import Fields, RefusalError

__all__ = ["checked", "end_to_end", "field_text", "shown", "tokens", "trailers"]

_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
#: About one connection, whatever ``Connection`` says.
_HOP_BY_HOP: Final = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"),
        *(b"http2-settings", b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info"),
    )
)
#: A client that has these removed on the way changes what the message is, or who it is for.
_NOT_TO_BE_NAMED: Final = frozenset((b"content-length", b"host", b"cookie", b"authorization"))
#: Decide about framing, routing and rights before the body: behind it they are too late.
_NOT_IN_TRAILERS: Final = frozenset(
    (
        *(b"content-length", b"host", b"content-encoding", b"content-type", b"content-range", b"trailer"),
        *(b"authorization", b"cookie", b"set-cookie", b"cache-control", b"expect", b"max-forwards", b"range"),
        *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-client-cert", b"x-request-id"),
    )
)


def checked(fields: Iterable[tuple[bytes, bytes]], most: int) -> Fields:
    """``fields`` in lower case. Raises :class:`RefusalError` for what no field may be, and for more than ``most``."""
    found = tuple((bytes(name).lower(), bytes(value).strip(b" \t")) for name, value in fields)
    if len(found) > most:
        raise RefusalError(431, f"the message has {len(found)} header fields: at most {most} are taken")
    for name, value in found:
        if not _NAME.fullmatch(name):
            raise RefusalError(400, f"{shown(name)} is not a name of a header field")
        if not _VALUE.fullmatch(value):
            raise RefusalError(400, f"the value of header field {shown(name)} has a control character")
    return found


def tokens(fields: Fields, name: bytes) -> tuple[bytes, ...]:
    """The comma-separated members of all fields ``name``, in lower case."""
    values = [value for known, value in fields if known == name]
    if not values:
        return ()
    return tuple(part.strip(b" \t").lower() for part in b",".join(values).split(b",") if part.strip(b" \t"))


def end_to_end(fields: Fields) -> Fields:
    """Without what is about the connection it came on; ``te: trailers`` stays, since trailers are passed on.

    Raises :class:`RefusalError` when ``Connection`` names a field that is never about one connection.
    """
    named = frozenset(tokens(fields, b"connection"))
    if named and (wrong := named & _NOT_TO_BE_NAMED):
        raise RefusalError(
            400, f"the field Connection names {shown(min(wrong))}, which belongs to the message"
        )
    kept = tuple(pair for pair in fields if pair[0] not in _HOP_BY_HOP and pair[0] not in named)
    return (*kept, (b"te", b"trailers")) if b"trailers" in tokens(fields, b"te") else kept


def trailers(fields: Iterable[tuple[bytes, bytes]], most: int) -> Fields:
    """Trailers that are passed on: those that decide about nothing before them. Raises :class:`RefusalError`."""
    found = checked(fields, most)
    return tuple(pair for pair in found if pair[0] not in _HOP_BY_HOP and pair[0] not in _NOT_IN_TRAILERS)


def field_text(value: bytes) -> str:
    """A value as intentions are compared with it: UTF-8, and bytes that are none as surrogates, equal to no text."""
    return value.decode("utf-8", "surrogateescape")


def shown(data: bytes) -> str:
    """A peer's bytes for a log line: printable, and not many."""
    return ascii(data[:40].decode("latin-1"))
