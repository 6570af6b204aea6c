"""Packets of a pcap or pcapng capture: addresses, ports and payload of every TCP and UDP packet over IP.

Ethernet (with VLAN tags), Linux cooked (v1 and v2), raw IP and BSD loopback link types are read; frames that
hold something else are counted, not guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, BinaryIO, Final

import dpkt

from meshnode.base.address import Address
from meshnode.base.errors import MeshError

__all__ = ["Capture", "Packet"]

_ETHERNET, _RAW, _RAW_BSD, _NULL, _LOOP, _SLL, _SLL2 = 1, 101, 12, 0, 108, 113, 276
#: Bytes of each link type's header before the IP packet; Ethernet and cooked captures are parsed instead.
_FIXED_HEADER: Final = {_RAW: 0, _RAW_BSD: 0, _NULL: 4, _LOOP: 4, _SLL: 16, _SLL2: 20}
_FRAGMENT_MASK: Final = 0x1FFF


@dataclass(frozen=True, slots=True)
class Packet:
    """One TCP segment or UDP datagram. ``at`` is seconds since the epoch; ``sequence`` and ``flags`` are TCP's."""

    at: float
    transport: str
    source: Address
    destination: Address
    payload: bytes
    sequence: int = 0
    flags: int = 0


@dataclass(slots=True)
class Capture:
    """Reads one capture; the counters are final when :meth:`packets` is exhausted."""

    file: BinaryIO
    name: str
    frames: int = 0
    skipped: int = 0
    truncated: int = 0
    link_types: set[int] = field(default_factory=set)

    def packets(self) -> Iterator[Packet]:
        """Yield the packets in file order; raises :class:`MeshError` when the file is no capture."""
        try:
            reader = dpkt.pcap.UniversalReader(self.file)
        except (ValueError, dpkt.Error) as error:
            raise MeshError(f"{self.name} is not a pcap or pcapng capture: {error}") from None
        link_type = reader.datalink()
        self.link_types.add(link_type)
        if link_type != _ETHERNET and link_type not in _FIXED_HEADER:
            raise MeshError(
                f"{self.name} has link type {link_type}, which is not read: capture on a bridge or on any"
            )
        records = iter(reader)
        while True:
            try:
                at, frame = next(records)
            except StopIteration:
                return
            except (dpkt.Error, ValueError, IndexError):
                self.truncated += 1
                return
            self.frames += 1
            packet = self._packet(float(at), frame, link_type)
            if packet is None:
                self.skipped += 1
            else:
                yield packet

    def _packet(self, at: float, frame: bytes, link_type: int) -> Packet | None:
        try:
            network = _network_layer(frame, link_type)
            if network is None:
                return None
            if isinstance(network, dpkt.ip.IP):
                if network.offset:
                    return None
                if network.len > len(network):
                    self.truncated += 1
                    return None
            segment = network.data
            source, destination = str(ip_address(network.src)), str(ip_address(network.dst))
            if isinstance(segment, dpkt.tcp.TCP):
                return Packet(
                    at,
                    "tcp",
                    Address(source, segment.sport),
                    Address(destination, segment.dport),
                    bytes(segment.data),
                    segment.seq,
                    segment.flags,
                )
            if isinstance(segment, dpkt.udp.UDP):
                payload = bytes(segment.data)
                return Packet(
                    at, "udp", Address(source, segment.sport), Address(destination, segment.dport), payload
                )
        except (dpkt.Error, ValueError, IndexError, AttributeError):
            return None
        return None


def _network_layer(frame: bytes, link_type: int) -> Any:
    if link_type == _ETHERNET:
        data = dpkt.ethernet.Ethernet(frame).data
        return data if isinstance(data, dpkt.ip.IP | dpkt.ip6.IP6) else None
    packet = frame[_FIXED_HEADER[link_type] :]
    if not packet:
        return None
    version = packet[0] >> 4
    if version == 4:
        return dpkt.ip.IP(packet)
    return dpkt.ip6.IP6(packet) if version == 6 else None
