"""TLS between a socket's transport and whoever speaks HTTP: a protocol to the one, a transport to the other.

It serves both who comes with a finished handshake (a sidecar's public listener checks identities first) and who has
said nothing yet. The end of TLS without close_notify is no harm here: HTTP says itself where its messages end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

from meshnode.proxy.client_hello import TLS_ALERT_BYTES, TLS_HANDSHAKE
from meshnode.runtime.proxy.host import CLOSED_EARLY, MAX_HANDSHAKE_BYTES, handshake_failure
from meshnode.runtime.proxy.http_server_link import ServerLink

__all__ = ["TlsLayer"]

_READ_BYTES: Final = 64 * 1024
_PLAIN_TEXT: Final = b"this port speaks TLS: use https.\n"
_PLAIN_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%s" % (len(_PLAIN_TEXT), _PLAIN_TEXT)
)


class TlsLayer(asyncio.Transport, asyncio.Protocol):
    """``inner`` is connected when the handshake is done; ``on_failure(kind, reason)`` is told when it never is.

    ``deadline`` is the instant by which it has to be; ``None``: the handshake is done, and ``incoming`` may hold bytes.
    """

    def __init__(
        self,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        inner: ServerLink,
        *,
        deadline: float | None,
        on_failure: Callable[[str, str], None],
    ) -> None:
        super().__init__()
        self._tls, self._incoming, self._outgoing = tls, incoming, outgoing
        self._inner = inner
        self._deadline = deadline
        self._shaken = False
        self._received = 0
        self._on_failure = on_failure
        self._raw: asyncio.Transport | None = None
        self._reading = True
        self._ended = False
        self._closing = False

    # To the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As :class:`asyncio.Protocol`."""
        self._raw = cast(asyncio.Transport, transport)
        if self._deadline is None:
            self._begin()

    def data_received(self, data: bytes) -> None:
        """As :class:`asyncio.Protocol`."""
        if self._closing:
            return
        if not self._shaken and not self._received and data[0] != TLS_HANDSHAKE:
            self._refuse_plain(data)
            return
        self._received += len(data)
        self._incoming.write(data)
        if self._shaken:
            self._decrypt()
        else:
            self._shake()

    def eof_received(self) -> bool:
        """As :class:`asyncio.Protocol`: without close_notify; nothing can be answered."""
        self._gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """As :class:`asyncio.Protocol`."""
        if self._shaken:
            self._closing = True
            self._inner.connection_lost(exc)
        else:
            self._gone()

    def _gone(self) -> None:
        """The client left before it had a connection."""
        if self._shaken or self._closing:
            return
        self._closing = True
        if self._received:
            self._on_failure("handshake", "it closed the connection during the handshake")
        else:
            self._on_failure(CLOSED_EARLY, "it closed the connection and had sent nothing")

    def pause_writing(self) -> None:
        """As :class:`asyncio.Protocol`."""
        if self._shaken:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """As :class:`asyncio.Protocol`."""
        if self._shaken:
            self._inner.resume_writing()

    def check(self, now: float) -> None:
        """Give up what is late at ``now``."""
        if self._shaken:
            self._inner.check(now)
        elif self._deadline is not None and now >= self._deadline and not self._closing:
            said = f"{self._received} bytes" if self._received else "nothing"
            self._fail("handshake_timeout", f"no finished handshake in time; it sent {said}")

    def leave(self) -> None:
        """As :meth:`ServerLink.leave`; who has not shaken hands is closed."""
        if self._shaken:
            self._inner.leave()
        elif not self._closing:
            self._fail("", "")

    def end_now(self, kind: str, because: str) -> None:
        """As :meth:`ServerLink.end_now`."""
        if self._shaken:
            self._inner.end_now(kind, because)
        elif not self._closing:
            self._fail(kind, because)

    def _refuse_plain(self, data: bytes) -> None:
        speaks_http = data[:1].isalpha()
        if self._raw is not None:
            self._raw.write(_PLAIN_ANSWER if speaks_http else TLS_ALERT_BYTES)
        self._fail(
            "plaintext",
            "it speaks plain HTTP, not TLS" if speaks_http else "it does not speak TLS",
            polite=True,
        )

    def _fail(self, kind: str, reason: str, *, polite: bool = False) -> None:
        self._closing = True
        self._on_failure(kind, reason)
        if self._raw is not None:
            if polite:
                self._raw.close()
            else:
                self._raw.abort()

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            if self._received > MAX_HANDSHAKE_BYTES:
                self._fail("handshake", f"its handshake has more than {MAX_HANDSHAKE_BYTES} bytes")
            return
        except ssl.SSLError as error:
            self._flush()
            self._fail("handshake", handshake_failure(error), polite=True)
            return
        self._begin()

    def _begin(self) -> None:
        self._shaken = True
        self._flush()
        self._inner.connection_made(self)
        self._decrypt()

    def _decrypt(self) -> None:
        while self._reading and not self._closing and not self._ended:
            try:
                data = self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError:
                self.abort()
                return
            if data:
                self._inner.data_received(data)
                continue
            self._ended = True
            if not self._inner.eof_received():
                self.close()
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and self._raw is not None and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    # To whoever speaks HTTP

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As :class:`asyncio.Transport`."""
        if name == "ssl_object":
            return self._tls
        return self._raw.get_extra_info(name, default) if self._raw is not None else default

    def is_closing(self) -> bool:
        """As :class:`asyncio.Transport`."""
        return self._closing

    def is_reading(self) -> bool:
        """As :class:`asyncio.Transport`."""
        return self._reading

    def pause_reading(self) -> None:
        """As :class:`asyncio.Transport`."""
        self._reading = False
        if self._raw is not None and not self._raw.is_closing():
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """As :class:`asyncio.Transport`; what was received before comes in the loop's next turn."""
        if self._reading or self._closing or self._raw is None:
            return
        self._reading = True
        self._raw.resume_reading()
        asyncio.get_running_loop().call_soon(self._decrypt)

    def get_write_buffer_size(self) -> int:
        """As :class:`asyncio.Transport`."""
        return self._raw.get_write_buffer_size() if self._raw is not None else 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """As :class:`asyncio.Transport`."""
        if self._closing or not data:
            return
        try:
            done, view = 0, memoryview(data)
            while done < len(view):
                done += self._tls.write(view[done:])
        except ssl.SSLError:
            self.abort()
            return
        self._flush()

    def can_write_eof(self) -> bool:
        """As :class:`asyncio.Transport`."""
        return True

    def write_eof(self) -> None:
        """As :class:`asyncio.Transport`: close_notify; the other direction goes on."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()

    def close(self) -> None:
        """As :class:`asyncio.Transport`."""
        if self._closing:
            return
        self.write_eof()
        self._closing = True
        if self._raw is not None:
            self._raw.close()

    def abort(self) -> None:
        """As :class:`asyncio.Transport`."""
        self._closing = True
        if self._raw is not None:
            self._raw.abort()
