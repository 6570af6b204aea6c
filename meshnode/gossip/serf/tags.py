"""A node's tags in memberlist's metadata: magic byte 255 and a msgpack map; before protocol 3 a bare role."""

from __future__ import annotations

from collections.abc import Mapping

from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.gossip.memberlist.messages import MAX_META_BYTES
from meshnode.gossip.serf.wire import pack, unpack_value

__all__ = ["check_tags", "parse_tags", "serialize_tags"]

_TAG_MAGIC = 255


def serialize_tags(tags: Mapping[str, str], protocol: int = 5) -> bytes:
    """Metadata that announces ``tags`` (only ``role`` below Serf protocol 3)."""
    if protocol < 3:
        return tags.get("role", "").encode()
    return bytes([_TAG_MAGIC]) + pack(dict(sorted(tags.items())))


def check_tags(tags: Mapping[str, str], protocol: int = 5) -> None:
    """Raise :class:`MeshError` when ``tags`` don't fit into one alive message."""
    size = len(serialize_tags(tags, protocol))
    if size > MAX_META_BYTES:
        raise MeshError(
            f"tags take {size} bytes when encoded and gossip carries {MAX_META_BYTES}: "
            f"shorten or drop some of {', '.join(sorted(tags))}"
        )


def parse_tags(meta: bytes) -> dict[str, str]:
    """Read tags from metadata; text that isn't UTF-8 keeps its bytes as surrogates.

    Raises :class:`RemoteProtocolError` when the magic byte is not followed by a map of strings.
    """
    if not meta or meta[0] != _TAG_MAGIC:
        return {"role": meta.decode("utf-8", "surrogateescape")}
    value, _ = unpack_value(meta[1:])
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(key, bytes) and isinstance(item, bytes) for key, item in value.items()
    ):
        raise RemoteProtocolError("tags are not a map of strings")
    return {
        key.decode("utf-8", "surrogateescape"): item.decode("utf-8", "surrogateescape")
        for key, item in value.items()
    }
