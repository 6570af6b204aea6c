"""HTTP/2 connections, both sides, as values: h2 reads and writes; here are the bounds, and what HTTP/1.1 needs to know.

RFC 9113. What a peer does in masses ends the connection with ENHANCE_YOUR_CALM. No push, no extended CONNECT.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

from h2 import events as h2_events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from meshnode.l7.fields import checked, end_to_end, trailers
from meshnode.l7.flood import CONTROL, RESETS, FloodGuard
from meshnode.l7.goaway import GoAwaySieve
from meshnode.l7.model import (
    HTTP_2,
    NO_WINDOW,
    BodyReceived,
    Bounds,
    ConnectionFailed,
    Event,
    Fields,
    InterimReceived,
    MessageEnded,
    PeerLeaving,
    RefusalError,
    RequestHead,
    RequestReceived,
    RequestRefused,
    ResponseHead,
    ResponseReceived,
    StreamFailed,
    WindowOpened,
)
from meshnode.l7.target import check_authority, check_form, check_method, check_path, check_scheme

__all__ = ["PREFACE", "Http2Client", "Http2Server"]

#: What a client of HTTP/2 says first (RFC 9113 3.4).
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: Bytes of all of a connection's streams that may wait here.
CONNECTION_WINDOW: Final = 1024 * 1024
_DEFAULT_WINDOW: Final = 65_535
_FINAL: Final = 200
_CONTROL_EVENTS: Final = (
    h2_events.PingReceived,
    h2_events.RemoteSettingsChanged,
    h2_events.PriorityUpdated,
    h2_events.UnknownFrameReceived,
)


class _Http2(ABC):
    """What both sides have in common."""

    def __init__(self, bounds: Bounds, *, client: bool) -> None:
        self.version = HTTP_2
        self._bounds = bounds
        self._h2 = H2Connection(H2Configuration(client_side=client, header_encoding=None))
        values = {
            SettingCodes.MAX_CONCURRENT_STREAMS: bounds.max_streams,
            SettingCodes.INITIAL_WINDOW_SIZE: bounds.max_waiting_bytes,
            # Above what is taken, so that one that is a little too long gets an answer that says so.
            SettingCodes.MAX_HEADER_LIST_SIZE: 2 * bounds.max_head_bytes,
            SettingCodes.ENABLE_PUSH: 0,
        }
        if not client:
            del values[SettingCodes.ENABLE_PUSH]
        self._h2.local_settings = Settings(client=client, initial_values=values)
        self._trailers: dict[int, Fields] = {}
        self._ended: set[int] = set()
        self._resets = FloodGuard(RESETS)
        self._control = FloodGuard(CONTROL)
        #: We take no further stream; the peer begins or takes none.
        self._leaving = False
        self._peer_leaving = False
        self._failed = False
        self._goaway = b""
        self._sieve = GoAwaySieve(0 if client else len(PREFACE))

    @property
    def finished(self) -> bool:
        """As :class:`~meshnode.l7.model.Codec`."""
        leaving = self._leaving or self._peer_leaving
        return self._failed or (leaving and not self._streams())

    def _streams(self) -> int:
        return self._h2.open_inbound_streams + self._h2.open_outbound_streams

    def start(self) -> None:
        """Preface and settings."""
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW - _DEFAULT_WINDOW)

    def receive(self, data: bytes, now: float) -> list[Event]:
        """As :class:`~meshnode.l7.model.Codec`."""
        if self._failed:
            return []
        if not data:
            self._failed = True
            return [ConnectionFailed("")]
        data, last = self._sieve.sift(data)
        leaving: list[Event] = [] if last is None else [PeerLeaving(last)]
        self._peer_leaving = self._peer_leaving or last is not None
        try:
            found = self._h2.receive_data(data)
        except (H2Error, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
            # h2 has put a GOAWAY into its output; other errors than its own are its defects, and end it too.
            self._failed = True
            return [ConnectionFailed(f"HTTP/2 is broken: {str(error) or type(error).__name__}")]
        events = leaving
        for event in found:
            if self._is_flood(event, now):
                self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                self._failed = True
                return [*events, ConnectionFailed(f"too many of {type(event).__name__} in a short time")]
            events += self._translate(event)
        return events

    def _is_flood(self, event: h2_events.Event, now: float) -> bool:
        if isinstance(event, h2_events.StreamReset):
            return not self._resets.count(now)
        is_control = isinstance(event, _CONTROL_EVENTS) or (
            isinstance(event, h2_events.DataReceived) and not event.data
        )
        return is_control and not self._control.count(now)

    def _translate(self, event: h2_events.Event) -> Iterator[Event]:
        match event:
            case h2_events.DataReceived():
                yield BodyReceived(event.stream_id, event.data, event.flow_controlled_length)
            case h2_events.TrailersReceived():
                yield from self._trailed(event)
            case h2_events.StreamEnded():
                if event.stream_id not in self._ended:
                    yield MessageEnded(event.stream_id, self._trailers.pop(event.stream_id, ()))
                self._ended.discard(event.stream_id)
            case h2_events.StreamReset():
                self._trailers.pop(event.stream_id, None)
                whose = "by the peer" if event.remote_reset else "for what the peer sent on it"
                refusal = RefusalError(502, f"the stream was reset {whose} ({_error_name(event.error_code)})")
                yield StreamFailed(event.stream_id, refusal)
            case h2_events.WindowUpdated():
                yield WindowOpened(event.stream_id or 0)
            case h2_events.RemoteSettingsChanged():
                yield WindowOpened(0)
            case h2_events.ConnectionTerminated():
                self._peer_leaving = True
                yield PeerLeaving(event.last_stream_id or 0)
            case _:
                yield from self._message(event)

    def _trailed(self, event: h2_events.TrailersReceived) -> Iterator[Event]:
        try:
            self._trailers[event.stream_id] = trailers(_pairs(event.headers), self._bounds.max_fields)
        except RefusalError as refusal:
            self.reset(event.stream_id)
            yield StreamFailed(event.stream_id, refusal)

    @abstractmethod
    def _message(self, event: h2_events.Event) -> Iterator[Event]:
        """What an event means that only this side of a connection hears."""

    def resume(self) -> list[Event]:
        """Nothing waits here."""
        return []

    def window(self, stream: int) -> int:
        """As :class:`~meshnode.l7.model.Codec`."""
        try:
            return self._h2.local_flow_control_window(stream)
        except H2Error:
            # It is gone: what is sent on it goes nowhere.
            return NO_WINDOW

    def consumed(self, stream: int, weight: int) -> None:
        """As :class:`~meshnode.l7.model.Codec`."""
        if weight and not self._failed:
            self._try(lambda: self._h2.acknowledge_received_data(weight, stream))

    def send_body(self, stream: int, data: bytes) -> None:
        """As :class:`~meshnode.l7.model.Codec`."""
        most = self._h2.max_outbound_frame_size
        for start in range(0, len(data), most):
            piece = data[start : start + most]
            self._try(partial(self._h2.send_data, stream, piece))

    def end(self, stream: int, trailers: Fields = ()) -> None:
        """As :class:`~meshnode.l7.model.Codec`."""
        if trailers:
            self._try(lambda: self._h2.send_headers(stream, list(trailers), end_stream=True))
        else:
            self._try(lambda: self._h2.end_stream(stream))

    def reset(self, stream: int, *, calm: bool = False) -> None:
        """As :class:`~meshnode.l7.model.Codec`."""
        code = ErrorCodes.NO_ERROR if calm else ErrorCodes.INTERNAL_ERROR
        self._try(lambda: self._h2.reset_stream(stream, code))

    def leave(self) -> None:
        """GOAWAY; what is under way is finished."""
        if not self._leaving and not self._failed:
            self._leaving = True
            # h2 would take nothing more after its own way to say this, streams under way included.
            self._goaway = GoAwayFrame(0, last_stream_id=self._h2.highest_inbound_stream_id).serialize()

    def take_output(self) -> bytes:
        """As :class:`~meshnode.l7.model.Codec`."""
        data = self._h2.data_to_send()
        goaway, self._goaway = self._goaway, b""
        return data + goaway

    def _try(self, send: Callable[[], object]) -> None:
        """Streams end under our hands: the event that says so is on its way."""
        try:
            send()
        except H2Error:
            return


class Http2Server(_Http2):
    """A client's connection."""

    def __init__(self, bounds: Bounds, *, scheme: str) -> None:
        super().__init__(bounds, client=False)
        self._scheme = scheme
        self._last = 0

    #: A head comes in one piece, or not at all.
    in_head = False
    waiting = 0

    def _message(self, event: h2_events.Event) -> Iterator[Event]:
        if not isinstance(event, h2_events.RequestReceived):
            return
        stream, ended = event.stream_id, event.stream_ended is not None
        self._last = stream
        if self._leaving:
            self._try(lambda: self._h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM))
            return
        if ended:
            self._ended.add(stream)
        try:
            head = self._head(_pairs(event.headers))
        except RefusalError as refusal:
            yield RequestRefused(stream, refusal)
            return
        yield RequestReceived(stream, head, ended)

    def _head(self, pairs: list[tuple[bytes, bytes]]) -> RequestHead:
        size = sum(len(name) + len(value) + 32 for name, value in pairs)
        if size > self._bounds.max_head_bytes:
            raise RefusalError(
                431,
                f"the head of the request has {size} bytes: at most {self._bounds.max_head_bytes} are taken",
            )
        pseudo = {name: value.decode("latin-1") for name, value in pairs if name.startswith(b":")}
        fields = checked((pair for pair in pairs if not pair[0].startswith(b":")), self._bounds.max_fields)
        method = pseudo.get(b":method", "")
        check_method(method)
        if method == "CONNECT":
            raise RefusalError(501, "CONNECT is not served here: send the request itself")
        hosts = [value.decode("latin-1") for name, value in fields if name == b"host"]
        authority = pseudo.get(b":authority") or (hosts[0] if hosts else "")
        if any(host.lower() != authority.lower() for host in hosts):
            raise RefusalError(400, "the fields :authority and Host name different hosts")
        check_authority(authority)
        path = pseudo.get(b":path", "")
        check_path(path)
        check_form(method, path)
        check_scheme(pseudo.get(b":scheme", ""))
        if sum(name == b"content-length" for name, _ in fields) > 1:
            raise RefusalError(400, "the request has Content-Length more than once")
        kept = _one_cookie(pair for pair in end_to_end(fields) if pair[0] != b"host")
        return RequestHead(method, self._scheme, authority, path, kept, HTTP_2)

    def send_interim(self, stream: int, head: ResponseHead) -> None:
        """A 1xx that is not 101."""
        self._try(lambda: self._h2.send_headers(stream, _response_pairs(head)))

    def send_head(self, stream: int, head: ResponseHead, *, ended: bool) -> None:
        """The response."""
        self._try(lambda: self._h2.send_headers(stream, _response_pairs(head), end_stream=ended))


