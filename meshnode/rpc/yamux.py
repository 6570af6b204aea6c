"""A yamux session: many streams over one connection, with flow control per stream. Sans-IO, both roles.

Source: yamux ``spec.md``. A verb returns the effects it caused, in order: bytes to send first, events after. The shell
calls ``start`` once, then ``handle_data`` and ``handle_timer``. Bytes that the protocol forbids end the session: the
effects then hold a go-away frame and ``SessionClosed(RemoteProtocolError)``. Stricter than the Go original where that
costs no peer anything: the parity of stream ids, data after FIN, windows beyond 32 bits.
"""

from __future__ import annotations

from meshnode.base.errors import LocalProtocolError, MeshError, RemoteProtocolError
from meshnode.rpc import yamux_frames as frames
from meshnode.rpc.yamux_effects import (
    DataReceived,
    Effect,
    GoAwayReceived,
    KeepAliveDue,
    PongOverdue,
    PongReceived,
    Send,
    SessionClosed,
    SetTimer,
    StreamEnded,
    StreamId,
    StreamOpened,
    StreamReset,
    Timer,
)
from meshnode.rpc.yamux_limits import MAX_SENT_FRAME_BYTES, Limits, Role
from meshnode.rpc.yamux_stream import Cause, State, Stream

__all__ = ["Limits", "Role", "Session"]


