"""A listener that speaks HTTP: plain or TLS in front, plain or TLS behind. ``serve_http`` starts one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

from meshnode.base.errors import ConfigError
from meshnode.l7.access import Exchange, access_line
from meshnode.l7.model import Bounds, RefusalError
from meshnode.l7.timeouts import Timeouts
from meshnode.proxy.config import Endpoint
from meshnode.runtime.proxy.contexts import ALPN
from meshnode.runtime.proxy.dial import listen
from meshnode.runtime.proxy.host import CLOSED_EARLY, log, peer_name
from meshnode.runtime.proxy.http_pool import Target, UpstreamPool
from meshnode.runtime.proxy.http_relay import Relay
from meshnode.runtime.proxy.http_server_link import ServerLink
from meshnode.runtime.proxy.http_tls import TlsLayer
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["HttpListener", "HttpServer", "serve_http"]

#: Seconds between two looks at the deadlines.
TICK_INTERVAL: Final = 0.25
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class HttpListener:
    """``server_tls``: the client speaks TLS; ``upstream_tls``: the application does; the context says whom it trusts.

    ``upstream_sni`` is sent, unless it is empty; ``upstream_name`` is what the application's certificate is to be valid
    for, with or without SNI. ``trust_forwarded``: clients are proxies, whose ``x-forwarded-*`` are believed.
    """

    name: str
    bind: Endpoint
    upstream: Endpoint
    server_tls: ssl.SSLContext | None = field(default=None, repr=False)
    upstream_tls: ssl.SSLContext | None = field(default=None, repr=False)
    upstream_sni: str = ""
    upstream_name: str = ""
    upstream_http2: bool = False
    bounds: Bounds = field(default_factory=Bounds)
    timeouts: Timeouts = field(default_factory=Timeouts)
    trust_forwarded: bool = False
    max_connections: int = 4096


class HttpServer:
    """``start``, ``update`` at will, ``stop``. :class:`~meshnode.runtime.proxy.http_relay.Journal` of its requests."""

    def __init__(
        self,
        settings: HttpListener,
        *,
        clock: Callable[[], float] = time.monotonic,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self.counters: Counter[str] = Counter()
        self.address = settings.bind
        self._links: dict[ServerLink, TlsLayer | ServerLink] = {}
        self._server: asyncio.Server | None = None
        self._tick: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        #: Those of before, while connections of theirs live.
        self._pools: list[UpstreamPool] = []
        self._use(settings)

    def _use(self, settings: HttpListener) -> None:
        self.settings = settings
        if settings.server_tls is not None:
            settings.server_tls.set_alpn_protocols(list(ALPN))
        target = Target(
            settings.upstream,
            settings.upstream_tls,
            settings.upstream_sni,
            settings.upstream_name,
            settings.upstream_http2,
        )
        pool = UpstreamPool(target, settings.bounds, settings.timeouts, self._clock)
        self._pools.append(pool)
        self._relay = Relay(
            settings.name, pool, self, self._clock, self._entropy, trust_forwarded=settings.trust_forwarded
        )

    async def start(self) -> None:
        """Listen; raises :class:`ConfigError` when that can't be."""
        bind, name = self.settings.bind, self.settings.name
        try:
            sock = listen(bind, backlog=_BACKLOG, shared=False)
        except OSError as error:
            raise ConfigError(f"{name} can't listen on {bind}: {error.strerror or error}") from None
        loop = asyncio.get_running_loop()
        if bind.path:
            self._server = await loop.create_unix_server(self._connected, sock=sock, backlog=_BACKLOG)
        else:
            self.address = Endpoint(bind.host, sock.getsockname()[1])
            self._server = await loop.create_server(self._connected, sock=sock, backlog=_BACKLOG)
        self._tick = spawn(self._check(), name=f"{name} deadlines")
        log.info("%s listening on %s", name, self.address)

    def update(self, settings: HttpListener) -> None:
        """Other settings for the same address, for connections that come later. Raises :class:`ConfigError`."""
        if settings.bind != self.settings.bind:
            raise ConfigError(
                f"{settings.name} listens on {self.settings.bind}: stop it to change the address"
            )
        self._use(settings)

    async def stop(self, *, drain_timeout: float = 10.0) -> None:
        """Accept nobody, finish what is under way for ``drain_timeout`` seconds, cut the rest."""
        if self._server is not None:
            self._server.close()
            if self.settings.bind.path:
                with contextlib.suppress(OSError):
                    os.unlink(self.settings.bind.path)
        for layer in list(self._links.values()):
            layer.leave()
        if self._links and drain_timeout > 0:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_timeout):
                    await self._idle.wait()
        if self._links:
            log.warning("%s: %d connections are cut: the proxy stops", self.settings.name, len(self._links))
        tasks = [stream.task for link in self._links for stream in link.exchanges]
        for layer in list(self._links.values()):
            layer.end_now("", "the proxy stops")
        await cancel_and_wait(self._tick, *tasks)
        for pool in self._pools:
            pool.close()

    def hurry(self) -> None:
        """End the draining of a ``stop`` that is under way."""
        self._idle.set()

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(TICK_INTERVAL)
            self.check(self._clock())

    def check(self, now: float) -> None:
        """Give up what is late at ``now``."""
        for layer in list(self._links.values()):
            layer.check(now)
        for pool in self._pools:
            pool.check(now)
        self._pools = [pool for pool in self._pools if len(pool) or pool is self._relay.pool]

    def _connected(self) -> asyncio.Protocol:
        return _Arrival(self)

    def admit(self, transport: asyncio.Transport) -> asyncio.Protocol | None:
        """Who serves a client that has just come; ``None``: nobody does."""
        settings = self.settings
        peer = peer_name(transport.get_extra_info("peername"))
        if len(self._links) >= settings.max_connections:
            self.counters["refused.too_many"] += 1
            log.warning("%s: %s refused: %d connections are open", settings.name, peer, len(self._links))
            transport.abort()
            return None
        self.counters["connections"] += 1
        scheme = "http" if settings.server_tls is None else "https"
        link = ServerLink(
            self._relay, settings.bounds, settings.timeouts, self._clock, peer=peer, scheme=scheme
        )
        if settings.server_tls is None:
            self._links[link] = link
            return link
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        layer = TlsLayer(
            settings.server_tls.wrap_bio(incoming, outgoing, server_side=True),
            incoming,
            outgoing,
            link,
            deadline=self._clock() + settings.timeouts.handshake,
            on_failure=lambda kind, reason: self.lost(link, kind, reason),
        )
        self._links[link] = layer
        return layer

    # Journal

    def exchange(self, link: ServerLink, done: Exchange) -> None:
        """As :class:`Journal`."""
        self.counters["requests"] += 1
        self.counters[f"responses.{done.status // 100}xx"] += 1
        log.info("%s", access_line(done))

    def refused(self, link: ServerLink, refusal: RefusalError) -> None:
        """As :class:`Journal`."""
        self.counters[f"refused.{refusal.status}"] += 1
        log.warning("%s from %s refused (%d): %s", self.settings.name, link.peer, refusal.status, refusal)

    def lost(self, link: ServerLink, kind: str, because: str) -> None:
        """As :class:`Journal`."""
        self._links.pop(link, None)
        if kind:
            self.counters[f"refused.{kind}"] += 1
            if kind != CLOSED_EARLY:
                log.warning("%s from %s refused: %s", self.settings.name, link.peer, because)
        if not self._links:
            self._idle.set()


class _Arrival(asyncio.Protocol):
    """A client before it is known who serves it."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, and another base.
        connected = cast(asyncio.Transport, transport)
        protocol = self._server.admit(connected)
        if protocol is not None:
            connected.set_protocol(protocol)
            protocol.connection_made(connected)


async def serve_http(
    listener: HttpListener,
    *,
    clock: Callable[[], float] = time.monotonic,
    entropy: Callable[[int], bytes] = os.urandom,
) -> HttpServer:
    """A server that listens. Raises :class:`ConfigError` naming the listener and the address."""
    server = HttpServer(listener, clock=clock, entropy=entropy)
    await server.start()
    return server
