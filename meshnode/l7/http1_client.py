"""An HTTP/1.1 connection to an application as a value: one exchange at a time. RFC 9112."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from meshnode.l7.gate import EndRead
from meshnode.l7.http1 import SWITCHING, Framing, Http1End, head_bytes, length_of
from meshnode.l7.http1_response import Answered, ResponseReader
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

#: Methods whose requests are expected to have a body.
_WITH_BODY: Final = frozenset(("POST", "PUT", "PATCH"))
_FINAL: Final = 200
_Made = TypeVar("_Made")


class Http1Client(Http1End):
    """A connection to a server. One exchange at a time; ``idle`` says whether another one may begin."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self._active = False
        self._reader: ResponseReader | None = None

    @property
    def room(self) -> int:
        """How many exchanges may begin now."""
        return 0 if self._active or self.finished else 1

    def begin(self, head: RequestHead, *, ended: bool) -> int:
        """Send the head of a request; the number of its stream."""
        fields = [(b"host", head.authority.encode("latin-1")), *head.fields]
        length = self._made(lambda: length_of(fields))
        chunked = not ended and length is None
        if chunked:
            fields.append((b"transfer-encoding", b"chunked"))
        elif length is None and head.method in _WITH_BODY:
            # Some servers want to be told that there is none (RFC 9110 8.6).
            fields.append((b"content-length", b"0"))
        named = [b"te"] if any(name == b"te" for name, _ in fields) else []
        if head.upgrade:
            named.append(b"upgrade")
            fields.append((b"upgrade", head.upgrade.encode()))
        if named:
            fields.append((b"connection", b", ".join(named)))
        first = f"{head.method} {head.path} HTTP/1.1".encode("ascii")
        self._stream += 1
        self._active = True
        self._reader = ResponseReader(
            self._bounds, bodiless=head.method == "HEAD", upgrading=bool(head.upgrade)
        )
        self._output.add(self._made(lambda: head_bytes(first, fields)))
        self._framing = Framing(length or 0, chunked=chunked)
        if ended:
            self._end(())
        return self._stream

    def receive(self, data: bytes, now: float) -> list[Event]:
        """As :class:`~meshnode.l7.model.Codec`."""
        del now
        if self._tunnel:
            return self._tunnelled(data)
        if self.finished:
            return []
        reader = self._reader
        if not self._active or reader is None:
            # Whatever it says now, it is the answer to nothing: the next answer could be to another request.
            self.finished = True
            because = (
                "the server sent bytes that nothing was asked for"
                if data
                else "the server ended the connection"
            )
            return [ConnectionFailed(because)]
        try:
            found = reader.feed(data) if data else reader.ended()
        except RefusalError as refusal:
            self.finished = True
            return [StreamFailed(self._stream, refusal)]
        events = [self._event(each) for each in found]
        if reader.switched:
            self._tunnel = True
            if reader.rest:
                events.append(BodyReceived(self._stream, reader.rest, len(reader.rest)))
        else:
            self._over(reader)
        return events

    def _event(self, found: Answered) -> Event:
        match found:
            case ResponseHead():
                interim = found.status < _FINAL and found.status != SWITCHING
                return (
                    InterimReceived(self._stream, found)
                    if interim
                    else ResponseReceived(self._stream, found, ended=False)
                )
            case EndRead():
                return MessageEnded(self._stream, found.trailers)
            case _:
                return BodyReceived(self._stream, found, len(found))

    def _over(self, reader: ResponseReader) -> None:
        """Once the response is whole, the connection is for the next exchange, or for none."""
        if not reader.complete:
            return
        if not reader.reusable:
            self.finished = True
        elif self._framing is None:
            self._active, self._reader = False, None

    def resume(self) -> list[Event]:
        """Nothing waits here."""
        return []

    def send_body(self, stream: int, data: bytes) -> None:
        """As :class:`~meshnode.l7.model.Codec`."""
        if self._tunnel:
            self._output.add(data)
        elif (framing := self._framing) is not None and data:
            self._output.add(self._made(lambda: framing.body(data)))

    def end(self, stream: int, trailers: Fields = ()) -> None:
        """As :class:`~meshnode.l7.model.Codec`."""
        if self._tunnel:
            self.finished = True
        elif self._framing is not None:
            self._end(trailers)
            if self._reader is not None:
                self._over(self._reader)

    def _end(self, trailers: Fields) -> None:
        framing = self._framing
        if framing is not None:
            self._output.add(self._made(lambda: framing.end(trailers)))
            self._framing = None

    def _made(self, made: Callable[[], _Made]) -> _Made:
        try:
            return made()
        except ValueError as error:
            self.finished = True
            raise RefusalError(400, f"the request is not what its head says: {error}") from None

    def reset(self, stream: int, *, calm: bool = False) -> None:
        """As :class:`~meshnode.l7.model.Codec`: the connection ends with its exchange."""
        self.finished = True

    def leave(self) -> None:
        """No further request."""
        if not self._active:
            self.finished = True
