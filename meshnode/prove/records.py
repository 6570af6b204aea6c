"""Records of a capture file: classic pcap in its four forms, and pcapng with any number of sections and interfaces.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. Our own reader and not dpkt's, which takes every frame of
a pcapng file for one of its first interface, skips simple packet blocks and forgets how long a frame was on the wire.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final, NamedTuple

from meshnode.base.errors import MeshError

__all__ = ["MAX_BLOCK_BYTES", "MAX_FRAME_BYTES", "Record", "RecordReader"]

#: Longest frame that is read (libpcap's MAXIMUM_SNAPLEN).
MAX_FRAME_BYTES: Final = 262_144
#: Longest pcapng block that is read; the longest real ones hold a frame and its options.
MAX_BLOCK_BYTES: Final = 1 << 20
#: Most interfaces of one pcapng section.
MAX_INTERFACES: Final = 4096

_PCAP_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_SECTION_MAGIC: Final = _SECTION.to_bytes(4, "big")
_BYTE_ORDER: Final = 0x1A2B3C4D
_TIME_RESOLUTION, _TIME_OFFSET, _USER_APPLICATION = 9, 14, 4
#: As much of a program's name is kept.
MAX_PROGRAM_BYTES: Final = 64
_MIN_BLOCK_BYTES: Final = 12


class Record(NamedTuple):
    """One captured frame. ``at`` is seconds since the epoch; ``length`` is the frame's on the wire, in bytes."""

    at: float
    link_type: int
    data: bytes
    length: int


@dataclass(frozen=True, slots=True)
class _Interface:
    link_type: int
    snap_length: int
    resolution: float
    offset: int


@dataclass(slots=True)
class RecordReader:
    """Reads the records of ``file``; ``cut`` is true afterwards when it ended within a record, or in damage.

    ``program`` is what the last section of a pcapng file says that wrote it, or empty text.
    """

    file: BinaryIO
    name: str
    cut: bool = False
    program: str = ""
    _interfaces: list[_Interface] = field(default_factory=list)

    def records(self) -> Iterator[Record]:
        """Yield the records in file order; raises :class:`MeshError` when the file is no capture."""
        magic = self.file.read(4)
        if magic in _PCAP_MAGIC:
            yield from self._classic(*_PCAP_MAGIC[magic])
        elif magic == _SECTION_MAGIC:
            yield from self._blocks()
        elif not magic:
            raise MeshError(f"{self.name} is not a pcap or pcapng capture: it is empty")
        else:
            raise MeshError(f"{self.name} is not a pcap or pcapng capture: it starts with 0x{magic.hex()}")

    def _classic(self, order: str, resolution: float) -> Iterator[Record]:
        header = self.file.read(20)
        if len(header) < 20:
            raise MeshError(f"{self.name} is not a pcap or pcapng capture: its header is cut off")
        # The upper bits of the link type tell about checksums (FCS), not about the link.
        link_type = struct.unpack(order + "HHiIII", header)[5] & 0xFFFF
        unpack, read = struct.Struct(order + "IIII").unpack, self.file.read
        while head := read(16):
            if len(head) < 16:
                self.cut = True
                return
            seconds, fraction, kept, length = unpack(head)
            data = read(kept) if kept <= MAX_FRAME_BYTES else b""
            if len(data) < kept:
                self.cut = True
                return
            yield Record(seconds + fraction * resolution, link_type, data, length)

    def _blocks(self) -> Iterator[Record]:
        order, kind_bytes = "<", _SECTION_MAGIC
        while len(kind_bytes) == 4:
            length_bytes = self.file.read(4)
            if kind_bytes == _SECTION_MAGIC:
                order_bytes = self.file.read(4)
                order = "<" if order_bytes == struct.pack("<I", _BYTE_ORDER) else ">"
                if order_bytes != struct.pack(order + "I", _BYTE_ORDER):
                    self.cut = True
                    return
                self._interfaces.clear()
                read_already = 12
            else:
                read_already = 8
            body = self._body(order, length_bytes, read_already)
            if body is None:
                self.cut = True
                return
            record = self._block(order, struct.unpack(order + "I", kind_bytes)[0], body)
            if record is not None:
                yield record
            kind_bytes = self.file.read(4)
        self.cut = self.cut or bool(kind_bytes)

    def _body(self, order: str, length_bytes: bytes, read_already: int) -> bytes | None:
        """The rest of a block without the length that is repeated at its end; ``None`` when it isn't all there."""
        if len(length_bytes) < 4:
            return None
        length = struct.unpack(order + "I", length_bytes)[0]
        if length % 4 or not max(_MIN_BLOCK_BYTES, read_already + 4) <= length <= MAX_BLOCK_BYTES:
            return None
        body = self.file.read(length - read_already)
        if len(body) < length - read_already or body[-4:] != length_bytes:
            return None
        return body[:-4]

    def _block(self, order: str, kind: int, body: bytes) -> Record | None:
        if kind == _SECTION:
            self.program = _program(order, body)
        elif kind == _INTERFACE and len(body) >= 8 and len(self._interfaces) < MAX_INTERFACES:
            self._interfaces.append(_interface(order, body))
        elif kind == _ENHANCED_PACKET and len(body) >= 20:
            number, high, low, kept, length = struct.unpack_from(order + "IIIII", body)
            return self._record(number, high << 32 | low, body[20:], kept, length)
        elif kind == _OLD_PACKET and len(body) >= 20:
            number, _, high, low, kept, length = struct.unpack_from(order + "HHIIII", body)
            return self._record(number, high << 32 | low, body[20:], kept, length)
        elif kind == _SIMPLE_PACKET and len(body) >= 4:
            length = struct.unpack_from(order + "I", body)[0]
            snap = self._interfaces[0].snap_length if self._interfaces else 0
            return self._record(0, 0, body[4:], min(length, snap or length), length)
        return None

    def _record(self, number: int, ticks: int, data: bytes, kept: int, length: int) -> Record | None:
        if number >= len(self._interfaces) or kept > len(data):
            self.cut = True
            return None
        interface = self._interfaces[number]
        at = ticks * interface.resolution + interface.offset
        return Record(at, interface.link_type, data[:kept], length)


def _options(order: str, body: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    while position + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, position)
        if code == 0:
            return
        yield code, body[position + 4 : position + 4 + length]
        position += 4 + (length + 3) // 4 * 4


def _program(order: str, body: bytes) -> str:
    """Of a section's block behind its byte order: version and length come before the options."""
    found = (value for code, value in _options(order, body, 12) if code == _USER_APPLICATION)
    return next(found, b"")[:MAX_PROGRAM_BYTES].decode("ascii", "replace")


def _interface(order: str, body: bytes) -> _Interface:
    link_type, _, snap_length = struct.unpack_from(order + "HHI", body)
    resolution, offset = 1e-6, 0
    for code, value in _options(order, body, 8):
        if code == _TIME_RESOLUTION and len(value) == 1:
            exponent = value[0] & 0x7F
            resolution = 2.0**-exponent if value[0] & 0x80 else 10.0**-exponent
        elif code == _TIME_OFFSET and len(value) == 8:
            offset = struct.unpack(order + "q", value)[0]
    return _Interface(link_type, snap_length, resolution, offset)
