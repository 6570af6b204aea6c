"""An established connection's bytes: TLS on one side, plain on the other, until both sides have ended.

Why this design. Compared by ``bench/proxy.py`` with uvloop's TLS transports and a ``BufferedProtocol`` on each
side: on a busy machine, so provisionally, a pair with one process a side took 12 to 32 % less processor time for a
request and 31 to 45 % less for a new connection; with two processes a side requests could not be told apart. A
transport costs two objects, their queues and two calls through the loop for every read and write; here a read is
``recv_into`` one buffer that all connections share, ``SSLObject.read`` into another, ``send`` from there, and
nothing is copied for a queue unless the other side is slow. Reads of 32 KiB took a fifth more time for a byte than
reads of 128 KiB; 256 KiB gained nothing sure. One epoll set and ``loop.add_reader`` for each socket could not be
told apart. Argued, not measured: a socket BIO reads a record with two system calls where a memory BIO takes many
records with one; and the work of one record is too short to be worth a thread.

What is left of a new connection is mostly OpenSSL's: in 3.0 a full handshake takes 1.3 ms of both sides together, one
by sealed ticket 0.7, one by kept session 0.45 (``contexts`` says who gets which). A client takes 0.1 ms of that to
copy the session, which Python does for each use. Fewer system calls and wake-ups gave some 6 % more: nothing is watched
while it is set up in one go, the last words of a handshake travel with the first bytes, and what is closed is not
shut down and unwatched first. TLS state that waited for a collection cost memory; now none is part of a cycle.

Back-pressure: what one side does not take is kept (at most one read, 128 KiB and TLS overhead), and nothing more is
read from the other side until it is gone. Half-close: the end of one direction is passed on, as close_notify and
FIN, and the other direction goes on. The end of TLS without close_notify is an attack until proven otherwise (RFC
8446 6.1): the application sees a reset, never a clean end.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, Final

from meshnode.proxy.ledger import Connection
from meshnode.runtime.proxy.reactor import FAULT, READ, WRITE, Reactor

__all__ = ["MAX_PENDING_BYTES", "READ_BYTES", "Flow", "TlsEnd", "reset"]

#: Taken from a socket at a time.
READ_BYTES: Final = 128 * 1024
#: Kept for a side that does not read: one read and its TLS overhead; answers to key updates come on top.
MAX_PENDING_BYTES: Final = 256 * 1024

# One thread, and each use ends before the next begins: all connections share these.
_read_buffer = bytearray(READ_BYTES)
_read_view = memoryview(_read_buffer)
#: OpenSSL may hold up to one record (16 KiB) of what was read before.
_clear_view = memoryview(bytearray(READ_BYTES + 32 * 1024))
_NO_LINGER: Final = struct.pack("ii", 1, 0)


def reset(sock: socket.socket) -> None:
    """Close with RST: the other side must not take what it has for everything."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    sock.close()


class TlsEnd:
    """A socket and its TLS state, in memory. A client asks for ``server_name``, unless it is empty."""

    __slots__ = ("incoming", "outgoing", "sock", "tls")

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server: bool,
        session: ssl.SSLSession | None = None,
        server_name: str = "",
    ) -> None:
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server,
            session=session,
            server_hostname=server_name or None,
        )

    def shake(self) -> bool:
        """Go on with the handshake; says whether it is done. Raises ``ssl.SSLError`` and ``OSError``.

        With TLS 1.3 the last words (a client's Finished, a server's ticket) are left to :meth:`Flow.start`.
        """
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            return False
        except ssl.SSLError:
            with contextlib.suppress(OSError):
                self.flush()
            raise
        if self.tls.version() != "TLSv1.3":
            self.flush()
        return True

    def receive(self) -> int:
        """Take bytes off the socket for the handshake; returns how many. Raises ``OSError``."""
        count = self.sock.recv_into(_read_buffer, 16 * 1024)
        if count:
            self.incoming.write(_read_view[:count])
        return count

    def flush(self) -> None:
        """Send a flight of the handshake: it is far smaller than the empty buffer of a new socket."""
        if self.outgoing.pending:
            data = self.outgoing.read()
            if self.sock.send(data) != len(data):
                raise BrokenPipeError("the peer does not read its side of the handshake")


