"""What wraps messages in a datagram, from the outside in: label, seal, CRC-32, compression, compound.

label     244, length u8, label                          authenticated by the seal when there is one
sealed    version u8, nonce 12, ciphertext, tag 16       :mod:`meshnode.gossip.memberlist.keyring`
crc       12, CRC-32 u32 of the rest                     towards peers of protocol 5, when not sealed
compress  9, {Algo: 0, Buf: LZW of a message}            read always, written when configured
compound  7, count u8, count lengths u16, the messages
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.memberlist import lzw
from meshnode.gossip.memberlist.codec import Fields, pack, read_bytes, read_number, unpack_map
from meshnode.gossip.memberlist.keyring import Keyring, NoKeyFitsError
from meshnode.gossip.memberlist.messages import MessageType

__all__ = [
    "COMPOUND_OVERHEAD",
    "MAX_COMPOUND_PARTS",
    "MAX_PACKET_BYTES",
    "PART_OVERHEAD",
    "PacketRefusedError",
    "Refusal",
    "add_crc",
    "add_label",
    "compress",
    "decompress",
    "join_compound",
    "label_overhead",
    "open_packet",
    "split_label",
    "split_messages",
]

COMPOUND_OVERHEAD = 2
PART_OVERHEAD = 2
MAX_COMPOUND_PARTS = 255
MAX_PACKET_BYTES = 65_536
"""Most that one datagram may hold, before and after decompression (UDP's own limit)."""
MAX_NESTING = 3
"""Wrappers inside wrappers that we follow; Go writes at most two (compressed compound)."""

_CRC, _COMPOUND, _COMPRESS = int(MessageType.HAS_CRC), int(MessageType.COMPOUND), int(MessageType.COMPRESS)
_LABEL = int(MessageType.HAS_LABEL)
_ALGO_LZW = 0


class Refusal(StrEnum):
    """Why a packet or stream was refused; also the names of the counters."""

    LABEL = "label"
    KEY = "key"
    PLAINTEXT = "plaintext"
    SEALED = "sealed"
    CHECKSUM = "checksum"
    MALFORMED = "malformed"


class PacketRefusedError(RemoteProtocolError):
    """A packet that we don't use, and why."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


# ---- label -------------------------------------------------------------------------------------------------------


def label_overhead(label: str) -> int:
    """Bytes that a label adds to a packet."""
    return 2 + len(label.encode()) if label else 0


def add_label(data: bytes, label: bytes) -> bytes:
    """Prefix ``data`` with the header of ``label``, if there is one (at most 255 bytes)."""
    return b"%c%c%b%b" % (_LABEL, len(label), label, data) if label else data


def split_label(data: bytes) -> tuple[bytes, bytes]:
    """Take the label header off: (label, the rest); the label is empty when there is no header."""
    if not data or data[0] != _LABEL:
        return b"", data
    if len(data) < 2 or len(data) < 2 + data[1]:
        raise PacketRefusedError(Refusal.MALFORMED, "its label is cut off")
    if data[1] == 0:
        raise PacketRefusedError(Refusal.MALFORMED, "its label header holds no label")
    return data[2 : 2 + data[1]], data[2 + data[1] :]


def check_label(found: bytes, wanted: bytes) -> None:
    """Refuse another label than ours."""
    if found != wanted:
        theirs, ours = (value.decode(errors="replace") if value else "none" for value in (found, wanted))
        raise PacketRefusedError(
            Refusal.LABEL, f"its gossip label is {theirs!r} and ours is {ours!r}: set the same on both"
        )


# ---- seal, crc ---------------------------------------------------------------------------------------------------


def open_packet(data: bytes, label: bytes, keyring: Keyring | None, verify_incoming: bool) -> bytes:
    """Undo label, seal and CRC of a datagram; raises :class:`PacketRefusedError`.

    With a key and ``verify_incoming`` only sealed packets pass; without ``verify_incoming`` plaintext passes too.
    """
    if len(data) > MAX_PACKET_BYTES:
        raise PacketRefusedError(
            Refusal.MALFORMED, f"it has {len(data)} bytes: at most {MAX_PACKET_BYTES} are allowed"
        )
    if label or (data and data[0] == _LABEL):
        found, data = split_label(data)
        check_label(found, label)
    if keyring:
        try:
            data = keyring.open(data, label)
        except RemoteProtocolError as error:
            if verify_incoming:
                raise _sealing_refusal(data, error) from None
    if data and data[0] == _CRC and len(data) >= 5:
        if zlib.crc32(data[5:]) != int.from_bytes(data[1:5], "big"):
            raise PacketRefusedError(Refusal.CHECKSUM, "its checksum is wrong")
        data = data[5:]
    if not data:
        raise PacketRefusedError(Refusal.MALFORMED, "it is empty")
    return data


def _sealing_refusal(data: bytes, error: RemoteProtocolError) -> PacketRefusedError:
    if looks_plain(data):
        return PacketRefusedError(Refusal.PLAINTEXT, "it is not encrypted and encryption is required here")
    if isinstance(error, NoKeyFitsError):
        return PacketRefusedError(Refusal.KEY, str(error))
    return PacketRefusedError(Refusal.MALFORMED, str(error))


def looks_plain(data: bytes) -> bool:
    """Whether refused bytes look like an unsealed message: for the diagnosis only, never for a decision."""
    if not data or data[0] > MessageType.ERROR:
        return False
    return data[0] > 1 or b"SeqNo" in data[:64]


def add_crc(data: bytes) -> bytes:
    """Prefix ``data`` with its CRC-32."""
    return b"%c%b%b" % (_CRC, zlib.crc32(data).to_bytes(4, "big"), data)


# ---- compression -------------------------------------------------------------------------------------------------


def compress(data: bytes) -> bytes:
    """Wrap messages in a compress message."""
    return b"%c%b" % (_COMPRESS, pack({"Algo": _ALGO_LZW, "Buf": lzw.compress(data)}))


def decompress(fields: Fields, limit: int) -> bytes:
    """Expand the map of a compress message; the result has at most ``limit`` bytes, and at least one."""
    if read_number(fields, b"Algo") != _ALGO_LZW:
        raise RemoteProtocolError("its compression algorithm is unknown")
    plain = lzw.decompress(read_bytes(fields, b"Buf"), limit)
    if not plain:
        raise RemoteProtocolError("a compressed message is empty")
    return plain


# ---- compound ----------------------------------------------------------------------------------------------------


def join_compound(messages: Sequence[bytes]) -> bytes:
    """Pack 1 to 255 messages into one."""
    return b"%c%c%b%b" % (
        _COMPOUND,
        len(messages),
        _lengths(len(messages)).pack(*map(len, messages)),
        b"".join(messages),
    )


@lru_cache(maxsize=MAX_COMPOUND_PARTS + 1)
def _lengths(count: int) -> struct.Struct:
    return struct.Struct(f">{count}H")


def split_messages(data: bytes, nesting: int = 0) -> list[bytes]:
    """The single messages in an opened packet, in order.

    A compound message that is cut off gives the messages that are whole, as memberlist does.
    """
    kind = data[0] if data else -1
    if kind not in (_COMPOUND, _COMPRESS):
        return [data]
    if nesting == MAX_NESTING:
        raise RemoteProtocolError(f"messages are wrapped more than {MAX_NESTING} times")
    if kind == _COMPRESS:
        return split_messages(decompress(unpack_map(data[1:]), MAX_PACKET_BYTES), nesting + 1)
    if len(data) < 2 or len(data) < 2 + 2 * data[1]:
        raise RemoteProtocolError("a compound message is cut off in its table of lengths")
    count = data[1]
    start = 2 + 2 * count
    parts: list[bytes] = []
    for length in _lengths(count).unpack_from(data, 2):
        end = start + length
        if end > len(data):
            break
        part = data[start:end]
        if part and part[0] in (_COMPOUND, _COMPRESS):
            parts.extend(split_messages(part, nesting + 1))
        else:
            parts.append(part)
        start = end
    return parts
