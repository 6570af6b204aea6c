"""An HTTP/1.1 connection to an application as a value: one exchange at a time, over h11. RFC 9112."""

from __future__ import annotations

from collections.abc import Iterator

import h11

from meshnode.l7.fields import checked, end_to_end, trailers
from meshnode.l7.http1 import SWITCHING, Http1End
from meshnode.l7.model import (
    BodyReceived,
    Bounds,
    ConnectionFailed,
    Event,
    Fields,
    InterimReceived,
    MessageEnded,
    RefusalError,
    RequestHead,
    ResponseHead,
    ResponseReceived,
    StreamFailed,
)

__all__ = ["Http1Client"]


class Http1Client(Http1End):
    """A connection to a server. One exchange at a time; ``idle`` says whether another one may begin."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(h11.CLIENT, bounds, bounds.max_head_bytes)
        self._active = False
        self._upgrading = False

    @property
    def room(self) -> int:
        """How many exchanges may begin now."""
        return 0 if self._active or self.finished else 1

    def begin(self, head: RequestHead, *, ended: bool) -> int:
        """Send the head of a request; the number of its stream."""
        fields = [(b"host", head.authority.encode("latin-1")), *head.fields]
        has_length = any(name == b"content-length" for name, _ in fields)
        self._chunked = not ended and not has_length
        if self._chunked:
            fields.append((b"transfer-encoding", b"chunked"))
        named = [b"te"] if any(name == b"te" for name, _ in fields) else []
        if head.upgrade:
            named.append(b"upgrade")
            fields.append((b"upgrade", head.upgrade.encode()))
        if named:
            fields.append((b"connection", b", ".join(named)))
        self._stream += 1
        self._active, self._upgrading = True, bool(head.upgrade)
        self._send(h11.Request(method=head.method, target=head.path, headers=fields))
        if ended:
            self._send(h11.EndOfMessage())
        return self._stream

    def receive(self, data: bytes, now: float) -> list[Event]:
        """As :class:`~meshnode.l7.model.Codec`."""
        del now
        if self._tunnel:
            return self._tunnelled(data)
        if self.finished:
            return []
        if not self._active:
            # Whatever it says now, it is the answer to nothing: the next answer could be to another request.
            self.finished = True
            because = (
                "the server sent bytes that nothing was asked for"
                if data
                else "the server ended the connection"
            )
            return [ConnectionFailed(because)]
        events: list[Event] = []
        silent = not data and self._h11.their_state is h11.SEND_RESPONSE
        try:
            self._h11.receive_data(data)
            events += self._events()
        except RefusalError as refusal:
            events.append(self._fail(str(refusal)))
        except h11.RemoteProtocolError as error:
            reason = (
                "the server ended the connection before it answered"
                if silent
                else f"its response can't be read: {error}"
            )
            events.append(self._fail(reason))
        return events

    def _fail(self, reason: str) -> Event:
        self.finished = True
        return StreamFailed(self._stream, RefusalError(502, reason))

    def _events(self) -> Iterator[Event]:
        while True:
            found = self._h11.next_event()
            if isinstance(found, h11.InformationalResponse):
                head = self._response(found)
                if head.status == SWITCHING:
                    yield from self._switch(head)
                    return
                yield InterimReceived(self._stream, head)
            elif isinstance(found, h11.Response):
                yield ResponseReceived(self._stream, self._response(found), ended=False)
            elif isinstance(found, h11.Data):
                yield BodyReceived(self._stream, bytes(found.data), len(found.data))
            elif isinstance(found, h11.EndOfMessage):
                yield MessageEnded(self._stream, trailers(found.headers, self._bounds.max_fields))
                self._over()
                return
            elif isinstance(found, h11.ConnectionClosed):
                yield self._fail("the server ended the connection before it answered")
                return
            else:
                return

    def _switch(self, head: ResponseHead) -> Iterator[Event]:
        self._tunnel = True
        yield ResponseReceived(self._stream, head, ended=False)
        rest = self._h11.trailing_data[0]
        if rest:
            yield BodyReceived(self._stream, rest, len(rest))

    def _response(self, found: h11.InformationalResponse | h11.Response) -> ResponseHead:
        fields = checked(found.headers, self._bounds.max_fields)
        names = [name for name, _ in fields]
        if b"transfer-encoding" in names and b"content-length" in names:
            raise RefusalError(502, "its response has both Content-Length and Transfer-Encoding")
        return ResponseHead(found.status_code, end_to_end(fields))

    def _over(self) -> None:
        if (
            self._h11.our_state is h11.DONE
            and self._h11.their_state is h11.DONE
            and not self._h11.trailing_data[0]
        ):
            self._h11.start_next_cycle()
            self._active = False
        elif self._h11.our_state is not h11.SEND_BODY or self._h11.trailing_data[0]:
            self.finished = True

    def resume(self) -> list[Event]:
        """Nothing waits here."""
        return []

    def send_body(self, stream: int, data: bytes) -> None:
        """As :class:`~meshnode.l7.model.Codec`."""
        if self._tunnel:
            self._output.add(data)
        elif self._h11.our_state is h11.SEND_BODY and data:
            self._send(h11.Data(data=data))

    def end(self, stream: int, trailers: Fields = ()) -> None:
        """As :class:`~meshnode.l7.model.Codec`."""
        if self._tunnel:
            self.finished = True
        elif self._h11.our_state is h11.SEND_BODY:
            self._send(h11.EndOfMessage(headers=list(trailers) if self._chunked else []))
            if self._h11.their_state is not h11.SEND_RESPONSE and self._h11.their_state is not h11.SEND_BODY:
                self._over()

    def _send(self, event: h11.Event) -> None:
        try:
            self._output.add(self._h11.send(event))
        except h11.LocalProtocolError as error:
            self.finished = True
            raise RefusalError(400, f"the request is not what its head says: {error}") from None

    def reset(self, stream: int, *, calm: bool = False) -> None:
        """As :class:`~meshnode.l7.model.Codec`: the connection ends with its exchange."""
        self.finished = True

    def leave(self) -> None:
        """No further request."""
        if not self._active:
            self.finished = True
