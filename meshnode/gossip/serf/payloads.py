"""Payloads of Serf's internal queries (``_serf_*``): key requests, key answers and conflict answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from meshnode.base.address import Address
from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.serf.messages import MessageType, pack_ip, parse_ip
from meshnode.gossip.serf.wire import pack, unpack_map, unpack_value

__all__ = [
    "INTERNAL_QUERY_PREFIX",
    "InternalQuery",
    "KeyAnswer",
    "parse_conflict_answer",
    "parse_key_answer",
    "parse_key_request",
    "serialize_conflict_answer",
    "serialize_key_answer",
    "serialize_key_request",
]

INTERNAL_QUERY_PREFIX = "_serf_"


class InternalQuery(StrEnum):
    """Names of the queries that Serf answers itself."""

    PING = "_serf_ping"
    CONFLICT = "_serf_conflict"
    INSTALL_KEY = "_serf_install-key"
    USE_KEY = "_serf_use-key"
    REMOVE_KEY = "_serf_remove-key"
    LIST_KEYS = "_serf_list-keys"


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """What one node says to a key request; ``keys`` and ``primary`` (base64) only answer a listing."""

    result: bool
    message: str = ""
    keys: tuple[str, ...] = ()
    primary: str = ""


def serialize_key_request(key: bytes | None) -> bytes:
    """Payload of the four key queries; a listing carries no key."""
    return bytes([MessageType.KEY_REQUEST]) + pack({"Key": key or b""})


def parse_key_request(payload: bytes) -> bytes:
    """The key that a request is about, empty for a listing."""
    return unpack_map(_unframed(payload, MessageType.KEY_REQUEST), "key request").data("Key")


def serialize_key_answer(answer: KeyAnswer) -> bytes:
    """Payload of the response to a key query."""
    body = {
        "Keys": list(answer.keys) or None,
        "Message": answer.message,
        "PrimaryKey": answer.primary,
        "Result": answer.result,
    }
    return bytes([MessageType.KEY_RESPONSE]) + pack(body)


def parse_key_answer(payload: bytes) -> KeyAnswer:
    """Read one node's response to a key query (Serf before 0.9 has no ``PrimaryKey``)."""
    fields = unpack_map(_unframed(payload, MessageType.KEY_RESPONSE), "key response")
    return KeyAnswer(
        fields.flag("Result"), fields.text("Message"), fields.texts("Keys"), fields.text("PrimaryKey")
    )


def serialize_conflict_answer(
    name: str, address: Address | None, tags: dict[str, str], status: int, versions: Sequence[int]
) -> bytes:
    """What we believe about the member ``name``; a nil body when ``address`` is None: we don't know it."""
    kind = bytes([MessageType.CONFLICT_RESPONSE])
    if address is None:
        return kind + pack(None)
    protocol_min, protocol_max, protocol, delegate_min, delegate_max, delegate = versions
    body = {
        "Addr": pack_ip(address.host),
        "DelegateCur": delegate,
        "DelegateMax": delegate_max,
        "DelegateMin": delegate_min,
        "Name": name,
        "Port": address.port,
        "ProtocolCur": protocol,
        "ProtocolMax": protocol_max,
        "ProtocolMin": protocol_min,
        "Status": status,
        "Tags": dict(sorted(tags.items())),
    }
    return kind + pack(body)


def parse_conflict_answer(payload: bytes) -> Address | None:
    """Where a node believes the disputed member to be; ``None`` when it doesn't know it."""
    body = _unframed(payload, MessageType.CONFLICT_RESPONSE)
    if unpack_value(body)[0] is None:
        return None
    fields = unpack_map(body, "conflict response")
    return Address(parse_ip(fields.data("Addr")), fields.uint("Port", 65535))


def _unframed(payload: bytes, kind: MessageType) -> bytes:
    if not payload or payload[0] != kind:
        raise RemoteProtocolError(f"payload has type {payload[:1].hex() or 'nothing'} instead of {kind:02x}")
    return payload[1:]
