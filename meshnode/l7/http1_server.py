"""A client's HTTP/1.1 connection as a value: h11 reads and writes, the gate lets nothing doubtful reach it.

One exchange at a time; what a client sends ahead waits. After a 101 both directions are bytes. RFC 9112.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import h11

from meshnode.l7.fields import checked, end_to_end, tokens, trailers
from meshnode.l7.gate import RequestGate
from meshnode.l7.http1 import SWITCHING, Http1End
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
from meshnode.l7.target import check_method, split_target

__all__ = ["Http1Server"]

#: The gate holds back heads that are too long; h11 only has to be above it.
_H11_BYTES: Final = 4096
#: The only change of protocol that is passed on: h2c would lead past whoever decides about requests.
_UPGRADES: Final = frozenset((b"websocket",))
_NO_BODY: Final = frozenset((204, 304))


class Http1Server(Http1End):
    """A client's connection. Streams are numbered as requests come: 1, 2, 3."""

    def __init__(self, bounds: Bounds, *, scheme: str) -> None:
        super().__init__(h11.SERVER, bounds, bounds.max_head_bytes + _H11_BYTES)
        self._scheme = scheme
        self._gate = RequestGate(bounds)
        self._head: RequestHead | None = None
        #: The request has no body: its end is told with its head.
        self._ended_at_once = False
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
            if data := self._gate.release():
                self._h11.receive_data(data)
            events += self._events()
        except RefusalError as refusal:
            events.append(self._fail(refusal))
        except h11.RemoteProtocolError as error:
            events.append(
                self._fail(RefusalError(error.error_status_hint, f"the request can't be read: {error}"))
            )
        if self._peer_ended and not self._failed:
            events += self._ended_by_peer()
        return events

    def _events(self) -> Iterator[Event]:
        while True:
            found = self._h11.next_event()
            if isinstance(found, h11.Request):
                yield self._request(found)
            elif isinstance(found, h11.Data):
                yield BodyReceived(self._stream, bytes(found.data), len(found.data))
            elif isinstance(found, h11.EndOfMessage):
                if found.headers or not self._ended_at_once:
                    yield MessageEnded(self._stream, trailers(found.headers, self._bounds.max_fields))
            else:
                return

    def _request(self, found: h11.Request) -> Event:
        self._stream += 1
        self._chunked = False
        fields = checked(found.headers, self._bounds.max_fields)
        hosts = [value.decode("latin-1") for name, value in fields if name == b"host"]
        if len(hosts) > 1:
            raise RefusalError(400, "the request has Host more than once")
        method = found.method.decode("ascii")
        check_method(method)
        if method == "CONNECT":
            raise RefusalError(501, "CONNECT is not served here: send the request itself")
        target = found.target.decode("ascii")
        scheme, authority, path = split_target(target, hosts[0] if hosts else None, scheme=self._scheme)
        offered = tokens(fields, b"upgrade") if b"upgrade" in tokens(fields, b"connection") else ()
        upgrade = next((each.decode() for each in offered if each in _UPGRADES), "")
        ended = not any(
            name == b"transfer-encoding" or (name == b"content-length" and int(value))
            for name, value in fields
        )
        kept = tuple(pair for pair in end_to_end(fields) if pair[0] != b"host")
        version = HTTP_1_0 if found.http_version == b"1.0" else HTTP_1_1
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
            self._send(h11.InformationalResponse(status_code=head.status, headers=list(head.fields)))

    def send_head(self, stream: int, head: ResponseHead, *, ended: bool) -> None:
        """The response, or the 101 of an offered upgrade, after which both directions are bytes."""
        fields = list(head.fields)
        if head.status == SWITCHING and self._head is not None:
            fields += [(b"connection", b"upgrade"), (b"upgrade", self._head.upgrade.encode())]
            self._send(h11.InformationalResponse(status_code=SWITCHING, headers=fields))
            self._tunnel = True
            return
        if self._failed or self._head is None:
            # h11 knows no request to answer, or one that it can't read: what is said now is the last.
            self._output.add(_raw_response(head))
            self.finished = True
            return
        has_length = any(name == b"content-length" for name, _ in fields)
        bodiless = ended or self._head.method == "HEAD" or head.status in _NO_BODY
        self._chunked = not has_length and not bodiless and self._head.version != HTTP_1_0
        if ended and not has_length and head.status not in _NO_BODY and self._head.method != "HEAD":
            fields.append((b"content-length", b"0"))
        if self._leaving or not self._gate.done:
            fields.append((b"connection", b"close"))
        self._send(h11.Response(status_code=head.status, headers=fields, reason=_reason(head.status)))
        if ended:
            self.end(stream)

    def send_body(self, stream: int, data: bytes) -> None:
        """As :class:`~meshnode.l7.model.Codec`."""
        if self._tunnel:
            self._output.add(data)
        elif not self._failed and data:
            self._send(h11.Data(data=data))

    def end(self, stream: int, trailers: Fields = ()) -> None:
        """As :class:`~meshnode.l7.model.Codec`; trailers go where the response is chunked."""
        if self._tunnel:
            self.finished = True
            return
        if self._failed:
            self.finished = True
            return
        self._send(h11.EndOfMessage(headers=list(trailers) if self._chunked else []))
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE and not self._leaving:
            self._h11.start_next_cycle()
            self._gate.again()
            self._head = None
        else:
            self.finished = True

    def _send(self, event: h11.Event) -> None:
        try:
            self._output.add(self._h11.send(event))
        except h11.LocalProtocolError as error:
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


def _raw_response(head: ResponseHead) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (head.status, _reason(head.status))]
    lines += [name + b": " + value for name, value in (*head.fields, (b"connection", b"close"))]
    return b"\r\n".join(lines) + b"\r\n\r\n"
