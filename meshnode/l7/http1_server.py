"""A client's HTTP/1.1 connection as a value; the gate reads, and lets nothing doubtful pass.

One exchange at a time; what a client sends ahead waits. After a 101 both directions are bytes. RFC 9112.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Final

from meshnode.l7.fields import end_to_end, tokens, trailers
from meshnode.l7.gate import EndRead, HeadRead, RequestGate
from meshnode.l7.http1 import SWITCHING, Framing, Http1End, head_bytes, length_of
from meshnode.l7.model import (
    HTTP_1_0,
    HTTP_1_1,
    BodyReceived,
    Bounds,
    Event,
    Fields,
    MessageEnded,
    RefusalError,
    RequestHead,
    RequestReceived,
    RequestRefused,
    ResponseHead,
    StreamFailed,
)
from meshnode.l7.target import check_form, check_method, split_target

__all__ = ["Http1Server"]

#: The only change of protocol that is passed on: h2c would lead past whoever decides about requests.
_UPGRADES: Final = frozenset((b"websocket",))
_NO_BODY: Final = frozenset((204, 304))


class Http1Server(Http1End):
    """A client's connection. Streams are numbered as requests come: 1, 2, 3."""

    def __init__(self, bounds: Bounds, *, scheme: str) -> None:
        super().__init__(bounds)
        self._scheme = scheme
        self._gate = RequestGate(bounds)
        self._head: RequestHead | None = None
        #: The request has no body: its end is told with its head.
        self._ended_at_once = False
        #: Another request may follow this one.
        self._keep = True
        self._failed = False
        self._leaving = False
        self._peer_ended = False

    @property
    def in_head(self) -> bool:
        """Whether a head has begun that has not ended."""
        return self._head is None and self._gate.in_head

    @property
    def waiting(self) -> int:
        """Bytes that were sent ahead of their time."""
        return self._gate.waiting

    def receive(self, data: bytes, now: float) -> list[Event]:
        """As :class:`~meshnode.l7.model.Codec`."""
        del now
        if self._tunnel:
            return self._tunnelled(data)
        if self._failed:
            return []
        if data:
            self._gate.receive(data)
        else:
            self._peer_ended = True
        return self.resume()

    def resume(self) -> list[Event]:
        """As :class:`~meshnode.l7.model.Codec`."""
        if self._failed:
            return []
        if self._tunnel:
            rest = self._gate.rest()
            return [BodyReceived(self._stream, rest, len(rest))] if rest else []
        events: list[Event] = []
        try:
            events += self._events()
        except RefusalError as refusal:
            events.append(self._fail(refusal))
        if self._peer_ended and not self._failed:
            events += self._ended_by_peer()
        return events

    def _events(self) -> Iterator[Event]:
        for found in self._gate.read():
            match found:
                case HeadRead():
                    yield self._request(found)
                case EndRead() if not self._ended_at_once:
                    yield MessageEnded(self._stream, trailers(found.trailers, self._bounds.max_fields))
                case bytes():
                    yield BodyReceived(self._stream, found, len(found))

    def _request(self, found: HeadRead) -> Event:
        self._stream += 1
        fields, method = found.fields, found.method
        hosts = [value.decode("latin-1") for name, value in fields if name == b"host"]
        if len(hosts) > 1:
            raise RefusalError(400, "the request has Host more than once")
        if not hosts and not found.old:
            raise RefusalError(400, "the request has no field Host")
        check_method(method)
        if method == "CONNECT":
            raise RefusalError(501, "CONNECT is not served here: send the request itself")
        scheme, authority, path = split_target(found.target, hosts[0] if hosts else None, scheme=self._scheme)
        check_form(method, path)
        connection = tokens(fields, b"connection")
        offered = tokens(fields, b"upgrade") if b"upgrade" in connection else ()
        upgrade = next((each.decode() for each in offered if each in _UPGRADES), "")
        ended = not any(
            name == b"transfer-encoding" or (name == b"content-length" and int(value))
            for name, value in fields
        )
        kept = tuple(pair for pair in end_to_end(fields) if pair[0] != b"host")
        version = HTTP_1_0 if found.old else HTTP_1_1
        self._keep = not found.old and b"close" not in connection
        self._head = RequestHead(method, scheme, authority, path, kept, version, upgrade)
        self._ended_at_once = ended
        return RequestReceived(self._stream, self._head, ended)

    def _fail(self, refusal: RefusalError) -> Event:
        self._failed = True
        if self._head is None:
            self._stream += 1
            return RequestRefused(self._stream, refusal)
        return StreamFailed(self._stream, refusal)

    def _ended_by_peer(self) -> list[Event]:
        """A client that has said everything may still read; one that stopped in the middle is gone."""
        if self._head is not None and not self._gate.done:
            self._failed = True
            return [
                StreamFailed(self._stream, RefusalError(400, "the client ended in the middle of its request"))
            ]
        self._leaving = True
        if self._head is None:
            self.finished = True
        return []

    def send_interim(self, stream: int, head: ResponseHead) -> None:
        """A 1xx that is not 101; nothing to a client of HTTP/1.0, which doesn't know them."""
        if self._head is not None and self._head.version != HTTP_1_0 and not self._failed:
            self._send(lambda: _head(head.status, head.fields))

    def send_head(self, stream: int, head: ResponseHead, *, ended: bool) -> None:
        """The response, or the 101 of an offered upgrade, after which both directions are bytes."""
        fields = list(head.fields)
        if head.status == SWITCHING and self._head is not None:
            fields += [(b"connection", b"upgrade"), (b"upgrade", self._head.upgrade.encode())]
            self._send(lambda: _head(SWITCHING, fields))
            self._tunnel = True
            return
        if self._failed or self._head is None:
            # There is no request to answer, or one that can't be read: what is said now is the last.
            self._output.add(_head(head.status, (*fields, (b"connection", b"close"))))
            self.finished = True
            return
        asked = self._head
        self._send(lambda: self._response(head.status, fields, asked, ended=ended))
        if ended:
            self.end(stream)

    def _response(
        self, status: int, fields: list[tuple[bytes, bytes]], head: RequestHead, *, ended: bool
    ) -> bytes:
        """The head of a final response, framed as client, status and body want it."""
        length, never = length_of(fields), head.method == "HEAD" or status in _NO_BODY
        chunked = length is None and not never and not ended and head.version != HTTP_1_0
        if chunked:
            fields.append((b"transfer-encoding", b"chunked"))
        elif length is None and not never and ended:
            fields.append((b"content-length", b"0"))
        if self._leaving or not self._gate.done:
            self._keep = False
        if not self._keep:
            fields.append((b"connection", b"close"))
        self._framing = Framing(0 if never else length, chunked=chunked)
        return _head(status, fields)

    def send_body(self, stream: int, data: bytes) -> None:
        """As :class:`~meshnode.l7.model.Codec`."""
        if self._tunnel:
            self._output.add(data)
        elif not self._failed and data:
            self._send(lambda: self._framed().body(data))

    def end(self, stream: int, trailers: Fields = ()) -> None:
        """As :class:`~meshnode.l7.model.Codec`; trailers go where the response is chunked."""
        if self._tunnel:
            self.finished = True
            return
        if self._failed:
            self.finished = True
            return
        self._send(lambda: self._framed().end(trailers))
        self._framing = None
        if self._keep and self._gate.done and not self._leaving:
            self._gate.again()
            self._head = None
        else:
            self.finished = True

    def _framed(self) -> Framing:
        if self._framing is None:
            raise ValueError("there is a body without a head")
        return self._framing

    def _send(self, made: Callable[[], bytes]) -> None:
        try:
            self._output.add(made())
        except ValueError as error:
            # A response that is not what its head said: the client has to see that it is no whole one.
            self._failed = self.finished = True
            raise RefusalError(502, f"the response is not what its head says: {error}") from None

    def reset(self, stream: int, *, calm: bool = False) -> None:
        """As :class:`~meshnode.l7.model.Codec`: the connection ends with its exchange."""
        self._failed = self._failed or not calm
        self.finished = True

    def leave(self) -> None:
        """As :class:`~meshnode.l7.model.Codec`."""
        self._leaving = True
        if self._head is None:
            self.finished = True


def _reason(status: int) -> bytes:
    """The phrase behind the number, which nobody but people reads."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


def _head(status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return head_bytes(b"HTTP/1.1 %d %b" % (status, _reason(status)), fields)
