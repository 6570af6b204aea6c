"""From the mesh to an application of HTTP: each request is decided about, on connections that live on.

A changed decision ends the requests under way that it forbids, and those only; the next ones hear of it as they come. A
revoked certificate ends the connection.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from meshnode.l7.access import Exchange, access_line
from meshnode.l7.forward import client_certificate
from meshnode.l7.model import Bounds, RefusalError
from meshnode.l7.rules import admit
from meshnode.l7.timeouts import Timeouts
from meshnode.proxy.authorize import Identity
from meshnode.proxy.config import PublicListener
from meshnode.proxy.decision_cache import Decision, SourceKey
from meshnode.proxy.ledger import Connection, shown_path
from meshnode.runtime.proxy.flow import TlsEnd, reset
from meshnode.runtime.proxy.host import ProxyHost, log
from meshnode.runtime.proxy.http_pool import Target, UpstreamPool
from meshnode.runtime.proxy.http_relay import Relay
from meshnode.runtime.proxy.http_server_link import ServerLink
from meshnode.runtime.proxy.http_stream import ServerStream
from meshnode.runtime.proxy.http_tls import TlsLayer
from meshnode.runtime.tasks import spawn

__all__ = ["HttpPublic", "HttpSession"]

#: Seconds between two looks at the time-outs of all connections.
CHECK_INTERVAL: Final = 0.5
#: As for Envoy's sidecars: a blocking query takes up to ten minutes, and streams are silent for longer.
TIMEOUTS: Final = Timeouts(first=3600.0, idle=3600.0, stream_idle=3600.0)
_PER_REQUEST: Final = Decision(True, "each request is decided about")


class HttpSession:
    """A connection of the mesh that carries requests; in the ledger like any other."""

    def __init__(self, link: ServerLink, identity: Identity, entry: Connection) -> None:
        self.link = link
        self.identity = identity
        self.entry = entry
        self.cause = ""

    @property
    def source(self) -> SourceKey:
        """Who is there."""
        return self.entry.source, self.entry.serial

    def end(self, cause: str, *, clean: bool = False) -> None:
        """Close it at once; the requests under way end in the middle, unless ``clean``."""
        if self.cause:
            return
        self.cause = cause
        if clean:
            self.link.leave()
        else:
            self.link.end_now("", cause)

    def reconsider(self, decision: Decision) -> list[tuple[ServerStream, Decision]]:
        """The requests under way that ``decision`` forbids, and why; what goes on does so under it."""
        forbidden = []
        for stream in self.link.exchanges:
            if stream.admitted is None:
                continue
            try:
                _, found = admit(decision, stream.admitted)
            except RefusalError as refusal:
                found = Decision(False, str(refusal))
            if not found.allowed:
                forbidden.append((stream, found))
        self.entry.rule, self.entry.because = decision.rule, decision.because
        return forbidden

    def count(self) -> None:
        """Bring the ledger's bytes up to date."""
        self.entry.received, self.entry.sent = self.link.received_bytes, self.link.sent_bytes


