"""Serf's messages (protocol 2 to 5): a type byte, then a msgpack map with Go's field names in sorted order.

A message travels as memberlist user data; push/pull state and query payloads use the same form. ``parse`` and
``serialize`` are inverse over the whole union ``Message``. Key and conflict messages, which only ever are
payloads of internal queries, are in :mod:`meshnode.gossip.serf.payloads`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any, assert_never

from meshnode.base.address import Address
from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.serf.lamport import MAX_LAMPORT_TIME
from meshnode.gossip.serf.wire import Fields, pack, unpack_map, unpack_value

__all__ = [
    "FilterType",
    "Join",
    "Leave",
    "Message",
    "MessageType",
    "PushPull",
    "Query",
    "QueryFlag",
    "QueryResponse",
    "Relay",
    "UserEvent",
    "UserEventsAt",
    "pack_ip",
    "parse",
    "parse_ip",
    "serialize",
]

_MAX_UINT32 = 2**32 - 1
_NANOSECONDS = 1_000_000_000
#: A query that wants to stay open longer than this (seconds) is not one that Serf's API can send by accident.
MAX_QUERY_TIMEOUT = 24 * 3600.0


class MessageType(IntEnum):
    """First byte of every message."""

    LEAVE = 0
    JOIN = 1
    PUSH_PULL = 2
    USER_EVENT = 3
    QUERY = 4
    QUERY_RESPONSE = 5
    CONFLICT_RESPONSE = 6
    KEY_REQUEST = 7
    KEY_RESPONSE = 8
    RELAY = 9


class QueryFlag(IntFlag):
    """Bits of a query's or a response's ``flags``."""

    NONE = 0
    ACK = 1
    NO_BROADCAST = 2


class FilterType(IntEnum):
    """First byte of a query filter."""

    NODE = 0
    TAG = 1


@dataclass(frozen=True, slots=True)
class Leave:
    """``node`` intends to leave (or is made to: force-leave); ``prune`` also erases it."""

    ltime: int
    node: str
    prune: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """``node`` joined at this time: what later leave intents are measured against."""

    ltime: int
    node: str


@dataclass(frozen=True, slots=True)
class UserEvent:
    """An application's event; ``coalesce`` allows receivers to keep only the newest of one name."""

    ltime: int
    name: str
    payload: bytes = b""
    coalesce: bool = False


@dataclass(frozen=True, slots=True)
class UserEventsAt:
    """Recent events of one Lamport time, as (name, payload), inside push/pull state."""

    ltime: int
    events: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class PushPull:
    """Full state, exchanged over a stream. ``events`` leaves out the empty slots of Go's ring buffer."""

    ltime: int
    status_ltimes: Mapping[str, int] = field(default_factory=dict)
    left_members: tuple[str, ...] = ()
    event_ltime: int = 0
    events: tuple[UserEventsAt, ...] = ()
    query_ltime: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """A question to every member that passes ``filters``; ``timeout`` in seconds, answers go to ``source``."""

    ltime: int
    id: int
    source: Address
    source_node: str
    name: str
    timeout: float
    payload: bytes = b""
    filters: tuple[bytes, ...] = ()
    flags: QueryFlag = QueryFlag.NONE
    relay_factor: int = 0


@dataclass(frozen=True, slots=True)
class QueryResponse:
    """An acknowledgement (flag ``ACK``) or an answer to the query ``(ltime, id)``."""

    ltime: int
    id: int
    node: str
    payload: bytes = b""
    flags: QueryFlag = QueryFlag.NONE


@dataclass(frozen=True, slots=True)
class Relay:
    """``message`` (type byte included) is to be passed on to ``to``."""

    to: Address
    to_node: str
    message: bytes


Message = Leave | Join | PushPull | UserEvent | Query | QueryResponse | Relay


def pack_ip(host: str) -> bytes:
    """4 or 16 bytes of an IP address."""
    return ipaddress.ip_address(host).packed


def parse_ip(packed: bytes) -> str:
    """Canonical text of 4 or 16 bytes; an IPv4-mapped IPv6 address becomes IPv4, as Go prints it."""
    if len(packed) not in (4, 16):
        raise RemoteProtocolError(f"an IP address has 4 or 16 bytes, not {len(packed)}")
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def serialize(message: Message) -> bytes:
    """Write ``message`` with its type byte."""
    match message:
        case Leave():
            body: dict[str, Any] = {"LTime": message.ltime, "Node": message.node, "Prune": message.prune}
            return _framed(MessageType.LEAVE, body)
        case Join():
            return _framed(MessageType.JOIN, {"LTime": message.ltime, "Node": message.node})
        case PushPull():
            return _framed(MessageType.PUSH_PULL, _push_pull_body(message))
        case UserEvent():
            body = {
                "CC": message.coalesce,
                "LTime": message.ltime,
                "Name": message.name,
                "Payload": message.payload,
            }
            return _framed(MessageType.USER_EVENT, body)
        case Query():
            return _framed(MessageType.QUERY, _query_body(message))
        case QueryResponse():
            body = {
                "Flags": int(message.flags),
                "From": message.node,
                "ID": message.id,
                "LTime": message.ltime,
                # Go's acknowledgement has no payload, which is not the same bytes as an empty one.
                "Payload": None if message.flags & QueryFlag.ACK else message.payload,
            }
            return _framed(MessageType.QUERY_RESPONSE, body)
        case Relay():
            address = {"IP": pack_ip(message.to.host), "Port": message.to.port, "Zone": ""}
            header = {"DestAddr": address, "DestName": message.to_node}
            return _framed(MessageType.RELAY, header) + message.message
    assert_never(message)


