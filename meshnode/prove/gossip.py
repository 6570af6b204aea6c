"""Is a memberlist packet or stream sealed, or can anybody read it?

A packet is *plaintext* when it parses as a memberlist message; *sealed* when it has the shape of an AES-GCM
frame and, if keys were given, one of them opens it. What is neither is *unknown*, which proves nothing.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["GossipView", "view_packet", "view_stream"]

_PING, _COMPOUND, _USER, _COMPRESS, _ENCRYPT, _CRC, _LABEL = 0, 7, 8, 9, 10, 12, 244
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
_NONCE_BYTES, _TAG_BYTES, _BLOCK_BYTES = 12, 16, 16
#: Version byte, nonce and tag around at least one byte of text.
_MIN_SEALED_BYTES: Final = 1 + _NONCE_BYTES + _TAG_BYTES + 1
#: Type byte and length, which are the additional data of a sealed stream.
_STREAM_HEADER_BYTES: Final = 5


@dataclass(frozen=True, slots=True)
class GossipView:
    """``kind`` is plaintext, sealed or unknown; ``authenticated`` is ``None`` when no key was given to check."""

    kind: str
    detail: str
    authenticated: bool | None = None


def view_packet(data: bytes, keys: Sequence[bytes] = ()) -> GossipView:
    """Judge one UDP payload."""
    label, data = _split_label(data)
    if not data:
        return GossipView("unknown", "empty")
    if _is_message(data):
        return GossipView("plaintext", f"memberlist {_NAMES[data[0]]}")
    return _view_sealed(data, keys, label)


def view_stream(data: bytes, keys: Sequence[bytes] = ()) -> GossipView:
    """Judge one direction of a TCP stream from its first byte on."""
    label, data = _split_label(data)
    if len(data) >= _STREAM_HEADER_BYTES and data[0] == _ENCRYPT:
        length = int.from_bytes(data[1:5], "big")
        sealed = data[_STREAM_HEADER_BYTES : _STREAM_HEADER_BYTES + length]
        if len(sealed) < length and keys:
            return GossipView("unknown", "sealed frame that was not captured whole")
        return _view_sealed(sealed, keys, data[:_STREAM_HEADER_BYTES] + label)
    if data and _is_message(data):
        return GossipView("plaintext", f"memberlist {_NAMES[data[0]]} stream")
    return GossipView("unknown", f"no memberlist stream starts with byte {data[0]}" if data else "empty")


def _split_label(data: bytes) -> tuple[bytes, bytes]:
    if len(data) > 2 and data[0] == _LABEL and 0 < data[1] <= len(data) - 2:
        return data[2 : 2 + data[1]], data[2 + data[1] :]
    return b"", data


def _view_sealed(data: bytes, keys: Sequence[bytes], additional: bytes) -> GossipView:
    if len(data) < _MIN_SEALED_BYTES or data[0] > 1:
        return GossipView("unknown", "neither a message nor a sealed frame")
    if data[0] == 0 and (len(data) - 1 - _NONCE_BYTES - _TAG_BYTES) % _BLOCK_BYTES:
        return GossipView("unknown", "sealed frame of version 0 that is not padded to blocks")
    detail = f"AES-GCM, frame version {data[0]}"
    if not keys:
        return GossipView("sealed", detail + ", not checked: no key given")
    nonce, text = data[1 : 1 + _NONCE_BYTES], data[1 + _NONCE_BYTES :]
    for key in keys:
        try:
            AESGCM(key).decrypt(nonce, text, additional)
        except InvalidTag:
            continue
        return GossipView("sealed", f"{detail}, AES-{len(key) * 8}", authenticated=True)
    return GossipView("unknown", "no given key opens it", authenticated=False)


def _is_message(data: bytes) -> bool:
    kind, body = data[0], data[1:]
    if kind not in _NAMES:
        return False
    if kind == _CRC:
        return len(body) > 4 and binascii.crc32(body[4:]) == int.from_bytes(body[:4], "big")
    if kind == _COMPOUND:
        return _is_compound(body)
    if kind == _USER:
        # Serf's own type byte comes first; other applications may put anything here.
        return len(body) > 1 and body[0] <= 10 and _first_map(body[1:]) is not None
    fields = _first_map(body)
    return fields is not None and all(isinstance(name, bytes) and name[:1].isupper() for name in fields)


def _is_compound(body: bytes) -> bool:
    if not body or len(body) < 1 + 2 * body[0] or body[0] == 0:
        return False
    count = body[0]
    lengths = [int.from_bytes(body[1 + 2 * i : 3 + 2 * i], "big") for i in range(count)]
    return sum(lengths) == len(body) - 1 - 2 * count


def _first_map(data: bytes) -> dict[Any, Any] | None:
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    try:
        value = unpacker.unpack()
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError):
        return None
    return value if isinstance(value, dict) and value else None