class Http2Client(_Http2):
    """A connection to a server that speaks HTTP/2, whether it was asked for or known."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds, client=True)

    @property
    def room(self) -> int:
        """How many exchanges may begin now."""
        if self._failed or self._leaving or self._peer_leaving:
            return 0
        most = min(self._bounds.max_streams, self._h2.remote_settings.max_concurrent_streams)
        return max(0, most - self._h2.open_outbound_streams)

    def begin(self, head: RequestHead, *, ended: bool) -> int:
        """Send the head of a request; the number of its stream."""
        pairs = [
            (b":method", head.method.encode("ascii")),
            (b":scheme", head.scheme.encode("ascii")),
            (b":authority", head.authority.encode("latin-1")),
            (b":path", head.path.encode("ascii")),
            *head.fields,
        ]
        try:
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, pairs, end_stream=ended)
        except H2Error as error:
            raise RefusalError(502, f"the request can't be sent as HTTP/2: {error}") from None
        return stream

    def _message(self, event: h2_events.Event) -> Iterator[Event]:
        if isinstance(event, h2_events.InformationalResponseReceived):
            yield from self._response(event.stream_id, event.headers, ended=False)
        elif isinstance(event, h2_events.ResponseReceived):
            ended = event.stream_ended is not None
            if ended:
                self._ended.add(event.stream_id)
            yield from self._response(event.stream_id, event.headers, ended=ended)

    def _response(self, stream: int, headers: Iterable[Any], *, ended: bool) -> Iterator[Event]:
        pairs = _pairs(headers)
        status = next((value for name, value in pairs if name == b":status"), b"")
        try:
            if not (status.isdigit() and len(status) == len(b"200")):
                raise RefusalError(502, "its response has no status")
            fields = checked(
                (pair for pair in pairs if not pair[0].startswith(b":")), self._bounds.max_fields
            )
            head = ResponseHead(int(status), end_to_end(fields))
        except RefusalError as refusal:
            self.reset(stream)
            yield StreamFailed(stream, RefusalError(502, str(refusal)))
            return
        if head.status < _FINAL:
            yield InterimReceived(stream, head)
        else:
            yield ResponseReceived(stream, head, ended)


def _pairs(headers: Iterable[Any]) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in headers]


def _response_pairs(head: ResponseHead) -> list[tuple[bytes, bytes]]:
    return [(b":status", b"%d" % head.status), *head.fields]


def _one_cookie(pairs: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Cookies come in pieces that HTTP/1.1 wants as one field (RFC 9113 8.2.3)."""
    found = tuple(pairs)
    cookies = [value for name, value in found if name == b"cookie"]
    if len(cookies) < 2:
        return found
    return (*(pair for pair in found if pair[0] != b"cookie"), (b"cookie", b"; ".join(cookies)))


def _error_name(code: ErrorCodes | int) -> str:
    return code.name if isinstance(code, ErrorCodes) else f"error {code}"
