"""The sockets of gossip: UDP and TCP on the same address and port, with errors that name the likely culprit."""

from __future__ import annotations

import errno
import socket

from meshnode.base.address import Address
from meshnode.base.errors import MeshError

__all__ = ["BACKLOG", "bind_gossip"]

#: What memberlist asks for: enough for a burst while the loop is busy. The kernel may grant less.
UDP_RECEIVE_BUFFER_BYTES = 2 * 1024 * 1024
#: TCP connections that wait to be accepted.
BACKLOG = 128
#: With port 0 the system picks a TCP port; how often to try until the same UDP port is free too.
_EPHEMERAL_ATTEMPTS = 16


def bind_gossip(bind: Address) -> tuple[socket.socket, socket.socket]:
    """A listening TCP and a UDP socket on ``bind``; port 0 picks a port that is free for both.

    Raises :class:`MeshError` naming address, protocol and cause.
    """
    for attempt in range(_EPHEMERAL_ATTEMPTS):
        tcp = _bound(bind, socket.SOCK_STREAM)
        port = tcp.getsockname()[1]
        try:
            udp = _bound(Address(bind.host, port), socket.SOCK_DGRAM)
        except MeshError:
            tcp.close()
            if bind.port or attempt == _EPHEMERAL_ATTEMPTS - 1:
                raise
            continue
        try:
            tcp.listen(BACKLOG)
        except OSError as error:
            tcp.close()
            udp.close()
            raise _refused(bind, "tcp", error) from error
        return tcp, udp
    raise AssertionError("unreachable")


def _bound(bind: Address, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    protocol = "tcp" if kind is socket.SOCK_STREAM else "udp"
    try:
        sock = socket.socket(family, kind)
    except OSError as error:
        raise _refused(bind, protocol, error) from error
    try:
        sock.setblocking(False)
        if kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_RECEIVE_BUFFER_BYTES)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((bind.host, bind.port))
    except OSError as error:
        sock.close()
        raise _refused(bind, protocol, error) from error
    return sock


def _refused(bind: Address, protocol: str, error: OSError) -> MeshError:
    reason = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        flag = "t" if protocol == "tcp" else "u"
        hint = (
            "another meshnode, Consul or Serf agent may hold it: "
            f"`ss -ln{flag}p 'sport = :{bind.port}'` shows which process"
        )
    elif error.errno == errno.EADDRNOTAVAIL:
        hint = "this machine has no such address: set `bind_addr` to one that `ip address` lists"
    elif error.errno in (errno.EACCES, errno.EPERM):
        hint = "ports below 1024 need privileges: choose a higher one"
    else:
        hint = "check `bind_addr` and the port"
    return MeshError(f"gossip can't listen on {protocol} {bind}: {reason}; {hint}")