class Session:
    """One end of a yamux connection."""

    def __init__(self, role: Role, limits: Limits | None = None) -> None:
        #: Our streams leave this remainder when divided by two.
        self._parity = role.value
        self._limits = limits or Limits()
        self._next_id = role.value or 2
        self._streams: dict[StreamId, Stream] = {}
        self._opening = 0
        self._unaccepted = 0
        self._incoming = 0
        self._queued_bytes = 0
        self._ping = 0
        self._ping_sent_at: float | None = None
        self._going_away = False
        self._peer_going_away = False
        self._closed = False
        # Parsing: an incomplete header, or what is missing of a payload and whose it is (None: to be discarded).
        self._head = b""
        self._payload_left = 0
        self._payload_stream: Stream | None = None
        self._payload_ends = False
        # Effects of the verb under way.
        self._out: list[bytes | memoryview] = []
        self._events: list[Effect] = []

    @property
    def closed(self) -> bool:
        """Over: every verb that would send now raises ``LocalProtocolError``."""
        return self._closed

    @property
    def stream_count(self) -> int:
        """Streams of both sides that are not closed yet."""
        return len(self._streams)

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for windows of the peer to open."""
        return self._queued_bytes

    @property
    def can_open(self) -> bool:
        """Whether ``open_stream`` may be called now."""
        return not self._closed and not self._peer_going_away and self._opening < self._limits.accept_backlog

    # -- verbs

    def start(self, now: float) -> list[Effect]:
        """Arm the keep-alive; an interval of 0 means none."""
        del now
        interval = self._limits.keep_alive_interval
        return [SetTimer(interval, KeepAliveDue())] if interval else []

    def open_stream(self, now: float) -> tuple[StreamId, list[Effect]]:
        """Open a stream; data may follow at once. Raises ``LocalProtocolError`` unless ``can_open``."""
        self._require(not self._closed, "the session is closed")
        self._require(not self._peer_going_away, "the peer takes no new streams: it is going away")
        self._require(
            self._opening < self._limits.accept_backlog, "too many streams wait for the peer to accept them"
        )
        self._require(self._next_id <= frames.MAX_STREAM_ID, "stream ids are exhausted: open a new session")
        stream = Stream(StreamId(self._next_id), ours=True, now=now)
        self._next_id += 2
        self._streams[stream.id] = stream
        self._opening += 1
        self._frame(frames.WINDOW_UPDATE, frames.SYN, stream.id, 0)
        return stream.id, self._effects()

    def accept(self, stream_id: StreamId) -> list[Effect]:
        """Acknowledge a stream of the peer. Sending or closing does it too; a stream that is gone is no error."""
        if (stream := self._streams.get(stream_id)) is not None and stream.unaccepted:
            self._accept(stream)
        return self._effects()

    def send(self, stream_id: StreamId, data: bytes) -> list[Effect]:
        """Send ``data``, or queue what the peer's window does not allow yet.

        Raises ``LocalProtocolError`` when the stream is gone or closed by us, or when the queue would pass its bound.
        """
        stream = self._writable(stream_id)
        waiting = max(0, len(data) - (0 if stream.queue else stream.send_window))
        self._require(
            stream.queued_bytes + waiting <= self._limits.max_stream_queue_bytes
            and self._queued_bytes + waiting <= self._limits.max_session_queue_bytes,
            f"stream {stream_id} already has {stream.queued_bytes} bytes waiting for the peer's window",
        )
        if stream.unaccepted:
            self._accept(stream)
        if data:
            stream.enqueue(data)
            self._queued_bytes += len(data)
            self._flush(stream)
        return self._effects()

    def close(self, stream_id: StreamId) -> list[Effect]:
        """Send FIN once what is queued has gone; a stream that is gone or closing is left as it is."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.closing or self._closed:
            return []
        if stream.unaccepted:
            self._accept(stream)
        stream.closing = True
        self._flush(stream)
        return self._effects()

    def reset(self, stream_id: StreamId) -> list[Effect]:
        """Drop the stream at once, both ways; no event follows."""
        stream = self._streams.get(stream_id)
        if stream is None or self._closed:
            return []
        self._frame(frames.WINDOW_UPDATE, frames.RST, stream_id, 0)
        self._forget(stream)
        return self._effects()

    def consumed(self, stream_id: StreamId, count: int) -> list[Effect]:
        """Take note that ``count`` received bytes are used up; from half a window on the peer gets the credit."""
        stream = self._streams.get(stream_id)
        if stream is None or self._closed:
            return []
        stream.owed += count
        if stream.owed >= frames.INITIAL_WINDOW_BYTES // 2 and stream.state is not State.REMOTE_CLOSED:
            if stream.unaccepted:
                self._accept(stream)
            self._frame(frames.WINDOW_UPDATE, 0, stream_id, stream.owed)
            stream.receive_window += stream.owed
            stream.owed = 0
        return self._effects()

    def go_away(self) -> list[Effect]:
        """Tell the peer that new streams will be reset; those that exist go on."""
        if self._closed or self._going_away:
            return []
        self._going_away = True
        self._frame(frames.GO_AWAY, 0, frames.SESSION, frames.GoAwayCode.NORMAL)
        return self._effects()

    def handle_timer(self, timer: Timer, now: float) -> list[Effect]:
        """A timer is due; a stale one returns ``[]``."""
        if self._closed:
            return []
        match timer:
            case KeepAliveDue():
                self._keep_alive(now)
            case PongOverdue(ping):
                if self._ping_sent_at is not None and ping == self._ping:
                    late = f"the peer did not answer a ping within {self._limits.pong_timeout:g} s"
                    self._end(frames.GoAwayCode.INTERNAL_ERROR, MeshError(late))
        return self._effects()

    def handle_data(self, data: bytes, now: float) -> list[Effect]:
        """Bytes arrived. Never raises for what is in them."""
        if self._closed:
            return []
        if self._head:
            data = self._head + data
            self._head = b""
        position, end = 0, len(data)
        try:
            while position < end and not self._closed:
                if self._payload_left:
                    position = self._payload(data, position)
                elif end - position < frames.HEADER_BYTES:
                    self._head = data[position:]
                    break
                else:
                    self._header(data, position, now)
                    position += frames.HEADER_BYTES
        except RemoteProtocolError as error:
            self._end(frames.GoAwayCode.PROTOCOL_ERROR, error)
        return self._effects()

    # -- incoming frames

    def _header(self, data: bytes, position: int, now: float) -> None:
        version, kind, flags, stream_id, length = frames.HEADER.unpack_from(data, position)
        if version != frames.VERSION:
            raise RemoteProtocolError(f"yamux version {version}: only version 0 exists")
        if kind <= frames.WINDOW_UPDATE:
            self._stream_frame(kind, flags, StreamId(stream_id), length, now)
        elif kind > frames.GO_AWAY:
            raise RemoteProtocolError(f"yamux frame of unknown type {kind}")
        elif stream_id != frames.SESSION:
            raise RemoteProtocolError(f"yamux ping or go-away on stream {stream_id}: they belong to stream 0")
        elif kind == frames.PING:
            self._ping_frame(flags, length, now)
        else:
            self._go_away_frame(length)

    def _stream_frame(self, kind: int, flags: int, stream_id: StreamId, length: int, now: float) -> None:
        if kind == frames.DATA and length > frames.MAX_FRAME_BYTES:
            raise RemoteProtocolError(
                f"yamux data frame of {length} bytes: a window has {frames.MAX_FRAME_BYTES}"
            )
        stream = self._incoming_stream(stream_id, now) if flags & frames.SYN else self._streams.get(stream_id)
        if stream is not None and flags & frames.RST:
            self._forget(stream)
            self._events.append(StreamReset(stream_id))
            stream = None
        if stream is not None and flags & frames.ACK:
            self._acknowledged(stream)
        if kind == frames.WINDOW_UPDATE:
            if stream is not None:
                self._widen(stream, length)
                if flags & frames.FIN:
                    self._ended(stream)
            return
        if stream is not None and length:
            if stream.state is State.REMOTE_CLOSED:
                raise RemoteProtocolError(f"yamux stream {stream_id} carries data after its FIN")
            if length > stream.receive_window:
                raise RemoteProtocolError(
                    f"yamux stream {stream_id} sends {length} bytes into a window of {stream.receive_window}"
                )
            stream.receive_window -= length
        self._payload_left, self._payload_stream = length, stream
        self._payload_ends = bool(flags & frames.FIN)
        if not length and stream is not None and flags & frames.FIN:
            self._ended(stream)

    def _payload(self, data: bytes, position: int) -> int:
        """Pass on what has arrived of a payload; returns the position after it."""
        chunk = data[position : position + self._payload_left]
        self._payload_left -= len(chunk)
        stream = self._payload_stream
        if stream is not None and self._streams.get(stream.id) is stream:
            self._events.append(DataReceived(stream.id, chunk))
            if not self._payload_left and self._payload_ends:
                self._ended(stream)
        if not self._payload_left:
            self._payload_stream = None
        return position + len(chunk)

    def _incoming_stream(self, stream_id: StreamId, now: float) -> Stream | None:
        if stream_id == frames.SESSION or stream_id % 2 == self._parity:
            raise RemoteProtocolError(f"yamux stream {stream_id} is not the peer's to open")
        if stream_id in self._streams:
            raise RemoteProtocolError(f"yamux stream {stream_id} is opened twice")
        full = self._incoming >= self._limits.max_streams or self._unaccepted >= self._limits.accept_backlog
        if full or self._going_away:
            self._frame(frames.WINDOW_UPDATE, frames.RST, stream_id, 0)
            return None
        stream = Stream(stream_id, ours=False, now=now)
        self._streams[stream_id] = stream
        self._incoming += 1
        self._unaccepted += 1
        self._events.append(StreamOpened(stream_id))
        return stream

    def _acknowledged(self, stream: Stream) -> None:
        if not stream.allows(Cause.ACK_RECEIVED):
            raise RemoteProtocolError(f"yamux stream {stream.id} is acknowledged by the side that opened it")
        if stream.awaits_ack:
            stream.awaits_ack = False
            self._opening -= 1
        stream.move(Cause.ACK_RECEIVED)

    def _ended(self, stream: Stream) -> None:
        if not stream.allows(Cause.FIN_RECEIVED):
            raise RemoteProtocolError(f"yamux stream {stream.id} ends twice")
        stream.move(Cause.FIN_RECEIVED)
        self._events.append(StreamEnded(stream.id))
        if stream.state is State.CLOSED:
            self._forget(stream)

    def _widen(self, stream: Stream, delta: int) -> None:
        if stream.send_window + delta > frames.MAX_WINDOW_BYTES:
            raise RemoteProtocolError(f"yamux stream {stream.id} has its window widened beyond 32 bits")
        stream.send_window += delta
        if stream.queue:
            self._flush(stream)

    def _ping_frame(self, flags: int, value: int, now: float) -> None:
        if flags & frames.SYN:
            self._frame(frames.PING, frames.ACK, frames.SESSION, value)
        elif value == self._ping and self._ping_sent_at is not None:
            self._events.append(PongReceived(now - self._ping_sent_at))
            self._ping_sent_at = None

    def _go_away_frame(self, code: int) -> None:
        if code != frames.GoAwayCode.NORMAL:
            self._closed = True
            self._events.append(
                SessionClosed(RemoteProtocolError(f"the peer ended the yamux session with code {code}"))
            )
        elif not self._peer_going_away:
            self._peer_going_away = True
            self._events.append(GoAwayReceived())

    # -- our side

    def _keep_alive(self, now: float) -> None:
        if self._ping_sent_at is None:
            self._ping = (self._ping + 1) & 0xFFFFFFFF
            self._ping_sent_at = now
            self._frame(frames.PING, frames.SYN, frames.SESSION, self._ping)
            self._events.append(SetTimer(self._limits.pong_timeout, PongOverdue(self._ping)))
        self._events.append(SetTimer(self._limits.keep_alive_interval, KeepAliveDue()))
        for stream in list(self._streams.values()):
            if stream.awaits_ack and now - stream.opened_at >= self._limits.stream_open_timeout:
                error = MeshError(f"the peer did not accept stream {stream.id}")
                self._end(frames.GoAwayCode.INTERNAL_ERROR, error)
                return
            if stream.state is not State.LOCAL_CLOSED:
                continue
            if stream.fin_at is None:
                stream.fin_at = now
            elif now - stream.fin_at >= self._limits.stream_close_timeout:
                self._frame(frames.WINDOW_UPDATE, frames.RST, stream.id, 0)
                self._forget(stream)
                self._events.append(StreamReset(stream.id))

    def _accept(self, stream: Stream) -> None:
        stream.unaccepted = False
        self._unaccepted -= 1
        stream.move(Cause.ACCEPTED)
        self._frame(frames.WINDOW_UPDATE, frames.ACK, stream.id, 0)

    def _flush(self, stream: Stream) -> None:
        """Send what the window allows, then the FIN that waits behind it."""
        while (chunk := stream.next_chunk(MAX_SENT_FRAME_BYTES)) is not None:
            self._queued_bytes -= len(chunk)
            self._frame(frames.DATA, 0, stream.id, len(chunk))
            self._out.append(chunk)
        if stream.closing and not stream.queue:
            self._frame(frames.WINDOW_UPDATE, frames.FIN, stream.id, 0)
            stream.move(Cause.FIN_SENT)
            if stream.state is State.CLOSED:
                self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.id]
        self._queued_bytes -= stream.queued_bytes
        self._opening -= stream.awaits_ack
        self._unaccepted -= stream.unaccepted
        self._incoming -= stream.id % 2 != self._parity

    def _end(self, code: frames.GoAwayCode, error: MeshError) -> None:
        self._frame(frames.GO_AWAY, 0, frames.SESSION, code)
        self._closed = True
        self._events.append(SessionClosed(error))

    def _writable(self, stream_id: StreamId) -> Stream:
        self._require(not self._closed, "the session is closed")
        stream = self._streams.get(stream_id)
        if stream is None or stream.closing:
            raise LocalProtocolError(f"yamux stream {stream_id} is not open for sending")
        return stream

    @staticmethod
    def _require(condition: bool, otherwise: str) -> None:
        if not condition:
            raise LocalProtocolError(otherwise)

    def _frame(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        self._out.append(frames.HEADER.pack(frames.VERSION, kind, flags, stream_id, length))

    def _effects(self) -> list[Effect]:
        """Hand over what the verb caused, bytes first: they were framed before the shell could react to an event."""
        effects, self._events = self._events, []
        if self._out:
            effects.insert(0, Send(b"".join(self._out)))
            self._out = []
        return effects