class HttpPublic:
    """The HTTP side of a public listener: gatekeeper and journal of its requests."""

    def __init__(self, host: ProxyHost, settings: PublicListener) -> None:
        self._host = host
        self.settings = settings
        self._checked = host.clock()
        self._leaving = False
        host.serving.append(self)
        self._sessions: dict[ServerLink, HttpSession] = {}
        self._on_end: dict[ServerLink, Callable[[], None]] = {}
        self._bounds = Bounds()
        self._timeouts = replace(TIMEOUTS, connect=settings.local_connect_timeout)
        target = Target(settings.local_app, http2=settings.protocol in {"http2", "grpc"})
        self._pool = UpstreamPool(target, self._bounds, self._timeouts, host.clock)
        self._relay = Relay(
            settings.name, self._pool, self, host.clock, os.urandom, gatekeeper=self, trust_forwarded=True
        )

    def begin(self, end: TlsEnd, peer: str, identity: Identity, on_end: Callable[[], None]) -> None:
        """Serve a client whose handshake is done and whose identity is known; ``on_end()`` is called at its end."""
        link = ServerLink(
            self._relay, self._bounds, self._timeouts, self._host.clock, peer=peer, scheme="https"
        )
        entry = self._host.enter(
            "inbound", listener=self.settings.name, peer=peer, identity=identity, decision=_PER_REQUEST
        )
        link.source, link.number = identity.uri, entry.id
        link.certificate = client_certificate(
            by=self._host.contexts.identity.uri,
            digest=hashlib.sha256(end.tls.getpeercert(binary_form=True) or b"").hexdigest(),
            uri=identity.uri,
        )
        session = self._sessions[link] = HttpSession(link, identity, entry)
        self._host.flows[entry.id] = session
        self._on_end[link] = on_end
        layer = TlsLayer(
            end.tls, end.incoming, end.outgoing, link, deadline=None, on_failure=lambda kind, reason: None
        )
        spawn(self._attach(end.sock, layer, session), name=f"{self.settings.name} #{entry.id}")

    async def _attach(self, sock: socket.socket, layer: TlsLayer, session: HttpSession) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: layer, sock)
        except OSError as error:
            reset(sock)
            session.cause = session.cause or f"the mesh side failed: {error.strerror}"
            self.lost(session.link, "", "")
            return
        if session.cause:
            layer.abort()

    def leave(self) -> None:
        """Take no further request on any connection; close each when everything is answered."""
        self._leaving = True
        for link in list(self._sessions):
            link.leave()

    def check(self, now: float) -> None:
        """Give up what is late at ``now``."""
        if now - self._checked < CHECK_INTERVAL:
            return
        self._checked = now
        for link, session in list(self._sessions.items()):
            link.check(now)
            session.count()
        self._pool.check(now)
        if self._leaving and not self._sessions:
            self._pool.close()
            self._host.serving.remove(self)

    def enforce(self, source: SourceKey, decision: Decision) -> tuple[int, set[int]]:
        """As :class:`~meshnode.runtime.proxy.host.Serving`."""
        sessions = [session for session in self._sessions.values() if session.source == source]
        cut = 0
        for session in sessions:
            for stream, found in session.reconsider(decision):
                cut += 1
                because = f"cut: {found.because}"
                request = f"{stream.head.method} {shown_path(stream.head.path)}"
                self._refuse(session.link, "cut", f"{source[0]}: {because}", rule=found.rule, request=request)
                session.link.give_up(stream)
                stream.fail(RefusalError(403, because))
        return cut, {each.entry.id for each in sessions}

    def _refuse(self, link: ServerLink, kind: str, because: str, *, rule: str = "", request: str = "") -> int:
        return self._host.refuse(
            self.settings.name,
            link.peer,
            kind,
            because,
            source=link.source,
            rule=rule,
            request=request,
            connection=link.number,
        )

    # Gatekeeper

    async def decision(self, link: ServerLink) -> Decision:
        """As :class:`Gatekeeper`."""
        session, host = self._sessions.get(link), self._host
        if session is None:
            return Decision(False, "the connection has ended")
        identity = session.identity
        known = host.decisions.fresh((identity.uri, identity.serial), host.clock())
        return known if known is not None else await host.decider.decide(identity)

    # Journal

    def exchange(self, link: ServerLink, done: Exchange) -> None:
        """As :class:`Journal`."""
        counters = self._host.counters
        counters["inbound.requests"] += 1
        counters[f"inbound.responses.{done.status // 100}xx"] += 1
        if done.audited:
            counters["inbound.audited"] += 1
        if done.refused:
            what, request = f"{done.source}: {done.because}", f"{done.method} {shown_path(done.path)}"
            number = self._refuse(link, done.refused, what, rule=done.rule, request=request)
            done = replace(done, refusal=number)
        if log.isEnabledFor(logging.INFO):
            log.info("%s", access_line(done))

    def refused(self, link: ServerLink, refusal: RefusalError) -> None:
        """As :class:`Journal`."""
        self._refuse(link, f"http.{refusal.status}", str(refusal))

    def lost(self, link: ServerLink, kind: str, because: str) -> None:
        """As :class:`Journal`."""
        session = self._sessions.pop(link, None)
        if session is None:
            return
        session.count()
        session.cause = session.cause or because or "the client closed the connection"
        if kind:
            self._refuse(link, f"http.{kind}", because)
        self._host.ended(session, self._on_end.pop(link))
