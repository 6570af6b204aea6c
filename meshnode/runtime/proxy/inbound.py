"""From the mesh to the application: handshake, identity, decision, connect; then the bytes flow.

A client that has said nothing costs a socket and one small object: OpenSSL is asked for nothing before its first byte.
Nothing of the application's is touched before the decision.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from meshnode.proxy.authorize import Identity, Refusal, RefusalCode
from meshnode.proxy.client_hello import TLS_ALERT_BYTES, TLS_HANDSHAKE
from meshnode.proxy.config import Endpoint, PublicListener
from meshnode.proxy.decision_cache import Decision
from meshnode.runtime.proxy.contexts import ALPN
from meshnode.runtime.proxy.dial import Dial
from meshnode.runtime.proxy.flow import TlsEnd, reset
from meshnode.runtime.proxy.host import (
    CLOSED_EARLY,
    MAX_HANDSHAKE_BYTES,
    ProxyHost,
    guarded,
    handshake_failure,
)
from meshnode.runtime.proxy.reactor import FAULT, READ
from meshnode.runtime.tasks import spawn

if TYPE_CHECKING:
    from meshnode.runtime.proxy.http_inbound import HttpPublic

__all__ = ["Inbound"]

#: Read of a client before anything is known of it.
HELLO_BYTES: Final = 16 * 1024
#: Addresses of a name that are tried.
_MAX_ADDRESSES: Final = 4


class Inbound:
    """A client of the public listener until its bytes flow. ``on_left(self)``: it is no longer on its way.

    ``establish()`` counts it as established, and returns what counts its end. ``http`` serves clients whose requests
    are decided about, instead of their connections.
    """

    __slots__ = (
        "_dial",
        "_end",
        "_establish",
        "_generation",
        "_host",
        "_http",
        "_identity",
        "_on_left",
        "_peer",
        "_received",
        "_settings",
        "_sock",
        "_timeout",
    )

    def __init__(
        self,
        host: ProxyHost,
        settings: PublicListener,
        sock: socket.socket,
        peer: str,
        on_left: Callable[[Inbound], None],
        establish: Callable[[], Callable[[], None]],
        http: HttpPublic | None = None,
    ) -> None:
        self._http = http
        self._establish = establish
        self._host = host
        self._settings = settings
        self._sock: socket.socket | None = sock
        self._peer = peer
        self._on_left: Callable[[Inbound], None] | None = on_left
        self._end: TlsEnd | None = None
        self._received = 0
        self._dial: Dial | None = None
        self._identity: Identity | None = None
        self._timeout = settings.handshake_timeout
        self._generation = 0

    def start(self) -> None:
        """Wait for the first byte. The time-out covers all of the handshake and the decision."""
        self._host.deadlines.add(self, self._timeout, self._host.clock())
        self._host.reactor.watch(cast(socket.socket, self._sock), READ, self._ready)

    def time_out(self) -> None:
        """It took too long."""
        if self._identity is not None:
            self.drop(
                "decision_timeout", f"no decision about {self._identity.uri} within {self._timeout:g} s"
            )
            return
        said = f"{self._received} bytes" if self._received else "nothing"
        self.drop("handshake_timeout", f"no finished handshake within {self._timeout:g} s; it sent {said}")

    def drop(self, kind: str, reason: str, rule: str = "") -> None:
        """Close with a reset and say why; an empty ``kind`` says nothing. ``rule`` is what denied it, if one did."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._host.deadlines.remove(self, self._timeout)
        self._host.reactor.forget(sock)
        reset(sock)
        if self._dial is not None:
            self._dial.cancel()
        self._forget()
        if kind:
            source = self._identity.uri if self._identity is not None else ""
            self._host.refuse(self._settings.name, self._peer, kind, reason, source=source, rule=rule)
        self._leave()

    def fault(self) -> None:
        """Close it."""
        self.drop("error", FAULT)

    def _forget(self) -> TlsEnd | None:
        """Hold on to nothing that holds us: TLS state is too large to wait for a collection. Returns that state."""
        end, self._end, self._dial = self._end, None, None
        return end

    def _leave(self) -> None:
        left, self._on_left = self._on_left, None
        if left is not None:
            left(self)

    def _ready(self, events: int) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            end = self._end
            if end is None:
                end = self._hello(sock)
                if end is None:
                    return
                count = end.incoming.pending
            else:
                count = end.receive()
            self._received += count
            if not count:
                self.drop("handshake", "it closed the connection during the handshake")
                return
            if self._received > MAX_HANDSHAKE_BYTES:
                self.drop("handshake", f"its handshake has more than {MAX_HANDSHAKE_BYTES} bytes")
                return
            if not end.shake():
                return
        except BlockingIOError:
            return
        except (ssl.SSLError, OSError) as error:
            self.drop("handshake", handshake_failure(error))
            return
        self._shaken(sock, end)

    def _hello(self, sock: socket.socket) -> TlsEnd | None:
        """Look at the first byte before OpenSSL does; returns its state with what was received."""
        first = sock.recv(HELLO_BYTES)
        if not first:
            self.drop(CLOSED_EARLY, "it closed the connection and had sent nothing")
            return None
        if first[0] != TLS_HANDSHAKE:
            sock.send(TLS_ALERT_BYTES)
            self.drop("plaintext", "it does not speak TLS: connect through a sidecar")
            return None
        self._host.contexts.offer(ALPN if self._http is not None else ())
        self._end = TlsEnd(sock, self._host.contexts.server_for(first, self._host.clock()), server=True)
        self._end.incoming.write(first)
        return self._end

    def _shaken(self, sock: socket.socket, end: TlsEnd) -> None:
        identity = self._host.identify(end, uris=frozenset(), datacenters=self._settings.source_datacenters)
        if isinstance(identity, Refusal):
            self.drop(f"identity.{identity.code}", identity.because)
            return
        self._identity = identity
        if self._http is not None:
            self._serve_http(self._http, sock, identity)
            return
        source = (identity.uri, identity.serial)
        decision = self._host.decisions.fresh(source, self._host.clock())
        if decision is not None:
            self._decided(decision)
        else:
            spawn(guarded(self, self._ask(identity)), name=f"proxy decision for {identity.uri}")
        if self._sock is not None:
            # What it sends now waits until there is somebody to pass it on to.
            self._host.reactor.forget(sock)

    def _serve_http(self, http: HttpPublic, sock: socket.socket, identity: Identity) -> None:
        self._host.deadlines.remove(self, self._timeout)
        self._host.reactor.forget(sock)
        self._sock = None
        self._leave()
        http.begin(cast(TlsEnd, self._forget()), self._peer, identity, self._establish())

    async def _ask(self, identity: Identity) -> None:
        self._decided(await self._host.decider.decide(identity))

    def _decided(self, decision: Decision) -> None:
        if self._sock is None:
            return
        identity = cast(Identity, self._identity)
        self._generation = self._host.decisions.generation
        if not decision.allowed:
            self.drop("denied", f"{identity.uri}: {decision.because}", decision.rule)
            return
        self._host.deadlines.remove(self, self._timeout)
        if self._settings.local_app.named:
            spawn(
                guarded(self, self._resolve(identity, decision)),
                name=f"proxy address of {self._settings.local_app}",
            )
        else:
            self._connect([self._settings.local_app], "", identity, decision)

    async def _resolve(self, identity: Identity, decision: Decision) -> None:
        app, timeout = self._settings.local_app, self._settings.local_connect_timeout
        try:
            async with asyncio.timeout(timeout):
                found = await asyncio.get_running_loop().getaddrinfo(
                    app.host, app.port, type=socket.SOCK_STREAM
                )
        except (OSError, UnicodeError) as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else error
            self._connect([], f"{app.host} can't be resolved: {reason}", identity, decision)
            return
        endpoints = [Endpoint(str(address[0]), app.port) for *_, address in found[:_MAX_ADDRESSES]]
        self._connect(endpoints, f"{app.host} has no address", identity, decision)

    def _connect(self, left: list[Endpoint], reason: str, identity: Identity, decision: Decision) -> None:
        """Connect to the first address that answers; ``reason`` is why the one before did not."""
        if self._sock is None:
            return
        if not left:
            self.drop("local_app", f"the local application can't be reached: {reason}")
            return

        def done(app: socket.socket | None, failure: str) -> None:
            if app is None:
                self._connect(left[1:], failure, identity, decision)
            else:
                self._connected(app, identity, decision)

        host, timeout = self._host, self._settings.local_connect_timeout
        self._dial = Dial(
            host.reactor, host.deadlines, left[0], timeout=timeout, now=host.clock(), on_done=done
        )
        self._dial.start()

    def _connected(self, app: socket.socket, identity: Identity, decision: Decision) -> None:
        sock = self._sock
        if sock is None:
            app.close()
            return
        known = self._host.decisions.fresh((identity.uri, identity.serial), self._host.clock())
        if known is not None and known.allowed:
            decision = known
        elif known is not None or self._generation != self._host.decisions.generation:
            # Decisions changed while the application was being connected to, or one from memory has its answer now.
            app.close()
            self._host.deadlines.add(self, self._timeout, self._host.clock())
            spawn(guarded(self, self._ask(identity)), name=f"proxy decision for {identity.uri}")
            return
        if because := self._host.issuers.distrust_of(identity.issuer):
            app.close()
            self.drop(f"identity.{RefusalCode.DISTRUSTED}", f"{identity.uri}: {because}")
            return
        self._sock = None
        self._leave()
        self._host.begin(
            "inbound",
            cast(TlsEnd, self._forget()),
            app,
            listener=self._settings.name,
            peer=self._peer,
            identity=identity,
            decision=decision,
            on_end=self._establish(),
        )
