"""Is this a DNS message? A strict walk over a whole one (RFC 1035 4.1), so that other bytes are never taken for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DnsShape", "dns_message", "dns_stream"]

_HEADER_BYTES: Final = 12
#: Opcodes query, notify and update.
_OPCODES: Final = frozenset({0, 4, 5})
#: Classes IN, CH, HS, NONE, ANY; a multicast question has the top bit, too.
_CLASSES: Final = frozenset({1, 3, 4, 254, 255})
_OPT, _MAX_RECORDS, _MAX_LABEL, _MAX_NAME = 41, 64, 63, 255


@dataclass(frozen=True, slots=True)
class DnsShape:
    """``answer`` or a question; ``name`` is that of the question, lower case, in dots."""

    answer: bool
    name: bytes


def dns_message(data: bytes) -> DnsShape | None:
    """The message that ``data`` is from its first to its last byte; ``None`` when it is none."""
    if len(data) < _HEADER_BYTES:
        return None
    opcode, questions = (data[2] >> 3) & 0xF, int.from_bytes(data[4:6], "big")
    records = sum(int.from_bytes(data[at : at + 2], "big") for at in (6, 8, 10))
    if questions != 1 or records > _MAX_RECORDS or opcode not in _OPCODES or data[3] & 0x40:
        return None
    try:
        name, position = _name(data, _HEADER_BYTES)
        if int.from_bytes(data[position + 2 : position + 4], "big") & 0x7FFF not in _CLASSES:
            return None
        position += 4
        for _ in range(records):
            position = _record_end(data, position)
    except (ValueError, IndexError):
        return None
    return DnsShape(bool(data[2] & 0x80), name) if position == len(data) else None


def dns_stream(data: bytes) -> DnsShape | None:
    """The first message of a TCP stream, where each has its length in front (RFC 1035 4.2.2)."""
    length = int.from_bytes(data[:2], "big")
    return dns_message(data[2 : 2 + length]) if len(data) >= 2 + length else None


def _record_end(data: bytes, position: int) -> int:
    position = _name(data, position)[1]
    if len(data) < position + 10:
        raise ValueError("cut off")
    kind, group = (int.from_bytes(data[position + at : position + at + 2], "big") for at in (0, 2))
    if kind != _OPT and group & 0x7FFF not in _CLASSES:
        raise ValueError("no class")
    return position + 10 + int.from_bytes(data[position + 8 : position + 10], "big")


def _name(data: bytes, position: int) -> tuple[bytes, int]:
    """The name up to its end or to a pointer, which only may lead back, and where it ends."""
    labels: list[bytes] = []
    while (length := data[position]) != 0:
        if length >= 0xC0:
            if (length & 0x3F) << 8 | data[position + 1] >= position:
                raise ValueError("points forward")
            return b".".join(labels), position + 2
        if length > _MAX_LABEL or sum(map(len, labels)) + length > _MAX_NAME:
            raise ValueError("too long")
        labels.append(data[position + 1 : position + 1 + length].lower())
        position += 1 + length
    return b".".join(labels), position + 1
