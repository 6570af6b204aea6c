"""From a captured frame to its TCP segment or UDP datagram, whatever link it was captured on.

Ethernet with VLAN tags (802.1Q, 802.1ad), Linux cooked v1 and v2 (what ``-i any`` gives), raw IP and BSD loopback;
IPv4 and IPv6 with extension headers. Offloads make frames that never were on a wire: a total length of 0 means "to
the end", and checksums are not looked at, for the network card would have filled them in.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, NamedTuple

from meshnode.base.address import Address

__all__ = ["LINK_TYPES", "Datagram", "Packet", "network_layer", "transport_layer"]

_ETHERNET, _NULL, _RAW_BSD, _RAW_OPENBSD, _RAW, _LOOP = 1, 0, 12, 14, 101, 108
_SLL, _IPV4_ONLY, _IPV6_ONLY, _SLL2 = 113, 228, 229, 276
#: Link types that are read (https://www.tcpdump.org/linktypes.html): bytes before the IP packet, where that is fixed.
LINK_TYPES: Final = {
    _ETHERNET: 14,
    _NULL: 4,
    _RAW_BSD: 0,
    _RAW_OPENBSD: 0,
    _RAW: 0,
    _LOOP: 4,
    _SLL: 16,
    _IPV4_ONLY: 0,
    _IPV6_ONLY: 0,
    _SLL2: 20,
}
#: Where the ethertype is, on the links that have one.
_ETHERTYPE_AT: Final = {_ETHERNET: 12, _SLL: 14, _SLL2: 0}
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_VLAN_TAGS: Final = frozenset((b"\x81\x00", b"\x88\xa8", b"\x91\x00"))
MAX_VLAN_TAGS: Final = 4
MAX_EXTENSION_HEADERS: Final = 8
_TCP, _UDP, _AUTHENTICATION, _FRAGMENT = 6, 17, 51, 44
_OPTIONS: Final = frozenset((0, 43, 60, 135, 139, 140))


class Datagram(NamedTuple):
    """An IP packet or a fragment of one. ``missing`` bytes at its end were on the wire and not captured.

    ``fragment`` is ``(identification, offset, more)``; a whole packet has ``None``.
    """

    source: bytes
    destination: bytes
    protocol: int
    payload: bytes
    missing: int
    fragment: tuple[int, int, bool] | None


class Packet(NamedTuple):
    """One TCP segment or UDP datagram. ``at`` is seconds since the epoch; the last three are TCP's."""

    at: float
    transport: str
    source: Address
    destination: Address
    payload: bytes
    missing: int = 0
    sequence: int = 0
    flags: int = 0
    acknowledged: int = 0


def network_layer(data: bytes, link_type: int, wire_length: int) -> Datagram | None:
    """The IP packet in a frame of ``wire_length`` bytes of which ``data`` was captured.

    ``None`` when it holds something else. Raises :class:`ValueError` or :class:`IndexError` when its headers are
    damaged or cut off.
    """
    start = LINK_TYPES[link_type]
    at = _ETHERTYPE_AT.get(link_type)
    if at is not None:
        ethertype = data[at : at + 2]
        tags = 0
        while ethertype in _VLAN_TAGS and tags < MAX_VLAN_TAGS:
            ethertype = data[start + 2 : start + 4]
            start += 4
            tags += 1
        if ethertype not in (_IPV4, _IPV6):
            return None
    if start >= len(data):
        raise ValueError("cut off before the IP packet")
    version = data[start] >> 4
    if version == 4:
        return _ipv4(data, start, wire_length)
    if version == 6:
        return _ipv6(data, start, wire_length)
    if at is None:
        return None
    raise ValueError(f"IP version {version}")


def _ipv4(data: bytes, start: int, wire_length: int) -> Datagram:
    header = (data[start] & 0x0F) * 4
    total, identification, fragment = struct.unpack_from("!HHH", data, start + 2)
    total = total or wire_length - start
    if header < 20 or total < header or len(data) < start + header:
        raise ValueError("lengths of the IPv4 header contradict each other")
    more, offset = bool(fragment & 0x2000), (fragment & 0x1FFF) * 8
    return Datagram(
        data[start + 12 : start + 16],
        data[start + 16 : start + 20],
        data[start + 9],
        data[start + header : start + total],
        max(0, start + total - len(data)),
        (identification, offset, more) if more or offset else None,
    )


def _ipv6(data: bytes, start: int, wire_length: int) -> Datagram:
    position = start + 40
    if len(data) < position:
        raise ValueError("cut off in the IPv6 header")
    length = struct.unpack_from("!H", data, start + 4)[0]
    end = position + length if length else wire_length
    protocol, fragment = data[start + 6], None
    for _ in range(MAX_EXTENSION_HEADERS):
        if protocol == _FRAGMENT:
            flags, identification = struct.unpack_from("!HI", data, position + 2)
            fragment = (identification, flags & 0xFFF8, bool(flags & 1))
            protocol, position = data[position], position + 8
            if fragment[1]:
                break
        elif protocol in _OPTIONS:
            protocol, position = data[position], position + (data[position + 1] + 1) * 8
        elif protocol == _AUTHENTICATION:
            protocol, position = data[position], position + (data[position + 1] + 2) * 4
        else:
            break
    if position > end:
        raise ValueError("extension headers are longer than the packet")
    if fragment is not None and not fragment[1] and not fragment[2]:
        fragment = None  # "atomic fragment": a whole packet (RFC 6946)
    source, destination = data[start + 8 : start + 24], data[start + 24 : start + 40]
    return Datagram(
        source, destination, protocol, data[position:end], max(0, end - max(position, len(data))), fragment
    )


def transport_layer(at: float, datagram: Datagram) -> Packet | None:
    """The segment in a whole IP packet; ``None`` when it is neither TCP nor UDP, errors as :func:`network_layer`."""
    data = datagram.payload
    if datagram.protocol == _TCP:
        if len(data) < 20:
            raise ValueError("cut off in the TCP header")
        source, destination, sequence, acknowledged, offset, flags = struct.unpack_from("!HHIIBB", data)
        header = (offset >> 4) * 4
        if header < 20 or header > len(data) + datagram.missing:
            raise ValueError("the TCP header is longer than the segment")
        return Packet(
            at,
            "tcp",
            _address(datagram.source, source),
            _address(datagram.destination, destination),
            data[header:],
            min(datagram.missing, len(data) + datagram.missing - header),
            sequence,
            flags,
            acknowledged,
        )
    if datagram.protocol == _UDP:
        if len(data) < 8:
            raise ValueError("cut off in the UDP header")
        source, destination, length = struct.unpack_from("!HHH", data)
        if length and not 8 <= length <= len(data) + datagram.missing:
            raise ValueError("the UDP length is not that of the packet")
        payload = data[8 : length or None]
        return Packet(
            at,
            "udp",
            _address(datagram.source, source),
            _address(datagram.destination, destination),
            payload,
            max(0, length - 8 - len(payload)) if length else datagram.missing,
        )
    return None


@lru_cache(maxsize=16_384)
def _address(host: bytes, port: int) -> Address:
    return Address(str(ip_address(host)), port)
