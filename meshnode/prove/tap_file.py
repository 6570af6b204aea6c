"""A capture written by a relay: what was read from and written to sockets, in packets that never were on a wire.

The file is pcapng with raw IP, so every reader of captures opens it. Its section names the program, which is how
:mod:`meshnode.prove.records` knows that it is no capture of the wire. Source: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Final

from meshnode.base.address import Address

__all__ = ["PROGRAM", "TapStream", "datagram", "header"]

#: What a section of a tap's capture names as its program.
PROGRAM: Final = "meshnode tap"
_RAW_IP: Final = 101
_SNAP: Final = 262_144
_PIECE: Final = 60_000
_SYN, _FIN, _ACK = 0x02, 0x01, 0x10


def header() -> bytes:
    """The beginning of a file: a section that names the program, and its one interface."""
    name = PROGRAM.encode()
    options = struct.pack("<HH", 4, len(name)) + name + bytes(-len(name) % 4) + bytes(4)
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options
    return _block(0x0A0D0D0A, section) + _block(1, struct.pack("<HHI", _RAW_IP, 0, _SNAP))


def datagram(source: Address, destination: Address, payload: bytes, at: float) -> bytes:
    """A record of one datagram, at ``at`` seconds since the epoch."""
    head = struct.pack("!HHHH", source.port, destination.port, 8 + len(payload), 0)
    return _record(_ip(17, source, destination, head + payload), at)


class TapStream:
    """One connection that passed a tap: records with the sequence numbers that it could have had."""

    def __init__(self, client: Address, server: Address) -> None:
        self._ends = {True: (client, server), False: (server, client)}
        self._next = {True: 1000, False: 5000}

    def opened(self, at: float) -> bytes:
        """The three packets of the handshake."""
        found = self._segment(True, b"", _SYN, at)
        self._next[True] += 1
        found += self._segment(False, b"", _SYN | _ACK, at)
        self._next[False] += 1
        return found + self._segment(True, b"", _ACK, at)

    def data(self, payload: bytes, at: float, *, from_client: bool) -> bytes:
        """Records of bytes that were read from one end."""
        found = b""
        for start in range(0, len(payload), _PIECE):
            piece = payload[start : start + _PIECE]
            found += self._segment(from_client, piece, _ACK, at)
            self._next[from_client] = (self._next[from_client] + len(piece)) % (1 << 32)
        return found

    def ended(self, at: float, *, from_client: bool) -> bytes:
        """One end said that it sends no more."""
        return self._segment(from_client, b"", _FIN | _ACK, at)

    def _segment(self, from_client: bool, payload: bytes, flags: int, at: float) -> bytes:
        source, destination = self._ends[from_client]
        acknowledged = self._next[not from_client] if flags & _ACK else 0
        head = struct.pack(
            "!HHIIBBHHH",
            source.port,
            destination.port,
            self._next[from_client],
            acknowledged,
            5 << 4,
            flags,
            65535,
            0,
            0,
        )
        return _record(_ip(6, source, destination, head + payload), at)


def _ip(protocol: int, source: Address, destination: Address, body: bytes) -> bytes:
    ends = ip_address(source.host).packed + ip_address(destination.host).packed
    if ":" in source.host:
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + ends + body
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + ends + body


def _record(packet: bytes, at: float) -> bytes:
    ticks = int(at * 1_000_000)
    head = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(packet), len(packet))
    return _block(6, head + packet)


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + length + body + length
