"""Query filters: which nodes a query is for. A filter is a type byte and a msgpack body.

A peer chooses the expressions, so they run in linear time, and within a bound of work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.base.regexp import Work, compile_regexp
from meshnode.gossip.serf.messages import FilterType
from meshnode.gossip.serf.wire import Fields, pack, unpack_map, unpack_value

__all__ = ["MAX_FILTER_WORK", "passes", "serialize_filters"]

#: Steps of one expression on one tag: a hundred thousand of them take about 20 ms.
MAX_FILTER_WORK: Final = 100_000


def serialize_filters(nodes: Iterable[str], tags: Mapping[str, str]) -> tuple[bytes, ...]:
    """One filter for the node names (if any) and one for each tag's regular expression."""
    names = list(nodes)
    filters = [bytes([FilterType.NODE]) + pack(names)] if names else []
    filters += [bytes([FilterType.TAG]) + pack({"Expr": expr, "Tag": tag}) for tag, expr in tags.items()]
    return tuple(filters)


def passes(filters: Iterable[bytes], name: str, tags: Mapping[str, str]) -> bool:
    """Whether the node ``name`` with ``tags`` passes all ``filters``; a missing tag counts as empty text.

    Raises :class:`RemoteProtocolError` on a filter that can't be read: the query is not for this node then.
    """
    return all(_passes(item, name, tags) for item in filters)


def _passes(item: bytes, name: str, tags: Mapping[str, str]) -> bool:
    kind = item[0] if item else None
    if kind == FilterType.NODE:
        value, _ = unpack_value(item[1:])
        return name in Fields({b"nodes": value}, "node filter").texts("nodes")
    if kind == FilterType.TAG:
        fields = unpack_map(item[1:], "tag filter")
        return _matches(fields.text("Expr"), tags.get(fields.text("Tag"), ""))
    raise RemoteProtocolError(f"query filter of unknown type {kind}")


def _matches(expression: str, text: str) -> bool:
    try:
        return compile_regexp(expression).search(text, Work(MAX_FILTER_WORK))
    except ConfigError as error:
        raise RemoteProtocolError(f"a tag filter can't be used: {error}") from None
