"""What all connections of one HTTP server share: the API, the limits, a coarse clock and the roll of connections."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from meshnode.http.api import Api
from meshnode.http.effects import Effect

__all__ = ["Begin", "Host", "HttpLimits", "Lasting", "NotDoneError", "Pending", "Perform"]

#: Performs one effect; raises ``MeshError`` for what is expected to fail.
Perform = Callable[[Effect[Any]], Awaitable[Any]]


class NotDoneError(Exception):
    """An effect that was begun was not carried out at all: it is performed from its beginning."""


class Pending(NamedTuple):
    """An effect that was begun and ends by itself. Once ``ended`` is done, ``finish`` gives its outcome.

    ``finish`` raises ``MeshError`` as performing it would, and :class:`NotDoneError`.
    """

    ended: asyncio.Future[Any]
    finish: Callable[[], Any]


#: Begins an effect, or says with ``None`` that it has to be performed. Raises nothing that an effect can cause.
Begin = Callable[[Effect[Any]], Pending | None]

log: Final = logging.getLogger("meshnode.http")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds on what clients may hold; times in seconds.

    ``header_timeout`` covers the TLS handshake, and then a whole request head from its first byte (slow-loris);
    ``write_timeout`` how long a client may leave its answer unread; 0 connections per client is no bound, as in
    Consul 1.2.3.
    """

    max_header_bytes: int = 64 * 1024
    header_timeout: float = 10.0
    body_timeout: float = 300.0
    idle_timeout: float = 300.0
    write_timeout: float = 60.0
    max_connections: int = 8192
    max_connections_per_client: int = 0


class Lasting(Protocol):
    """A connection as the host sees it."""

    deadline: float

    def expire(self) -> None:
        """The deadline passed."""

    def shut(self) -> None:
        """The server stops: close when idle, else after the answer in progress; give up waits."""

    def abort(self) -> None:
        """Close at once."""


class Host:
    """Shared by the connections of one server. ``now`` and ``date`` move with each tick, not with each request."""

    def __init__(self, api: Api, perform: Perform, limits: HttpLimits, begin: Begin | None = None) -> None:
        self.api = api
        self.perform = perform
        self.begin = begin
        self.limits = limits
        self.connections: set[Lasting] = set()
        self.stopping = False
        #: Set when the last connection ends, if somebody waits for that.
        self.emptied: asyncio.Event | None = None
        self.now = 0.0
        self.date = b""
        self._per_client: Counter[str] = Counter()

    def tick(self, now: float, at: float) -> None:
        """Move the clock to ``now`` (of the loop) and ``at`` (Unix time), and expire what is due."""
        self.now = now
        self.date = _date_header(at)
        for connection in [c for c in self.connections if c.deadline <= now]:
            connection.expire()

    def admit(self, connection: Lasting, client: str) -> str:
        """Take a connection on the roll, or say why not; ``client`` is its address, empty for a unix socket."""
        limits = self.limits
        if self.stopping:
            return "the agent is stopping"
        if len(self.connections) >= limits.max_connections:
            return f"{limits.max_connections} connections are open, which is the limit"
        if client and 0 < limits.max_connections_per_client <= self._per_client[client]:
            return f"{client} has {limits.max_connections_per_client} connections open, which is the limit"
        self._per_client[client] += 1
        self.connections.add(connection)
        return ""

    def dismiss(self, connection: Lasting, client: str) -> None:
        """Strike an ended connection off the roll."""
        if connection in self.connections:
            self.connections.discard(connection)
            self._per_client[client] -= 1
            if not self._per_client[client]:
                del self._per_client[client]
        if self.emptied is not None and not self.connections:
            self.emptied.set()


def _date_header(at: float) -> bytes:
    # RFC 9110 5.6.7. Nothing sets a locale, so the names are the English ones.
    return time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(at)).encode("ascii")
