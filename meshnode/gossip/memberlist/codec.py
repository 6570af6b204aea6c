"""Messages to bytes and back: a type byte, then a msgpack map with go-msgpack's field names in sorted order.

The dialect is the old one (no bin or str8 types): strings and bytes both travel as raw. An absent or nil field is the
zero value, unknown fields and trailing bytes are ignored, as go-msgpack does. Every other deviation is a
:class:`RemoteProtocolError`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgpack

from meshnode.base.errors import LocalProtocolError, RemoteProtocolError
from meshnode.gossip.memberlist.messages import (
    MAX_INCARNATION,
    MAX_META_BYTES,
    MAX_NAME_BYTES,
    Ack,
    Alive,
    Dead,
    ErrorReply,
    IndirectPing,
    Message,
    MessageType,
    Nack,
    NodeState,
    Ping,
    State,
    Suspect,
    UserMessage,
    Versions,
)

__all__ = [
    "Fields",
    "decode_message",
    "encode_message",
    "ip_bytes",
    "ip_text",
    "node_state_fields",
    "pack",
    "parse_message",
    "parse_node_state",
    "read_bool",
    "read_bytes",
    "read_number",
    "unpack_map",
]

#: Claims about nodes arrive many times over (each from several peers), pings and acks once.
CLAIM_CACHE_SIZE = 8192
MAX_U32 = 2**32 - 1
MAX_U16 = 2**16 - 1
MAX_ERROR_BYTES = 1024
"""Longest error text of a peer that we keep."""

Fields = dict[Any, Any]
"""A decoded msgpack map; keys and strings are bytes."""

_STATES = tuple(State)
_LAST_STATE = len(_STATES) - 1

_packer = msgpack.Packer(use_bin_type=False)
pack: Callable[[object], bytes] = _packer.pack
"""One object to msgpack. The packer is shared: making one costs more than using it."""


@lru_cache(maxsize=16384)
def ip_text(addr: bytes) -> str:
    """4 or 16 bytes to text; an IPv4 address mapped into IPv6 becomes IPv4, as Go prints it."""
    if len(addr) not in (4, 16):
        raise RemoteProtocolError(f"an address of {len(addr)} bytes: 4 or 16 expected")
    parsed = ipaddress.ip_address(addr)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


@lru_cache(maxsize=16384)
def ip_bytes(host: str) -> bytes:
    """Text to 4 or 16 bytes."""
    return ipaddress.ip_address(host).packed


# ---- reading -----------------------------------------------------------------------------------------------------


def unpack_map(body: bytes) -> Fields:
    """Read one msgpack map from the front of ``body``."""
    try:
        value = msgpack.unpackb(body, raw=True)
    except msgpack.ExtraData as extra:
        value = extra.unpacked
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise RemoteProtocolError(f"not msgpack: {error or type(error).__name__}") from None
    if type(value) is not dict:
        raise RemoteProtocolError(f"a msgpack map expected, {type(value).__name__} found")
    return value


def read_number(fields: Fields, key: bytes, limit: int = MAX_U32) -> int:
    """A number from 0 to ``limit``; 0 when absent."""
    value = fields.get(key, 0)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= limit:
        raise RemoteProtocolError(f"{key.decode()} must be a number from 0 to {limit}")
    return value


def read_bool(fields: Fields, key: bytes) -> bool:
    """A truth value; false when absent."""
    value = fields.get(key, False)
    if value is not None and type(value) is not bool:
        raise RemoteProtocolError(f"{key.decode()} must be true or false")
    return bool(value)


def read_bytes(fields: Fields, key: bytes, limit: int | None = None) -> bytes:
    """Bytes, at most ``limit``; empty when absent."""
    value = fields.get(key, b"")
    if value is None:
        return b""
    if type(value) is not bytes:
        raise RemoteProtocolError(f"{key.decode()} must be bytes")
    if limit is not None and len(value) > limit:
        raise RemoteProtocolError(f"{key.decode()} has {len(value)} bytes: at most {limit} are allowed")
    return value


def _name(fields: Fields, key: bytes, *, required: bool = True) -> str:
    value = read_bytes(fields, key, MAX_NAME_BYTES)
    if required and not value:
        raise RemoteProtocolError(f"{key.decode()} is missing")
    try:
        name = value.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError(f"{key.decode()} is not UTF-8") from None
    if not name.isprintable():
        raise RemoteProtocolError(f"{key.decode()} holds characters that can't be shown")
    return name


def _addr(fields: Fields, key: bytes, *, required: bool = True) -> bytes:
    value = read_bytes(fields, key)
    if len(value) not in (4, 16) and (required or value):
        raise RemoteProtocolError(f"{key.decode()} has {len(value)} bytes: an IP address has 4 or 16")
    return value


def _versions(fields: Fields) -> Versions | None:
    value = fields.get(b"Vsn")
    if not value:
        return None
    if type(value) is list and all(type(item) is int and 0 <= item <= 255 for item in value):
        value = bytes(value)
    if type(value) is not bytes:
        raise RemoteProtocolError("Vsn must be a list of versions")
    return None if len(value) < 6 else (value[0], value[1], value[2], value[3], value[4], value[5])


def _ping(fields: Fields) -> Ping:
    return Ping(
        read_number(fields, b"SeqNo"),
        _name(fields, b"Node", required=False),
        _addr(fields, b"SourceAddr", required=False),
        read_number(fields, b"SourcePort", MAX_U16),
        _name(fields, b"SourceNode", required=False),
    )


def _indirect_ping(fields: Fields) -> IndirectPing:
    return IndirectPing(
        read_number(fields, b"SeqNo"),
        _addr(fields, b"Target"),
        read_number(fields, b"Port", MAX_U16),
        _name(fields, b"Node", required=False),
        read_bool(fields, b"Nack"),
        _addr(fields, b"SourceAddr", required=False),
        read_number(fields, b"SourcePort", MAX_U16),
        _name(fields, b"SourceNode", required=False),
    )


def _ack(fields: Fields) -> Ack:
    return Ack(read_number(fields, b"SeqNo"), read_bytes(fields, b"Payload"))


def _nack(fields: Fields) -> Nack:
    return Nack(read_number(fields, b"SeqNo"))


def _suspect(fields: Fields) -> Suspect:
    return Suspect(_incarnation(fields), _name(fields, b"Node"), _name(fields, b"From"))


def _dead(fields: Fields) -> Dead:
    return Dead(_incarnation(fields), _name(fields, b"Node"), _name(fields, b"From"))


def _incarnation(fields: Fields) -> int:
    return read_number(fields, b"Incarnation", MAX_INCARNATION)


def _alive(fields: Fields) -> Alive:
    return Alive(
        _incarnation(fields),
        _name(fields, b"Node"),
        _addr(fields, b"Addr"),
        read_number(fields, b"Port", MAX_U16),
        read_bytes(fields, b"Meta", MAX_META_BYTES),
        _versions(fields),
    )


def _error(fields: Fields) -> ErrorReply:
    text = read_bytes(fields, b"Error")[:MAX_ERROR_BYTES].decode(errors="replace")
    return ErrorReply("".join(char if char.isprintable() else " " for char in text))


def parse_node_state(fields: Fields) -> NodeState:
    """Read one node of a push/pull; ``fields`` is what msgpack gave for it."""
    if type(fields) is not dict:
        raise RemoteProtocolError("a push/pull node must be a msgpack map")
    state = read_number(fields, b"State", _LAST_STATE)
    return NodeState(
        _name(fields, b"Name"),
        _addr(fields, b"Addr"),
        read_number(fields, b"Port", MAX_U16),
        read_bytes(fields, b"Meta", MAX_META_BYTES),
        _incarnation(fields),
        _STATES[state],
        _versions(fields),
    )


_READERS: dict[int, Callable[[Fields], Message]] = {
    MessageType.PING: _ping,
    MessageType.INDIRECT_PING: _indirect_ping,
    MessageType.ACK: _ack,
    MessageType.NACK: _nack,
    MessageType.ERROR: _error,
    MessageType.SUSPECT: _suspect,
    MessageType.ALIVE: _alive,
    MessageType.DEAD: _dead,
}
_CLAIMS = frozenset((MessageType.SUSPECT, MessageType.ALIVE, MessageType.DEAD))
_USER = int(MessageType.USER)


def decode_message(data: bytes) -> Message:
    """Read one message (type byte included). Raises :class:`RemoteProtocolError`."""
    if not data:
        raise RemoteProtocolError("an empty message")
    kind = data[0]
    if kind in _CLAIMS:
        return _decode_claim(data)
    if kind == _USER:
        return UserMessage(data[1:])
    return parse_message(kind, unpack_map(data[1:]))


def parse_message(kind: int, fields: Fields) -> Message:
    """Read a message of type ``kind`` from its map. Raises :class:`RemoteProtocolError`."""
    reader = _READERS.get(kind)
    if reader is None:
        raise RemoteProtocolError(f"message type {kind} is unknown or does not belong here")
    return reader(fields)


@lru_cache(maxsize=CLAIM_CACHE_SIZE)
def _decode_claim(data: bytes) -> Message:
    return _READERS[data[0]](unpack_map(data[1:]))


# ---- writing -----------------------------------------------------------------------------------------------------


def encode_message(message: Message) -> bytes:
    """Write one message, type byte included."""
    match message:
        case Ping():
            fields: dict[str, object] = {"Node": message.node, "SeqNo": message.seq_no, **_source(message)}
            return b"\x00" + pack(fields)
        case Ack():
            return b"\x02" + pack({"Payload": message.payload or None, "SeqNo": message.seq_no})
        case Suspect():
            return b"\x03" + pack(_accusation(message))
        case Dead():
            return b"\x05" + pack(_accusation(message))
        case Alive():
            return b"\x04" + pack(
                {
                    "Addr": message.addr,
                    "Incarnation": message.incarnation,
                    "Meta": message.meta or None,
                    "Node": message.node,
                    "Port": message.port,
                    "Vsn": bytes(message.versions) if message.versions else None,
                }
            )
        case IndirectPing():
            head = {"Nack": message.nack, "Node": message.node, "Port": message.port, "SeqNo": message.seq_no}
            return b"\x01" + pack({**head, **_source(message), "Target": message.target})
        case Nack():
            return b"\x0b" + pack({"SeqNo": message.seq_no})
        case UserMessage():
            return b"\x08" + message.body
        case ErrorReply():
            return b"\x0d" + pack({"Error": message.error})
    raise LocalProtocolError(f"{type(message).__name__} is no message of one packet")


def _accusation(message: Suspect | Dead) -> dict[str, object]:
    return {"From": message.accuser, "Incarnation": message.incarnation, "Node": message.node}


def _source(message: Ping | IndirectPing) -> dict[str, object]:
    if not message.source_addr:
        return {}
    return {
        "SourceAddr": message.source_addr,
        "SourceNode": message.source_node,
        "SourcePort": message.source_port,
    }


def node_state_fields(node: NodeState) -> dict[str, object]:
    """The map that msgpack writes for one node of a push/pull."""
    return {
        "Addr": node.addr,
        "Incarnation": node.incarnation,
        "Meta": node.meta or None,
        "Name": node.name,
        "Port": node.port,
        "State": int(node.state),
        "Vsn": bytes(node.versions) if node.versions else None,
    }