class Flow:
    """``on_end(flow)`` is called once, when both sockets are closed; the cause is in ``cause``."""

    __slots__ = (
        "_incoming",
        "_on_end",
        "_on_first_read",
        "_outgoing",
        "_plain",
        "_plain_ended",
        "_reactor",
        "_sock",
        "_tls",
        "_tls_ended",
        "_to_plain",
        "_to_tls",
        "cause",
        "entry",
    )

    def __init__(
        self,
        reactor: Reactor,
        end: TlsEnd,
        plain: socket.socket,
        entry: Connection,
        on_end: Callable[[Flow], None],
        on_first_read: Callable[[], None] | None = None,
    ) -> None:
        self._reactor = reactor
        self._sock, self._tls, self._incoming, self._outgoing = end.sock, end.tls, end.incoming, end.outgoing
        self._plain = plain
        self._on_end = on_end
        self._on_first_read = on_first_read
        #: Bytes that a side has not taken yet.
        self._to_plain: memoryview | None = None
        self._to_tls: memoryview | None = None
        self._tls_ended = self._plain_ended = False
        self.entry = entry
        self.cause = ""

    def start(self) -> None:
        """Pass on what came with the handshake, then whatever comes.

        A client's Finished goes out with the first bytes of the application if they are there already, a server's
        ticket with the first bytes that it has to send.
        """
        self._watch()
        if self.entry.direction == "inbound":
            self._decrypt(answer=False)
            return
        self._plain_ready(READ)
        if not self.cause:
            self._decrypt()

    def fault(self) -> None:
        """Close it."""
        self.end(FAULT)

    def end(self, cause: str, *, clean: bool = False) -> None:
        """Close both sides; both see a reset unless ``clean``."""
        if self.cause:
            return
        self.cause = cause
        if not clean:
            # OpenSSL forgets the session of a connection that ends without a word: others resume with it.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
        for sock in (self._sock, self._plain):
            self._reactor.release(sock)
            if clean:
                sock.close()
            else:
                reset(sock)
        self._to_plain = self._to_tls = None
        self._on_end(self)

    def _watch(self) -> None:
        """Read a side when the other has taken everything; write where something is left."""
        if self.cause:
            return
        tls = READ if self._to_plain is None and not self._tls_ended else 0
        plain = READ if self._to_tls is None and not self._plain_ended else 0
        if self._to_tls is not None:
            tls |= WRITE
        if self._to_plain is not None:
            plain |= WRITE
        self._reactor.watch(self._sock, tls, self._tls_ready)
        self._reactor.watch(self._plain, plain, self._plain_ready)

    # From TLS to plain

    def _tls_ready(self, events: int) -> None:
        if self._to_tls is not None and events != READ:
            self._flush_tls()
            if self.cause:
                return
        if self._to_plain is not None or self._tls_ended or events == WRITE:
            return
        try:
            count = self._sock.recv_into(_read_buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(f"the mesh side failed: {error.strerror}")
            return
        if not count:
            self.end("the peer ended without close_notify")
            return
        self._incoming.write(_read_view if count == READ_BYTES else _read_view[:count])
        self._decrypt()

    def _decrypt(self, *, answer: bool = True) -> None:
        """Everything that was received, so that nothing encrypted waits inside; and what OpenSSL answers to it."""
        # Into a buffer, it returns a count; its type does not say so.
        read: Any = self._tls.read
        incoming, used, ended = self._incoming, 0, False
        try:
            while True:
                count = read(READ_BYTES, _clear_view[used:])
                if not count:
                    ended = True
                    break
                used += count
                if not incoming.pending:
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError as error:
            self.end(f"TLS failed: {error.reason or error}")
            return
        if answer and self._outgoing.pending:
            self._send_tls()
        if used and not self.cause:
            if self._on_first_read is not None:
                self._on_first_read()
                self._on_first_read = None
            self.entry.received += used
            self._send_plain(_clear_view[:used])
        if ended and not self.cause:
            self._tls_ended = True
            if self._to_plain is None:
                self._end_plain()
            self._watch()

    def _send_plain(self, data: memoryview) -> None:
        try:
            sent = self._plain.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.end(f"the application's side failed: {error.strerror}")
            return
        if sent < len(data):
            self._to_plain = memoryview(bytes(data[sent:]))
            self._watch()

    def _flush_plain(self) -> None:
        data = self._to_plain
        if data is None:
            return
        try:
            sent = self._plain.send(data)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(f"the application's side failed: {error.strerror}")
            return
        self._to_plain = data[sent:] if sent < len(data) else None
        if self._to_plain is None:
            if self._tls_ended:
                self._end_plain()
            self._watch()

    def _end_plain(self) -> None:
        if not self._finish():
            with contextlib.suppress(OSError):
                self._plain.shutdown(socket.SHUT_WR)

    # From plain to TLS

    def _plain_ready(self, events: int) -> None:
        if self._to_plain is not None and events != READ:
            self._flush_plain()
            if self.cause:
                return
        if self._to_tls is not None or self._plain_ended or events == WRITE:
            return
        try:
            count = self._plain.recv_into(_read_buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(f"the application's side failed: {error.strerror}")
            return
        try:
            if count:
                self.entry.sent += count
                data, write = _read_view[:count], self._tls.write
                done = write(data)
                while done < count:
                    done += write(data[done:])
            else:
                self._plain_ended = True
                # Says close_notify, then misses the peer's: it may go on sending (RFC 8446 6.1).
                with contextlib.suppress(ssl.SSLWantReadError):
                    self._tls.unwrap()
        except ssl.SSLError as error:
            if count or not self._tls_ended:
                self.end(f"TLS failed: {error.reason or error}")
                return
        self._send_tls()
        if self._plain_ended and not self.cause:
            if self._to_tls is None:
                self._end_tls()
            self._watch()

    def _send_tls(self) -> None:
        """Send what OpenSSL has made, after what is left of before."""
        data: bytes = self._outgoing.read()
        if self._to_tls is not None:
            if len(self._to_tls) + len(data) > MAX_PENDING_BYTES:
                self.end("the peer makes us answer and does not read the answers")
                return
            self._to_tls = memoryview(bytes(self._to_tls) + data)
            return
        if not data:
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.end(f"the mesh side failed: {error.strerror}")
            return
        if sent < len(data):
            self._to_tls = memoryview(data)[sent:]
            self._watch()

    def _flush_tls(self) -> None:
        data = self._to_tls
        if data is None:
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(f"the mesh side failed: {error.strerror}")
            return
        self._to_tls = data[sent:] if sent < len(data) else None
        if self._to_tls is None:
            if self._plain_ended:
                self._end_tls()
            self._watch()

    def _end_tls(self) -> None:
        if not self._finish():
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)

    def _finish(self) -> bool:
        """Close both when nothing is left to do; says whether that was so."""
        over = self._tls_ended and self._plain_ended and self._to_tls is None and self._to_plain is None
        if over:
            self.end("both sides ended", clean=True)
        return over
