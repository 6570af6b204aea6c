"""Requests and responses as values. Nothing here knows of sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from meshnode.http.effects import Effect

__all__ = ["JSON", "TEXT", "Headers", "Query", "Request", "Response", "StreamResponse"]

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"

#: Extra response headers, in order.
Headers = tuple[tuple[str, str], ...]


class Query:
    """A query string as Go reads it: the first of several values counts, a flag may have no value."""

    __slots__ = ("_fields",)

    def __init__(self, raw: str) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in parse_qsl(raw, keep_blank_values=True):
            self._fields.setdefault(name, []).append(value)

    def get(self, name: str, default: str = "") -> str:
        """The first value of ``name``."""
        values = self._fields.get(name)
        return values[0] if values else default

    def all(self, name: str) -> Sequence[str]:
        """Every value of ``name``, in order."""
        return self._fields.get(name, ())

    def __contains__(self, name: str) -> bool:
        return name in self._fields


class Request:
    """One request, its body complete.

    ``path`` is percent-decoded (bytes that are not UTF-8 as surrogates) and starts with ``/``; ``raw_query`` is
    what followed ``?``. Header names are lower case; names and values are bytes as they were sent. ``remote``
    names the peer for logs. ``client_subject`` is the subject of a verified client certificate, else empty.
    ``param`` is what the route left open, such as the node in ``/v1/agent/force-leave/:node``.
    """

    def __init__(
        self,
        method: str,
        path: str,
        raw_query: str = "",
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        *,
        remote: str = "",
        secure: bool = False,
        client_subject: str = "",
    ) -> None:
        self.method = method
        self.path = path
        self.raw_query = raw_query
        self.headers = headers
        self.body = body
        self.remote = remote
        self.secure = secure
        self.client_subject = client_subject
        self.param = ""
        #: The managed proxy that asks, by its token, and the token of its service, which counts instead.
        self.proxy_id = ""
        self.acting_token: str | None = None
        #: Name of the route in metrics, once it is known.
        self.metric = ""

    @cached_property
    def query(self) -> Query:
        """The query string, parsed when first asked for."""
        return Query(self.raw_query)

    def header(self, name: bytes) -> str:
        """The first value of a header (name in lower case), or the empty string."""
        for known, value in self.headers:
            if known == name:
                return value.decode("latin-1")
        return ""

    @property
    def token(self) -> str:
        """``?token=``, else ``X-Consul-Token``, else ``Authorization: Bearer``, else the empty string."""
        if self.acting_token is not None:
            return self.acting_token
        if self.raw_query and (token := self.query.get("token")):
            return token
        if token := self.header(b"x-consul-token"):
            return token
        scheme, _, credentials = self.header(b"authorization").partition(" ")
        return credentials.strip() if scheme.lower() == "bearer" else ""


class Response:
    """A complete answer. ``headers`` are added to those that every answer has."""

    __slots__ = ("body", "content_type", "gzipped", "headers", "status")

    def __init__(
        self, status: int = 200, body: bytes = b"", content_type: str = TEXT, headers: Headers = ()
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        #: The same answer compressed, once somebody took it so.
        self.gzipped: Response | None = None

    @classmethod
    def text(cls, status: int, message: str, headers: Headers = ()) -> Response:
        """Plain text, as all errors are."""
        return cls(status, message.encode("utf-8", "replace"), TEXT, headers)


class StreamResponse:
    """An answer without a known end: the shell performs ``source`` and sends each piece as it comes."""

    __slots__ = ("content_type", "headers", "source", "status")

    def __init__(
        self,
        source: Effect[AsyncIterator[bytes]],
        status: int = 200,
        content_type: str = TEXT,
        headers: Headers = (),
    ) -> None:
        self.source = source
        self.status = status
        self.content_type = content_type
        self.headers = headers
