"""Is a memberlist packet or stream sealed, or can anybody read it?

*Plaintext* parses as a memberlist message. *Sealed* is what one of the given keys opens: the seal is authenticated
(AES-GCM), so this can't be a mistake. Without keys the shape of a sealed frame is all that can be seen, and random
bytes have it too: that is *unopened*. What is none of these is *unknown*, which proves nothing.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.memberlist import lzw
from meshnode.gossip.memberlist.keyring import SEALED_OVERHEAD, Keyring

__all__ = ["MAX_EXPANDED_BYTES", "GossipView", "view_packet", "view_stream"]

_COMPOUND, _USER, _COMPRESS, _ENCRYPT, _CRC, _LABEL = 7, 8, 9, 10, 12, 244
_NAMES: Final = {
    0: "ping",
    1: "indirect ping",
    2: "ack",
    3: "suspect",
    4: "alive",
    5: "dead",
    6: "push/pull",
    7: "compound",
    8: "user",
    9: "compressed",
    11: "nack",
    12: "crc",
    13: "error",
}
#: Fields that memberlist's messages have; each message has one of them at least.
_FIELDS: Final = frozenset(
    (
        b"SeqNo",
        b"Node",
        b"Target",
        b"Incarnation",
        b"Payload",
        b"Nodes",
        b"Algo",
        b"Buf",
        b"Error",
        b"UserMsgLen",
    )
)
#: Serf's message types, the byte that a user message of Serf begins with.
_MAX_SERF_TYPE: Final = 10
_BLOCK_BYTES: Final = 16
_MAX_SEALED_VERSION: Final = 1
#: Type byte and length, which are the additional data of a sealed stream.
_STREAM_HEADER_BYTES: Final = 5
#: Most that a compressed message is expanded to; longer ones are recognised and not searched.
MAX_EXPANDED_BYTES: Final = 4 * 1024 * 1024
#: Wrappers inside wrappers that are followed; memberlist writes at most two, and a CRC.
MAX_NESTING: Final = 4


@dataclass(frozen=True, slots=True)
class GossipView:
    """``kind`` is plaintext, sealed, unopened or unknown.

    ``content`` is what a reader gets out of it beyond the bytes themselves: the opened text of a sealed frame, and
    what was compressed.
    """

    kind: str
    detail: str
    content: tuple[bytes, ...] = ()


def view_packet(data: bytes, keyring: Keyring) -> GossipView:
    """Judge one UDP payload."""
    label, data = split_label(data)
    if not data:
        return GossipView("unknown", "empty")
    # What a key opens is sealed, whatever it looks like; the first bytes of a seal are random.
    view = _view_sealed(data, keyring, (label,))
    if view.kind != "sealed" and _is_message(data):
        return GossipView("plaintext", f"memberlist {_NAMES[data[0]]}", tuple(_expanded(data)))
    return view


def view_stream(
    data: bytes, keyring: Keyring, labels: Iterable[bytes] = (), *, whole: bool = True
) -> GossipView:
    """Judge one direction of a TCP stream from its first byte on.

    The side that answers seals with the label of the side that dialled and doesn't send it: ``labels`` are those
    known from elsewhere. ``whole`` says that ``data`` is all that the stream carried.
    """
    label, data = split_label(data)
    if len(data) >= _STREAM_HEADER_BYTES and data[0] == _ENCRYPT:
        length = int.from_bytes(data[1:5], "big")
        header, sealed = data[:_STREAM_HEADER_BYTES], data[_STREAM_HEADER_BYTES:]
        if len(sealed) < length:
            return GossipView("unknown", "the start of a sealed frame that is not here as a whole")
        if len(sealed) > length or not whole:
            return GossipView("unknown", "a sealed frame with more behind it")
        known = (label,) if label else (b"", *labels)
        return _view_sealed(sealed, keyring, tuple(header + one for one in known))
    if data and _is_stream_message(data):
        return GossipView("plaintext", f"memberlist {_NAMES[data[0]]} stream", tuple(_expanded(data)))
    return GossipView("unknown", f"no memberlist stream starts with byte {data[0]}" if data else "empty")


def split_label(data: bytes) -> tuple[bytes, bytes]:
    """Label and the rest; the label is empty when there is no label header."""
    if len(data) > 2 and data[0] == _LABEL and 0 < data[1] <= len(data) - 2:
        return data[2 : 2 + data[1]], data[2 + data[1] :]
    return b"", data


def _view_sealed(data: bytes, keyring: Keyring, additional: tuple[bytes, ...]) -> GossipView:
    if len(data) <= SEALED_OVERHEAD or data[0] > _MAX_SEALED_VERSION:
        return GossipView("unknown", "neither a message nor a sealed frame")
    if data[0] == 0 and (len(data) - SEALED_OVERHEAD) % _BLOCK_BYTES:
        return GossipView("unknown", "sealed frame of version 0 that is not padded to blocks")
    if not keyring:
        return GossipView("unopened", f"the shape of a sealed frame, version {data[0]}; no key to open it")
    for one in additional:
        try:
            plain = keyring.open(data, one)
        except RemoteProtocolError:
            continue
        return GossipView("sealed", "AES-GCM, opened with a key of the ring", (plain, *_expanded(plain)))
    return GossipView("unknown", "no given key opens it")


def _is_stream_message(data: bytes) -> bool:
    if data[0] == _USER:
        fields = _first_map(data[1:])
        return fields is not None and b"UserMsgLen" in fields
    return data[0] not in (_COMPOUND, _CRC) and _is_message(data)


def _is_message(data: bytes, nesting: int = 0) -> bool:
    if not data or data[0] not in _NAMES or nesting > MAX_NESTING:
        return False
    kind, body = data[0], data[1:]
    if kind == _CRC:
        return len(body) > 4 and binascii.crc32(body[4:]) == int.from_bytes(body[:4], "big")
    if kind == _COMPOUND:
        parts = _compound_parts(body)
        return bool(parts) and _is_message(parts[0], nesting + 1)
    if kind == _USER:
        # Serf's own type byte comes first; other applications may put anything here.
        return len(body) > 1 and body[0] <= _MAX_SERF_TYPE and _first_map(body[1:]) is not None
    fields = _first_map(body)
    # A seal of version 1 has the first byte of an indirect ping, and its random bytes are a map once in 25 000.
    return fields is not None and not _FIELDS.isdisjoint(fields)


def _compound_parts(body: bytes) -> list[bytes]:
    """The parts of a compound message; none when its lengths don't fit."""
    if not body or body[0] == 0 or len(body) < 1 + 2 * body[0]:
        return []
    count, position, parts = body[0], 1 + 2 * body[0], []
    for i in range(count):
        length = int.from_bytes(body[1 + 2 * i : 3 + 2 * i], "big")
        parts.append(body[position : position + length])
        position += length
    return parts if position == len(body) else []


def _expanded(data: bytes, nesting: int = 0) -> list[bytes]:
    """What is compressed in a message, expanded, wherever it is wrapped."""
    if not data or nesting > MAX_NESTING:
        return []
    if data[0] == _CRC:
        return _expanded(data[5:], nesting + 1)
    if data[0] == _COMPOUND:
        return [text for part in _compound_parts(data[1:]) for text in _expanded(part, nesting + 1)]
    if data[0] != _COMPRESS:
        return []
    packed = (_first_map(data[1:]) or {}).get(b"Buf")
    if not isinstance(packed, bytes):
        return []
    try:
        text = lzw.decompress(packed, MAX_EXPANDED_BYTES)
    except RemoteProtocolError:
        return []
    return [text, *_expanded(text, nesting + 1)]


def _first_map(data: bytes) -> dict[Any, Any] | None:
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    try:
        value = unpacker.unpack()
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError):
        return None
    return value if isinstance(value, dict) and value else None
