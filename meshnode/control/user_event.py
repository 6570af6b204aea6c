"""Consul's user events as they travel inside Serf's: a msgpack map under the event name ``consul:event:<name>``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgpack

from meshnode.base.errors import RemoteProtocolError

__all__ = ["EVENT_PREFIX", "REMOTE_EXEC_EVENT", "UserEvent", "parse_event", "serialize_event"]

EVENT_PREFIX: Final = "consul:event:"
#: The event that invites nodes to run a job.
REMOTE_EXEC_EVENT: Final = "_rexec"
#: The version of the map; an agent drops events of a version that it does not know.
MAX_EVENT_VERSION: Final = 1
#: Serf's bound on name and payload together is lower; this one only keeps a hostile map small.
MAX_EVENT_BYTES: Final = 9 * 1024


@dataclass(frozen=True, slots=True)
class UserEvent:
    """One user event. The filters are regular expressions that the receiving agent applies to itself."""

    event_id: str
    name: str
    payload: bytes
    node_filter: str = ""
    service_filter: str = ""
    tag_filter: str = ""
    version: int = MAX_EVENT_VERSION
    ltime: int = 0


def serialize_event(event: UserEvent) -> bytes:
    """The map that other agents read; ``ltime`` is Serf's and does not travel in it."""
    fields: dict[str, Any] = {"ID": event.event_id, "n": event.name, "v": event.version}
    optional = {
        "p": event.payload,
        "nf": event.node_filter,
        "sf": event.service_filter,
        "tf": event.tag_filter,
    }
    fields |= {key: value for key, value in optional.items() if value}
    packed: bytes = msgpack.packb(fields, use_bin_type=False)
    return packed


def parse_event(data: bytes, ltime: int) -> UserEvent:
    """Read the map; raises :class:`RemoteProtocolError` when it is malformed or of an unknown version."""
    if len(data) > MAX_EVENT_BYTES:
        raise RemoteProtocolError(f"user event of {len(data)} bytes: at most {MAX_EVENT_BYTES}")
    try:
        fields = msgpack.unpackb(data, raw=True)
        if not isinstance(fields, dict):
            raise RemoteProtocolError("user event is not a map")
        version = fields.get(b"v", 0)
        if not isinstance(version, int) or not 0 < version <= MAX_EVENT_VERSION:
            raise RemoteProtocolError(
                f"user event of version {version!r}: at most {MAX_EVENT_VERSION} is understood"
            )
        payload = fields.get(b"p") or b""
        if not isinstance(payload, bytes):
            raise RemoteProtocolError("user event with a payload that is not bytes")
        return UserEvent(
            event_id=_text(fields, b"ID"),
            name=_text(fields, b"n"),
            payload=payload,
            node_filter=_text(fields, b"nf"),
            service_filter=_text(fields, b"sf"),
            tag_filter=_text(fields, b"tf"),
            version=version,
            ltime=ltime,
        )
    except (ValueError, msgpack.UnpackException, TypeError, RecursionError) as error:
        raise RemoteProtocolError(f"user event can't be read: {error}") from None


def _text(fields: dict[Any, Any], key: bytes) -> str:
    value = fields.get(key, b"")
    if not isinstance(value, bytes):
        raise RemoteProtocolError(f"user event field {key.decode()} is not text")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError(f"user event field {key.decode()} is not UTF-8") from None
