"""A listening socket of the proxy: accepts, keeps to its limits, and hands each client to ``inbound`` or ``outbound``.

Handshakes under way are bounded: one more takes the place of the oldest, so that clients that say nothing keep
nobody out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import Endpoint, PublicListener, Upstream
from meshnode.runtime.proxy.dial import listen
from meshnode.runtime.proxy.flow import reset
from meshnode.runtime.proxy.host import ProxyHost, log, peer_name
from meshnode.runtime.proxy.inbound import Inbound
from meshnode.runtime.proxy.outbound import Destination, Outbound
from meshnode.runtime.proxy.reactor import READ

if TYPE_CHECKING:
    from meshnode.runtime.proxy.http_inbound import HttpPublic

__all__ = ["Listener"]

#: Clients accepted before others have their turn.
_ACCEPTS: Final = 32
BACKLOG: Final = 1024
#: Seconds without accepting after the process ran out of descriptors.
_PAUSE: Final = 0.5


class Listener:
    """``settings`` may be replaced while it runs; they hold for clients that come later."""

    def __init__(
        self, host: ProxyHost, settings: PublicListener | Upstream, rng: random.Random, *, shared: bool
    ) -> None:
        self._host = host
        self._settings = settings
        self._shared = shared
        self._destination = Destination(host, settings, rng) if isinstance(settings, Upstream) else None
        self._rng = rng
        self._http: HttpPublic | None = None
        self._speak(settings)
        #: Where it listens: the port is the one that the system chose if 0 was asked for.
        self.address = settings.bind
        self._sock: socket.socket | None = None
        #: Clients that are not connected through yet, oldest first.
        self._waiting: dict[Inbound | Outbound, None] = {}
        #: Connections of this listener that are established.
        self.established = 0

    @property
    def settings(self) -> PublicListener | Upstream:
        """The settings in force."""
        return self._settings

    @property
    def waiting(self) -> int:
        """Clients whose handshake, or whose way to an instance, is under way."""
        return len(self._waiting)

    def start(self) -> None:
        """Listen; raises :class:`ConfigError` when that can't be."""
        bind = self._settings.bind
        try:
            self._sock = listen(bind, backlog=BACKLOG, shared=self._shared)
        except OSError as error:
            raise ConfigError(
                f"{self._settings.name} can't listen on {bind}: {error.strerror or error}"
            ) from None
        if self._destination is not None:
            self._destination.warm.open()
        self._host.reactor.watch(self._sock, READ, self._accept)
        self.address = bind if bind.path else Endpoint(bind.host, self._sock.getsockname()[1])

    def update(self, settings: PublicListener | Upstream) -> None:
        """New settings for the same address."""
        if isinstance(settings, Upstream):
            old = self._destination
            self._destination = Destination(self._host, settings, self._rng)
            if old is not None:
                self._destination.balancer = old.balancer
                old.warm.close()
        if settings != self._settings:
            self._speak(settings)
        self._settings = settings

    def _speak(self, settings: PublicListener | Upstream) -> None:
        """HTTP, or not; connections that speak otherwise finish what is under way."""
        if self._http is not None:
            self._http.leave()
        self._http = None
        if isinstance(settings, PublicListener) and settings.protocol != "tcp":
            # Libraries and 3 MB that a listener of bytes has no use for.
            from meshnode.runtime.proxy.http_inbound import HttpPublic

            self._http = HttpPublic(self._host, settings)

    def stop(self) -> None:
        """Accept nobody any more; who is waiting is refused, who is established goes on."""
        sock, self._sock = self._sock, None
        if sock is not None:
            self._host.reactor.forget(sock)
            sock.close()
            if self._settings.bind.path:
                with contextlib.suppress(OSError):
                    os.unlink(self._settings.bind.path)
        if self._destination is not None:
            self._destination.warm.close()
        for client in list(self._waiting):
            client.drop("", "")
        if self._http is not None:
            self._http.leave()

    def fault(self) -> None:
        """One client was too much: the next ones are accepted all the same."""
        if self._sock is not None:
            self._host.reactor.watch(self._sock, READ, self._accept)

    def _accept(self, events: int) -> None:
        listening = self._sock
        if listening is None:
            return
        for _ in range(_ACCEPTS):
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                self._pause(listening, error)
                return
            try:
                sock.setblocking(False)
            except OSError:
                sock.close()
                continue
            self._admit(sock, peer_name(address))

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        log.error("%s accepts nobody for %g s: %s", self._settings.name, _PAUSE, error.strerror)
        self._host.reactor.forget(listening)

        def resume() -> None:
            if self._sock is listening:
                self._host.reactor.watch(listening, READ, self._accept)

        asyncio.get_running_loop().call_later(_PAUSE, resume)

    def _admit(self, sock: socket.socket, peer: str) -> None:
        settings = self._settings
        if self.established >= settings.max_connections:
            reset(sock)
            self._host.refuse(
                settings.name,
                peer,
                "too_many",
                f"{self.established} connections are established, max_connections is {settings.max_connections}",
            )
            return
        self._host.counters[f"accepted.{'inbound' if self._destination is None else 'upstream'}"] += 1
        client: Inbound | Outbound
        if isinstance(settings, PublicListener):
            if len(self._waiting) >= settings.max_handshakes:
                next(iter(self._waiting)).drop(
                    "handshakes",
                    f"{len(self._waiting)} handshakes were under way and this one was the oldest",
                )
            client = Inbound(self._host, settings, sock, peer, self._left, self._establish, self._http)
        else:
            if len(self._waiting) + self.established >= settings.max_connections or self._destination is None:
                reset(sock)
                self._host.refuse(settings.name, peer, "too_many", "too many connections are being set up")
                return
            client = Outbound(self._host, self._destination, sock, peer, self._left, self._establish)
        self._waiting[client] = None
        try:
            client.start()
        except Exception:  # noqa: BLE001  whatever it is, it is this client's
            log.exception("a proxied connection failed")
            client.fault()

    def _establish(self) -> Callable[[], None]:
        self.established += 1
        return self._ended

    def _ended(self) -> None:
        self.established -= 1

    def _left(self, client: Inbound | Outbound) -> None:
        self._waiting.pop(client, None)
