"""One attempt at one instance of an upstream: connect, handshake, check its identity."""

from __future__ import annotations

import functools
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from meshnode.proxy.authorize import Identity, Refusal
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Endpoint
from meshnode.runtime.proxy.contexts import Contexts
from meshnode.runtime.proxy.dial import Dial
from meshnode.runtime.proxy.flow import TlsEnd
from meshnode.runtime.proxy.host import MAX_HANDSHAKE_BYTES, ProxyHost, handshake_failure
from meshnode.runtime.proxy.reactor import FAULT, READ

__all__ = ["Attempt", "Established", "OnDone"]


@dataclass(slots=True)
class Established:
    """A finished handshake with ``instance``, which proved to be ``identity``; nothing was sent or read after it.

    ``contexts`` are those that it was made with. ``keep_session`` is to be called after the first bytes were read: the
    ticket of TLS 1.3 comes with them.
    """

    end: TlsEnd
    instance: Instance
    identity: Identity
    contexts: Contexts
    keep_session: Callable[[], None] | None

    @property
    def where(self) -> str:
        """Address and port."""
        return f"{self.instance.address}:{self.instance.port}"


#: What came of it: the connection, or ``None`` and why there is none.
OnDone = Callable[[Established | None, str], None]


@functools.lru_cache(maxsize=1024)
def _endpoint(address: str, port: int) -> Endpoint:
    """Checked once, not for each connection."""
    return Endpoint(address, port)


class Attempt:
    """Ends in ``on_done``, once, unless it is cancelled. ``timeout``: seconds to connect, and to shake hands."""

    __slots__ = (
        "_contexts",
        "_dial",
        "_end",
        "_host",
        "_instance",
        "_offered",
        "_on_done",
        "_received",
        "_timeout",
    )

    def __init__(self, host: ProxyHost, instance: Instance, *, timeout: float, on_done: OnDone) -> None:
        self._host = host
        #: Those of the handshake under way: a certificate may be replaced before its end, and sessions belong to them.
        self._contexts: Contexts = host.contexts
        self._instance = instance
        self._timeout = timeout
        self._on_done: OnDone | None = on_done
        self._end: TlsEnd | None = None
        self._dial: Dial | None = None
        self._received = 0
        self._offered = False

    def start(self) -> None:
        """Begin; ``on_done`` may be called before this returns."""
        host, instance = self._host, self._instance
        self._dial = Dial(
            host.reactor,
            host.deadlines,
            _endpoint(instance.address, instance.port),
            timeout=self._timeout,
            now=host.clock(),
            on_done=self._connected,
        )
        self._dial.start()

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._on_done = None
        self._drop()

    def time_out(self) -> None:
        """The handshake took too long."""
        self._fail(f"{self._where()}: no finished handshake within {self._timeout:g} s")

    def fault(self) -> None:
        """An error of ours."""
        self._drop()
        self._tell(None, FAULT)

    def _drop(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._end is not None:
            self._host.deadlines.remove(self, self._timeout)
            self._host.reactor.forget(self._end.sock)
            self._end.sock.close()
            self._end = None

    def _tell(self, found: Established | None, reason: str) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(found, reason)

    def _fail(self, reason: str) -> None:
        self._drop()
        self._tell(None, reason)

    def _where(self) -> str:
        return f"{self._instance.address}:{self._instance.port}"

    def _session_key(self) -> tuple[str, str, int]:
        return self._instance.spiffe_id, self._instance.address, self._instance.port

    def _connected(self, sock: socket.socket | None, reason: str) -> None:
        self._dial = None
        if sock is None:
            self._fail(reason)
            return
        contexts, now = self._host.contexts, self._host.clock()
        self._contexts = contexts
        session = contexts.sessions.get(self._session_key(), now)
        self._offered = session is not None
        try:
            name = self._instance.server_name
            self._end = TlsEnd(sock, contexts.client, server=False, session=session, server_name=name)
        except BaseException:
            sock.close()
            raise
        self._host.deadlines.add(self, self._timeout, now)
        self._host.reactor.watch(sock, READ, self._ready)
        try:
            self._end.shake()
        except (ssl.SSLError, OSError) as error:
            self._fail(f"{self._where()}: {handshake_failure(error)}")

    def _ready(self, events: int) -> None:
        end = self._end
        if end is None:
            return
        try:
            count = end.receive()
            self._received += count
            if not count or self._received > MAX_HANDSHAKE_BYTES:
                what = "too long a handshake" if count else "it closed the connection during the handshake"
                self._fail(f"{self._where()}: {what}")
                return
            if not end.shake():
                return
        except BlockingIOError:
            return
        except (ssl.SSLError, OSError) as error:
            self._contexts.sessions.drop(self._session_key())
            self._fail(f"{self._where()}: {handshake_failure(error)}")
            return
        self._shaken(end)

    def _shaken(self, end: TlsEnd) -> None:
        host, instance, sessions, key = (
            self._host,
            self._instance,
            self._contexts.sessions,
            self._session_key(),
        )
        host.deadlines.remove(self, self._timeout)
        identity = host.identify(end, uris=frozenset({instance.spiffe_id}), datacenters=frozenset())
        if isinstance(identity, Refusal):
            sessions.drop(key)
            self._fail(f"{self._where()}: {identity.because}")
            return
        now, reused = host.clock(), bool(end.tls.session_reused)
        if self._offered:
            sessions.offered(key, reused=reused)
        host.counters["upstream.resumed" if reused else "upstream.full_handshakes"] += 1
        # Kept only by the contexts that it belongs to.
        wanted = not reused or sessions.wants(key, now)
        keep = (lambda: sessions.put(key, end.tls.session, now)) if wanted else None
        self._end = None
        self._tell(Established(end, instance, identity, self._contexts, keep), "")
