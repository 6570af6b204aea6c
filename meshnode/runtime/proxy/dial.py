"""Connecting to an address without waiting, and the socket addresses that endpoints stand for."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from meshnode.proxy.config import Endpoint
from meshnode.runtime.proxy.deadlines import Deadlines
from meshnode.runtime.proxy.reactor import FAULT, WRITE, Reactor

__all__ = ["Dial", "listen", "new_socket", "socket_address"]

_UNDER_WAY: Final = (errno.EINPROGRESS, errno.EALREADY)
_DONE: Final = (0, errno.EISCONN)


def socket_address(endpoint: Endpoint) -> str | tuple[str, int]:
    """What ``socket`` wants."""
    return endpoint.path or (endpoint.host, endpoint.port)


def new_socket(endpoint: Endpoint) -> socket.socket:
    """Not blocking, of the right family; TCP waits for no more to send, and notices a peer that vanished."""
    if endpoint.path:
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    if not endpoint.path:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


def listen(endpoint: Endpoint, *, backlog: int, shared: bool) -> socket.socket:
    """A listening socket. ``shared``: other processes listen on the same port. Raises ``OSError``.

    What it accepts has its options (Linux), but blocks.

    A unix socket that nobody answers at is taken over; one that is in use is not.
    """
    sock = new_socket(endpoint)
    try:
        if endpoint.path:
            _remove_stale(endpoint.path)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(socket_address(endpoint))
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        except FileNotFoundError:
            return


class Dial:
    """One attempt: ends in ``on_done(socket, "")`` or ``on_done(None, reason)``, once, unless it is cancelled."""

    def __init__(
        self,
        reactor: Reactor,
        deadlines: Deadlines,
        endpoint: Endpoint,
        *,
        timeout: float,
        now: float,
        on_done: Callable[[socket.socket | None, str], None],
    ) -> None:
        self._reactor = reactor
        self._deadlines = deadlines
        self._endpoint = endpoint
        self._timeout = timeout
        self._now = now
        self._on_done = on_done
        self._sock: socket.socket | None = None

    def start(self) -> None:
        """Begin; ``on_done`` may be called before this returns."""
        try:
            sock = new_socket(self._endpoint)
        except OSError as error:
            self._on_done(None, f"no socket: {error.strerror}")
            return
        address = socket_address(self._endpoint)
        failure = sock.connect_ex(address)
        if failure == errno.EINPROGRESS:
            # On the same machine it is connected by now: asking costs less than being told.
            failure = sock.connect_ex(address)
        if failure in _DONE:
            self._on_done(sock, "")
        elif failure in _UNDER_WAY:
            self._sock = sock
            self._deadlines.add(self, self._timeout, self._now)
            self._reactor.watch(sock, WRITE, self._ready)
        else:
            sock.close()
            self._on_done(None, f"{self._endpoint}: {os.strerror(failure)}")

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._drop()

    def time_out(self) -> None:
        """Nobody answered."""
        self._drop()
        self._on_done(None, f"{self._endpoint}: no answer within {self._timeout:g} s")

    def fault(self) -> None:
        """``on_done`` raised, or the attempt itself: it is over for whoever waits."""
        self._drop()
        self._on_done(None, FAULT)

    def _ready(self, events: int) -> None:
        sock = self._sock
        if sock is None:
            return
        failure = sock.connect_ex(socket_address(self._endpoint))
        if failure in _UNDER_WAY:
            return
        self._deadlines.remove(self, self._timeout)
        self._reactor.forget(sock)
        self._sock = None
        if failure not in _DONE:
            sock.close()
            self._on_done(None, f"{self._endpoint}: {os.strerror(failure)}")
        else:
            self._on_done(sock, "")

    def _drop(self) -> None:
        if self._sock is not None:
            self._deadlines.remove(self, self._timeout)
            self._reactor.forget(self._sock)
            self._sock.close()
            self._sock = None
