"""The HTTP server: listens on TCP, TLS and unix sockets, and stops gracefully.

``HttpServer(api, perform).listen(TcpListener(...), ...)``, then ``stop(deadline)``. Connections are in
``http_connection``, what they share is in ``http_host``.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import socket
import ssl
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError
from meshnode.base.later import Later
from meshnode.http.api import Api
from meshnode.runtime.http_connection import HttpConnection
from meshnode.runtime.http_host import Begin, Host, HttpLimits, Perform, log
from meshnode.runtime.listening import bound_socket

if TYPE_CHECKING:
    from meshnode.runtime import http_tls
    from meshnode.runtime.http_tls import ContextProvider, Explain
else:
    http_tls = Later("meshnode.runtime.http_tls")

__all__ = ["HttpServer", "TcpListener", "UnixListener"]

BACKLOG: Final = 1024
#: Seconds between two looks at deadlines; shorter where a limit is short.
MAX_TICK_INTERVAL: Final = 1.0


@dataclass(frozen=True, slots=True)
class TcpListener:
    """An address to listen on; with ``tls`` it speaks HTTPS. ``config_key`` is the port's, for errors."""

    address: Address
    config_key: str = "ports.http"
    tls: ContextProvider | None = None


@dataclass(frozen=True, slots=True)
class UnixListener:
    """A socket file; ``mode`` is octal text, ``user`` and ``group`` are names or numbers, empty leaves them alone."""

    path: Path
    config_key: str = "addresses.http"
    mode: str = ""
    user: str = ""
    group: str = ""


def plain_explanation(_tls: ssl.SSLObject | None, error: Exception, _peer: str) -> str:
    """The reason as OpenSSL gives it."""
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "")
    return str(reason or error)


class HttpServer:
    """One API on any number of listeners."""

    def __init__(
        self,
        api: Api,
        perform: Perform,
        limits: HttpLimits | None = None,
        explain: Explain = plain_explanation,
        begin: Begin | None = None,
    ) -> None:
        self.host = Host(api, perform, limits or HttpLimits(), begin)
        self._explain = explain
        self._servers: list[asyncio.Server] = []
        self._paths: list[tuple[Path, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        smallest = min(
            self.host.limits.header_timeout,
            self.host.limits.idle_timeout,
            self.host.limits.body_timeout,
            self.host.limits.write_timeout,
        )
        self._tick_interval = min(MAX_TICK_INTERVAL, smallest / 4)

    async def listen(self, *listeners: TcpListener | UnixListener) -> list[Address | Path]:
        """Open the listeners; gives where each one is, with the port that port 0 became.

        Raises :class:`ConfigError` naming the address and the key to change; then none of them is open.
        """
        if self._timer is None:
            self._tick()
        loop = asyncio.get_running_loop()
        sockets: list[socket.socket] = []
        try:
            sockets.extend(map(_open, listeners))
        except ConfigError:
            for opened in sockets:
                opened.close()
            raise
        where: list[Address | Path] = []
        for listener, opened in zip(listeners, sockets):
            if isinstance(listener, UnixListener):
                server = await loop.create_unix_server(
                    partial(self._protocol, None), sock=opened, backlog=BACKLOG
                )
                self._paths.append((listener.path, listener.path.stat().st_ino))
                where.append(listener.path)
            else:
                factory = partial(self._protocol, listener.tls)
                server = await loop.create_server(factory, sock=opened, backlog=BACKLOG)
                where.append(Address(*opened.getsockname()[:2]))
            self._servers.append(server)
        return where

    async def stop(self, timeout: float) -> None:
        """Accept no more, close what is idle, finish what is in progress; after ``timeout`` seconds cut the rest."""
        self.host.stopping = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        for path, inode in self._paths:
            _remove_own(path, inode)
        self._paths.clear()
        for connection in list(self.host.connections):
            connection.shut()
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        if self.host.connections:
            self.host.emptied = asyncio.Event()
            try:
                async with asyncio.timeout_at(end):
                    await self.host.emptied.wait()
            except TimeoutError:
                log.warning("%d HTTP connections were cut after %gs", len(self.host.connections), timeout)
                for connection in list(self.host.connections):
                    connection.abort()
                await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _protocol(self, tls: ContextProvider | None) -> asyncio.Protocol:
        connection = HttpConnection(self.host)
        return connection if tls is None else http_tls.TlsFilter(connection, tls, self._explain)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._tick_interval, self._tick)
        self.host.tick(loop.time(), time.time())


def _open(listener: TcpListener | UnixListener) -> socket.socket:
    return _tcp_socket(listener) if isinstance(listener, TcpListener) else _unix_socket(listener)


def _tcp_socket(listener: TcpListener) -> socket.socket:
    key = listener.config_key
    address_key = f"addresses.{key.rpartition('.')[2]}"
    opened = bound_socket(listener.address, socket.SOCK_STREAM, port_key=key, address_key=address_key)
    opened.listen(BACKLOG)
    return opened


def _unix_socket(listener: UnixListener) -> socket.socket:
    path, key = listener.path, listener.config_key
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mode = int(listener.mode, 8) if listener.mode else None
        _clear_stale(path, key)
        # The file is born closed to others, and opened to them only once it has its owner.
        before = os.umask(0o177)
        try:
            opened.bind(str(path))
        finally:
            os.umask(before)
        user = _number(listener.user, lambda name: pwd.getpwnam(name).pw_uid)
        group = _number(listener.group, lambda name: grp.getgrnam(name).gr_gid)
        if user != -1 or group != -1:
            os.chown(path, user, group)
        path.chmod(0o777 & ~before if mode is None else mode)
        opened.listen(BACKLOG)
    except ConfigError:
        opened.close()
        raise
    except (OSError, ValueError, KeyError) as error:
        opened.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).strip("\"'")
        raise ConfigError(f"{key}: can't listen on unix://{path}: {reason}", key=key) from None
    return opened


def _clear_stale(path: Path, key: str) -> None:
    """Remove the socket file of an agent that is gone; anything else in its place is left alone."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{key}: {path} is there and is no socket: move it, or change {key}", key=key)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise ConfigError(f"{key}: another program listens on unix://{path}: stop it, or change {key}", key=key)


def _number(name: str, look_up: Callable[[str], int]) -> int:
    if not name:
        return -1
    if name.isdigit():
        return int(name)
    return look_up(name)


def _remove_own(path: Path, inode: int) -> None:
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        return
