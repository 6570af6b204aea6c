"""Readiness of sockets: one epoll set inside the event loop, one dictionary look-up for each event.

An event is a hint. A handler finds out by the system call itself, and takes ``BlockingIOError`` for "not yet": a
descriptor may have been closed and given out again within one batch.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias, runtime_checkable

__all__ = ["FAULT", "READ", "WRITE", "Faulty", "Handler", "Reactor"]

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
#: Events handled before the event loop has its turn.
BATCH: Final = 128

#: What is told of a connection that ends by an error of ours; the log has the error.
FAULT: Final = "an error in the proxy itself"

Handler: TypeAlias = Callable[[int], None]

_log = logging.getLogger("meshnode.proxy")


@runtime_checkable
class Faulty(Protocol):
    """What the handlers belong to."""

    def fault(self) -> None:
        """One of its handlers raised: end what it stands for, so that nobody waits for it."""
        ...


class Reactor:
    """``watch`` a socket for ``READ``, ``WRITE`` or both; watching for nothing is the same as ``forget``.

    A handler that raises is called no more; the object that it is a method of is told, see :class:`Faulty`.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, tuple[Handler, int]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._run)

    def __len__(self) -> int:
        return len(self._handlers)

    def watch(self, sock: socket.socket, events: int, handler: Handler) -> None:
        """Call ``handler(events)`` when ``sock`` is ready for one of ``events``; an error counts as any event."""
        descriptor = sock.fileno()
        known = self._handlers.get(descriptor)
        if not events:
            if known is not None:
                self.forget(sock)
            return
        self._handlers[descriptor] = (handler, events)
        if known is None:
            self._epoll.register(descriptor, events)
        elif known[1] != events:
            self._epoll.modify(descriptor, events)

    def forget(self, sock: socket.socket) -> None:
        """Stop watching; before the socket is closed."""
        if self._handlers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def release(self, sock: socket.socket) -> None:
        """Stop watching a socket that is closed at once: the system takes it out of the set then."""
        self._handlers.pop(sock.fileno(), None)

    def close(self) -> None:
        """Watch nothing any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._handlers.clear()
        self._epoll.close()

    def handle_ready(self) -> None:
        """Call every handler whose socket is ready by now, before the event loop comes to it."""
        self._handle(max(1, len(self._handlers)))

    def _run(self) -> None:
        self._handle(BATCH)

    def _handle(self, most: int) -> None:
        handlers = self._handlers
        for descriptor, events in self._epoll.poll(0, most):
            known = handlers.get(descriptor)
            if known is None:
                continue
            try:
                known[0](events)
            except Exception:  # noqa: BLE001  whatever it is, it is one connection's
                _log.exception("a proxied connection failed")
                if handlers.get(descriptor) is known:
                    del handlers[descriptor]
                    self._epoll.unregister(descriptor)
                self._tell(known[0])
            if self._epoll.closed:
                return

    def _tell(self, handler: Handler) -> None:
        owner = getattr(handler, "__self__", None)
        if isinstance(owner, Faulty):
            try:
                owner.fault()
            except Exception:  # noqa: BLE001  as above
                _log.exception("a connection that failed could not be ended")
