"""One TCP connection of the RPC port, for either end: bytes, TLS when asked for, and a yamux session when asked for.

TLS starts in the middle of a connection (after the byte 0x03), so it runs over memory here (:class:`TlsChannel`) rather
than in the event loop: the same code in asyncio and uvloop, alerts are flushed before a close, and a refusal can say
what the peer showed. Writes of one turn of the loop leave as one TLS record and one system call.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Final, cast

from meshnode.base.errors import LocalProtocolError, MeshError
from meshnode.rpc.yamux import Session
from meshnode.rpc.yamux_effects import Effect, Send, SetTimer, Timer
from meshnode.runtime.tls_channel import TlsChannel, TlsProfile
from meshnode.runtime.tls_explain import HandshakeFailure

__all__ = ["TlsFailedError", "Wire", "WireLostError", "WireTimes"]

#: The transport asks us to pause above this; a peer that reads nothing is cut after ``write_timeout``.
HIGH_WATER_BYTES: Final = 256 * 1024
#: A peer that keeps asking (pings, window updates) and reads nothing is cut when this much waits for it.
MAX_UNSENT_BYTES: Final = 64 * 1024 * 1024
_LINGER_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class WireTimes:
    """Timeouts of a connection in seconds."""

    handshake_timeout: float = 5.0
    #: How long a peer may leave what we wrote unread (yamux ``ConnectionWriteTimeout``).
    write_timeout: float = 10.0


class WireLostError(MeshError):
    """The connection is gone."""


class TlsFailedError(MeshError):
    """TLS was refused, by the peer or by us; ``failure`` holds the parts of the sentence."""

    def __init__(self, failure: HandshakeFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Wire(asyncio.Protocol):
    """Base of both ends: subclasses fill in the hooks, which do nothing here."""

    def __init__(self, times: WireTimes, peer: str = "") -> None:
        self.loop = asyncio.get_running_loop()
        self.peer = peer
        self.session: Session | None = None
        self.tls: TlsChannel | None = None
        #: Set while the peer takes what we write.
        self.writable = asyncio.Event()
        self.writable.set()
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self._times = times
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._flush_is_due = False
        self._closing = False
        self._cause: MeshError | None = None
        self._handles: dict[object, asyncio.TimerHandle] = {}

    # -- for subclasses

    def connected(self) -> None:
        """The connection is made."""

    def received(self, data: bytes) -> None:
        """Plaintext arrived, outside of a yamux session."""

    def tls_established(self) -> None:
        """The handshake is done and the peer verified as the profile wants."""

    def event(self, effect: Effect) -> None:
        """Something happened in the yamux session."""

    def peer_ended(self) -> bool:
        """The peer sends no more; true keeps our half open."""
        return False

    def failed(self, error: MeshError) -> None:
        """The connection is closing because of ``error``; called at most once, and before ``lost``."""

    def lost(self, error: MeshError) -> None:
        """The connection is gone; called once."""

    # -- verbs

    @property
    def closing(self) -> bool:
        """Closed, or about to be."""
        return self._closing

    def start_tls(self, profile: TlsProfile, already: bytes = b"") -> None:
        """Begin a handshake, with ciphertext that came ``already``."""
        self.flush()
        self.tls = TlsChannel(profile)
        self.arm("handshake", self._times.handshake_timeout, self._handshake_overdue)
        self._tls_received(already)

    def start_session(self, session: Session) -> None:
        """From now on all bytes belong to ``session``."""
        self.session = session
        self.perform(session.start(self.loop.time()))

    def write(self, data: bytes) -> None:
        """Send ``data`` at the end of this turn of the loop, or now when there is a lot: ``writable`` then tells."""
        if self._closing:
            return
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > HIGH_WATER_BYTES:
            self.flush()
        elif not self._flush_is_due:
            self._flush_is_due = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send now."""
        self._flush_is_due = False
        unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if not unsent or self._transport is None:
            return
        data = unsent[0] if len(unsent) == 1 else b"".join(unsent)
        if self.tls is not None:
            try:
                self.tls.send(data)
            except ssl.SSLError as error:
                self.fail(TlsFailedError(self.tls.explain(error, self.peer)))
                return
            data = self.tls.to_send()
        self._transport.write(data)
        if (waiting := self._transport.get_write_buffer_size()) > MAX_UNSENT_BYTES:
            self.abort(WireLostError(f"{self.peer} does not read: {waiting} bytes wait for it"))

    def perform(self, effects: list[Effect]) -> None:
        """Carry out what the session asked for; events go to ``event``."""
        for effect in effects:
            match effect:
                case Send(data):
                    self.write(data)
                case SetTimer(delay, timer):
                    self.arm(timer, delay, self._timer_due, timer)
                case _:
                    self.event(effect)

    def arm(self, name: object, delay: float, callback: object, *arguments: object) -> None:
        """Call ``callback`` after ``delay`` seconds unless the connection is gone or ``name`` is armed anew before."""
        self.disarm(name)
        self._handles[name] = self.loop.call_later(delay, callback, *arguments)  # type: ignore[arg-type]

    def disarm(self, name: object) -> None:
        """Forget a timer."""
        if (handle := self._handles.pop(name, None)) is not None:
            handle.cancel()

    def hold_reading(self, hold: bool) -> None:
        """Stop, or go on, taking bytes from the peer."""
        if self._transport is not None and not self._closing:
            (self._transport.pause_reading if hold else self._transport.resume_reading)()

    def fail(self, error: MeshError) -> None:
        """Close for ``error``, after what is still to be sent (an alert, a go-away).

        Our half is closed first and the peer's bytes are read and dropped for a while: closing on unread bytes makes
        the kernel send a reset, and the peer would never see why.
        """
        self._blame(error)
        self.close(linger=_LINGER_SECONDS)

    def close(self, *, linger: float = 0.0) -> None:
        """Flush, end TLS, close; with ``linger`` our half now and the rest after so many seconds, or the peer's end."""
        if self._closing:
            return
        self.flush()
        self._closing = True
        if self._transport is None:
            return
        if self.tls is not None:
            if self.tls.established:
                self.tls.finish()
            if rest := self.tls.to_send():
                self._transport.write(rest)
        if linger and self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
            self.arm("linger", linger, self._transport.abort)
        else:
            self._transport.close()
            self.arm("linger", self._times.write_timeout, self._transport.abort)

    def abort(self, error: MeshError) -> None:
        """Close without waiting for the peer."""
        self._blame(error)
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = stream = cast(asyncio.Transport, transport)
        stream.set_write_buffer_limits(HIGH_WATER_BYTES)
        if (raw := stream.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.connected()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._closing:
            return
        if self.tls is not None:
            self._tls_received(data)
        else:
            self._plain_received(data)

    def eof_received(self) -> bool:
        """See ``asyncio.Protocol``."""
        if self.tls is not None and not self.tls.established and not self._closing:
            self.fail(TlsFailedError(self.tls.explain(EOFError(), self.peer)))
            return False
        return not self._closing and self.peer_ended()

    def pause_writing(self) -> None:
        """The peer reads slower than we write."""
        self.writable.clear()
        slow = WireLostError(f"{self.peer} did not read for {self._times.write_timeout:g} s")
        self.arm("write", self._times.write_timeout, self.abort, slow)

    def resume_writing(self) -> None:
        """The peer caught up."""
        self.disarm("write")
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._closing = True
        self.writable.set()
        for name in list(self._handles):
            self.disarm(name)
        if self._cause is None and self.tls is not None and not self.tls.established:
            self._blame(TlsFailedError(self.tls.explain(exc or EOFError(), self.peer)))
        reason = f": {exc}" if exc else ""
        self.lost(self._cause or WireLostError(f"the connection to {self.peer} closed{reason}"))
        if not self.ended.done():
            self.ended.set_result(None)

    # -- inside

    def _blame(self, error: MeshError) -> None:
        if self._cause is None:
            self._cause = error
            self.failed(error)

    def _plain_received(self, data: bytes) -> None:
        if self.session is not None:
            self.perform(self.session.handle_data(data, self.loop.time()))
        else:
            self.received(data)

    def _tls_received(self, ciphertext: bytes) -> None:
        tls = self.tls
        assert tls is not None
        was_established = tls.established
        try:
            plaintext = tls.receive(ciphertext)
        except ssl.SSLError as error:
            self.fail(TlsFailedError(tls.explain(error, self.peer)))
            return
        if self._transport is not None and (reply := tls.to_send()):
            self._transport.write(reply)
        if tls.established and not was_established:
            self.disarm("handshake")
            self.tls_established()
        if plaintext and not self._closing:
            self._plain_received(plaintext)
        if tls.ended and not self._closing and not self.peer_ended():
            self.close()

    def _handshake_overdue(self) -> None:
        if self.tls is not None and not self.tls.established:
            self.fail(TlsFailedError(self.tls.explain(TimeoutError(), self.peer)))

    def _timer_due(self, timer: Timer) -> None:
        self._handles.pop(timer, None)
        if self.session is not None and not self._closing:
            try:
                self.perform(self.session.handle_timer(timer, self.loop.time()))
            except LocalProtocolError as error:
                self.fail(error)
