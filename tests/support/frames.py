"""Captures built byte by byte: Ethernet frames with UDP and TCP inside, as a pcap file in memory."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address

from meshnode.base.address import Address

__all__ = ["SYN", "conversation", "pcap", "tcp", "udp"]

SYN = 0x02
_ACK = 0x10


def udp(source: Address, destination: Address, payload: bytes) -> bytes:
    """An Ethernet frame with one datagram."""
    segment = struct.pack("!HHHH", source.port, destination.port, 8 + len(payload), 0) + payload
    return _ethernet(17, source, destination, segment)


def tcp(source: Address, destination: Address, payload: bytes, sequence: int, flags: int = _ACK) -> bytes:
    """An Ethernet frame with one segment."""
    header = struct.pack(
        "!HHIIBBHHH", source.port, destination.port, sequence % (1 << 32), 0, 5 << 4, flags, 65535, 0, 0
    )
    return _ethernet(6, source, destination, header + payload)


def conversation(client: Address, server: Address, *turns: tuple[str, bytes]) -> list[bytes]:
    """A whole connection: both SYNs, then each turn (``">"`` from the client, ``"<"`` from the server)."""
    sequence = {">": 1000, "<": 0xFFFFFFF0}
    ends = {">": (client, server), "<": (server, client)}
    frames = [tcp(*ends[way], b"", sequence[way] - 1, SYN) for way in ("><")]
    for way, payload in turns:
        for start in range(0, len(payload), 1400):
            piece = payload[start : start + 1400]
            frames.append(tcp(*ends[way], piece, sequence[way]))
            sequence[way] += len(piece)
    return frames


def pcap(frames: Iterable[bytes], link_type: int = 1) -> io.BytesIO:
    """A classic little-endian pcap file, one frame a second."""
    file = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link_type)
    for second, frame in enumerate(frames):
        file += struct.pack("<IIII", second, 0, len(frame), len(frame)) + frame
    return io.BytesIO(file)


def _ethernet(protocol: int, source: Address, destination: Address, segment: bytes) -> bytes:
    ends = IPv4Address(source.host).packed + IPv4Address(destination.host).packed
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, protocol, 0) + ends
    return b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\x00" + header + segment
