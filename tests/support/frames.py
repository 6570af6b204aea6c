"""Captures built byte by byte: frames of several links with UDP and TCP inside, as a capture file in memory."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from ipaddress import ip_address

from meshnode.base.address import Address

__all__ = [
    "ACK",
    "FIN",
    "RST",
    "SYN",
    "conversation",
    "cooked",
    "cooked2",
    "ethernet",
    "ip_packet",
    "pcap",
    "pcapng",
    "segment",
    "tcp",
    "udp",
]

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10


def udp(source: Address, destination: Address, payload: bytes) -> bytes:
    """An Ethernet frame with one datagram."""
    head = struct.pack("!HHHH", source.port, destination.port, 8 + len(payload), 0)
    return ethernet(ip_packet(17, source, destination, head + payload))


def segment(
    source: Address,
    destination: Address,
    payload: bytes,
    sequence: int,
    flags: int = ACK,
    acknowledged: int = 0,
) -> bytes:
    """A TCP segment, without IP."""
    return (
        struct.pack(
            "!HHIIBBHHH", source.port, destination.port, sequence % (1 << 32), acknowledged % (1 << 32),
            5 << 4, flags, 65535, 0, 0,
        )
        + payload
    )  # fmt: skip


def tcp(
    source: Address, destination: Address, payload: bytes, sequence: int, flags: int = ACK, ack: int = 0
) -> bytes:
    """An Ethernet frame with one segment."""
    return ethernet(
        ip_packet(6, source, destination, segment(source, destination, payload, sequence, flags, ack))
    )


def conversation(
    client: Address, server: Address, *turns: tuple[str, bytes], fin: bool = False
) -> list[bytes]:
    """A whole connection: both SYNs, then each turn (``">"`` from the client, ``"<"`` from the server)."""
    sequence = {">": 1000, "<": 0xFFFFFFF0}
    ends = {">": (client, server), "<": (server, client)}
    other = {">": "<", "<": ">"}
    frames = [
        tcp(*ends[">"], b"", sequence[">"] - 1, SYN),
        tcp(*ends["<"], b"", sequence["<"] - 1, SYN | ACK, sequence[">"]),
    ]
    for way, payload in turns:
        for start in range(0, len(payload), 1400):
            piece = payload[start : start + 1400]
            frames.append(tcp(*ends[way], piece, sequence[way], ACK, sequence[other[way]]))
            sequence[way] += len(piece)
    if fin:
        frames += [tcp(*ends[way], b"", sequence[way], FIN | ACK, sequence[other[way]]) for way in "><"]
    return frames


def ip_packet(
    protocol: int,
    source: Address,
    destination: Address,
    payload: bytes,
    *,
    fragment: tuple[int, int, bool] | None = None,
    extensions: bytes = b"",
) -> bytes:
    """An IPv4 or IPv6 packet; ``fragment`` is (identification, offset, more)."""
    ends = ip_address(source.host).packed + ip_address(destination.host).packed
    identification, offset, more = fragment or (0, 0, False)
    if ":" not in source.host:
        place = offset // 8 | (0x2000 if more else 0)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), identification, place, 64, protocol, 0)
        return head + ends + payload
    first = protocol
    if fragment is not None:
        payload = struct.pack("!BBHI", protocol, 0, offset | more, identification) + payload
        first = 44
    if extensions:
        # Destination options whose next header is filled in here.
        payload, first = bytes((first,)) + extensions[1:] + payload, 60
    return struct.pack("!IHBB", 6 << 28, len(payload), first, 64) + ends + payload


def _ethertype(packet: bytes) -> bytes:
    return b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"


def ethernet(packet: bytes, tags: Iterable[bytes] = ()) -> bytes:
    """An Ethernet frame; ``tags`` are the ethertypes of VLAN tags, the outermost first."""
    vlan = b"".join(tag + b"\x00\x07" for tag in tags)
    return b"\2\0\0\0\0\1\2\0\0\0\0\2" + vlan + _ethertype(packet) + packet


def cooked(packet: bytes) -> bytes:
    """A frame of Linux's any interface, version 1 (link type 113)."""
    return struct.pack("!HHH8s", 0, 1, 6, bytes(8)) + _ethertype(packet) + packet


def cooked2(packet: bytes) -> bytes:
    """The same, version 2 (link type 276)."""
    return _ethertype(packet) + struct.pack("!HIHBB8s", 0, 2, 1, 0, 6, bytes(8)) + packet


def pcap(
    frames: Iterable[bytes],
    link_type: int = 1,
    *,
    order: str = "<",
    magic: int = 0xA1B2C3D4,
    snap: int = 262144,
) -> io.BytesIO:
    """A classic pcap file, one frame a second, of each at most ``snap`` bytes."""
    file = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap, link_type)
    for second, frame in enumerate(frames):
        kept = frame[:snap]
        file += struct.pack(order + "IIII", second, 5, len(kept), len(frame)) + kept
    return io.BytesIO(file)


def pcapng(frames: Iterable[tuple[int, bytes]], link_types: Iterable[int], order: str = "<") -> io.BytesIO:
    """A pcapng section; each frame comes with the number of its interface, or -1 for a simple packet block."""
    file = _block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    for number, link_type in enumerate(link_types):
        resolution = struct.pack(order + "HHB3xHH", 9, 1, 9, 0, 0) if number % 2 else b""
        file += _block(order, 1, struct.pack(order + "HHI", link_type, 0, 0) + resolution)
    file += _block(order, 5, bytes(12))  # interface statistics: to be passed over
    for second, (interface, frame) in enumerate(frames):
        if interface < 0:
            file += _block(order, 3, struct.pack(order + "I", len(frame)) + frame)
            continue
        ticks = second * (10**9 if interface % 2 else 10**6)
        head = struct.pack(
            order + "IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame)
        )
        file += _block(order, 6, head + frame)
    return io.BytesIO(file)


def _block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length
