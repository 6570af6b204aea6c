"""Sockets of the DNS interface: UDP and TCP on one port, and datagrams answered from the address they were sent to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError
from meshnode.runtime.listening import bound_socket

__all__ = ["BACKLOG", "DatagramSocket", "Received", "open_pair"]

#: TCP connections that wait to be accepted.
BACKLOG: Final = 1024
MAX_DATAGRAM_BYTES: Final = 0xFFFF
#: Datagrams that are answered before other sockets get their turn.
MAX_DATAGRAMS_AT_ONCE: Final = 64
#: Attempts to find a port that is free for both protocols, when any will do (port 0).
PORT_ATTEMPTS: Final = 16
_LINUX_IP_PKTINFO: Final = 8

#: Called with a datagram, the address of its sender, and what ``DatagramSocket.send`` wants to know.
Received = Callable[["DatagramSocket", bytes, Any, Any], None]


class DatagramSocket:
    """A UDP socket that is read many datagrams at a time.

    Bound to every address of the machine, it answers from the one that the query came to: a client that connected
    its socket would not hear another.
    """

    def __init__(self, opened: socket.socket, received: Received) -> None:
        self._socket = opened
        self._received = received
        self._buffer = bytearray(MAX_DATAGRAM_BYTES)
        self._view = memoryview(self._buffer)
        wildcard = ipaddress.ip_address(opened.getsockname()[0].partition("%")[0]).is_unspecified
        self._ancillary = wildcard and sys.platform == "linux"
        if self._ancillary:
            if opened.family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                opened.setsockopt(socket.IPPROTO_IP, _LINUX_IP_PKTINFO, 1)
        asyncio.get_running_loop().add_reader(opened, self._readable)

    def close(self) -> None:
        """Read no more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def send(self, data: bytes, source: Any, place: Any) -> None:
        """Send an answer; one that the kernel has no room for is lost, as datagrams are."""
        try:
            if place:
                self._socket.sendmsg([data], place, 0, source)
            else:
                self._socket.sendto(data, source)
        except OSError:
            return

    def _readable(self) -> None:
        for _ in range(MAX_DATAGRAMS_AT_ONCE):
            place: Any = None
            try:
                if self._ancillary:
                    size, ancillary, _flags, source = self._socket.recvmsg_into([self._buffer], 64)
                    place = [(level, kind, _as_source(level, info)) for level, kind, info in ancillary]
                else:
                    size, source = self._socket.recvfrom_into(self._buffer)
            except OSError:
                return
            self._received(self, bytes(self._view[:size]), source, place)


def _as_source(level: int, info: bytes) -> bytes:
    """What the kernel said of a datagram, as it wants it for the answer: for IPv4 without the interface."""
    return bytes(4) + info[4:] if level == socket.IPPROTO_IP else info


def open_pair(address: Address, keys: tuple[str, str]) -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket on ``address``, on the same port when any will do.

    ``keys`` are the configuration keys of the port and of the address. Raises :class:`ConfigError` naming them.
    """
    port_key, address_key = keys
    bound = partial(bound_socket, port_key=port_key, address_key=address_key)
    for attempt in range(PORT_ATTEMPTS):
        stream = bound(address, socket.SOCK_STREAM)
        place = Address(address.host, stream.getsockname()[1])
        try:
            datagram = bound(place, socket.SOCK_DGRAM)
        except ConfigError:
            stream.close()
            if address.port or attempt == PORT_ATTEMPTS - 1:
                raise
            continue
        stream.listen(BACKLOG)
        return datagram, stream
    raise AssertionError("the last attempt returns or raises")