def _framed(kind: MessageType, body: Mapping[str, Any]) -> bytes:
    return bytes([kind]) + pack(body)


def _push_pull_body(message: PushPull) -> dict[str, Any]:
    return {
        "EventLTime": message.event_ltime,
        "Events": [
            {
                "Events": [{"Name": name, "Payload": payload} for name, payload in at.events],
                "LTime": at.ltime,
            }
            for at in message.events
        ],
        "LTime": message.ltime,
        "LeftMembers": list(message.left_members),
        "QueryLTime": message.query_ltime,
        "StatusLTimes": dict(message.status_ltimes),
    }


def _query_body(message: Query) -> dict[str, Any]:
    return {
        "Addr": pack_ip(message.source.host),
        "Filters": list(message.filters) or None,
        "Flags": int(message.flags),
        "ID": message.id,
        "LTime": message.ltime,
        "Name": message.name,
        "Payload": message.payload,
        "Port": message.source.port,
        "RelayFactor": message.relay_factor,
        "SourceNode": message.source_node,
        "Timeout": round(message.timeout * _NANOSECONDS),
    }


def parse(data: bytes) -> Message:
    """Read one message; anything else raises :class:`RemoteProtocolError`."""
    if not data:
        raise RemoteProtocolError("empty Serf message")
    reader = _READERS.get(data[0])
    if reader is None:
        raise RemoteProtocolError(f"Serf message of unknown type {data[0]}")
    return reader(data[1:])


def _read_leave(body: bytes) -> Leave:
    fields = unpack_map(body, "leave")
    return Leave(_ltime(fields), fields.text("Node"), fields.flag("Prune"))


def _read_join(body: bytes) -> Join:
    fields = unpack_map(body, "join")
    return Join(_ltime(fields), fields.text("Node"))


def _read_push_pull(body: bytes) -> PushPull:
    fields = unpack_map(body, "push/pull")
    ltimes = fields.text_map("StatusLTimes")
    if not all(type(time) is int and 0 <= time <= MAX_LAMPORT_TIME for time in ltimes.values()):
        raise RemoteProtocolError("push/pull: field StatusLTimes holds something that is no Lamport time")
    return PushPull(
        ltime=_ltime(fields),
        status_ltimes=ltimes,
        left_members=fields.texts("LeftMembers"),
        event_ltime=_ltime(fields, "EventLTime"),
        events=tuple(_events_at(item) for item in fields.items("Events") if item is not None),
        query_ltime=_ltime(fields, "QueryLTime"),
    )


def _events_at(value: object) -> UserEventsAt:
    fields = Fields.of(value, "push/pull event")
    events = [Fields.of(item, "push/pull event") for item in fields.items("Events")]
    return UserEventsAt(
        _ltime(fields), tuple((event.text("Name"), event.data("Payload")) for event in events)
    )


def _read_user_event(body: bytes) -> UserEvent:
    fields = unpack_map(body, "user event")
    return UserEvent(_ltime(fields), fields.text("Name"), fields.data("Payload"), fields.flag("CC"))


def _read_query(body: bytes) -> Query:
    fields = unpack_map(body, "query")
    filters = fields.items("Filters")
    if not all(isinstance(item, bytes) for item in filters):
        raise RemoteProtocolError("query: field Filters is not a list of raw bytes")
    timeout = fields.integer("Timeout") / _NANOSECONDS
    return Query(
        ltime=_ltime(fields),
        id=fields.uint("ID", _MAX_UINT32),
        source=Address(parse_ip(fields.data("Addr")), fields.uint("Port", 65535)),
        source_node=fields.text("SourceNode"),
        name=fields.text("Name"),
        timeout=min(max(timeout, 0.0), MAX_QUERY_TIMEOUT),
        payload=fields.data("Payload"),
        filters=tuple(filters),
        flags=QueryFlag(fields.uint("Flags", _MAX_UINT32) & (QueryFlag.ACK | QueryFlag.NO_BROADCAST)),
        relay_factor=fields.uint("RelayFactor", 255),
    )


def _read_query_response(body: bytes) -> QueryResponse:
    fields = unpack_map(body, "query response")
    return QueryResponse(
        ltime=_ltime(fields),
        id=fields.uint("ID", _MAX_UINT32),
        node=fields.text("From"),
        payload=fields.data("Payload"),
        flags=QueryFlag(fields.uint("Flags", _MAX_UINT32) & QueryFlag.ACK),
    )


def _read_relay(body: bytes) -> Relay:
    value, used = unpack_value(body)
    fields = Fields.of(value, "relay")
    address = fields.nested("DestAddr")
    to = Address(parse_ip(address.data("IP")), address.uint("Port", 65535))
    return Relay(to, fields.text("DestName"), body[used:])


def _ltime(fields: Fields, name: str = "LTime") -> int:
    return fields.uint(name, MAX_LAMPORT_TIME)


_READERS: dict[int, Callable[[bytes], Message]] = {
    MessageType.LEAVE: _read_leave,
    MessageType.JOIN: _read_join,
    MessageType.PUSH_PULL: _read_push_pull,
    MessageType.USER_EVENT: _read_user_event,
    MessageType.QUERY: _read_query,
    MessageType.QUERY_RESPONSE: _read_query_response,
    MessageType.RELAY: _read_relay,
}
