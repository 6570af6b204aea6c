"""The user events that this agent has seen, and whether one is meant for it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.base.regexp import Regexp, Work, compile_regexp
from meshnode.control.user_event import UserEvent

__all__ = ["MAX_EVENTS", "EventBuffer", "check_filters", "concerns", "event_index", "parse_filter"]

#: Events kept (Consul 1.2.3).
MAX_EVENTS: Final = 256
#: Steps that one filter may take on one name or tag: a filter comes from whoever may fire an event.
MAX_FILTER_WORK: Final = 100_000
_HEX: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class EventBuffer:
    """The last ``MAX_EVENTS`` events, oldest first; ``generation`` counts all that ever came."""

    def __init__(self) -> None:
        self.generation = 0
        self._events: deque[UserEvent] = deque(maxlen=MAX_EVENTS)

    def append(self, event: UserEvent) -> None:
        """Take in an event that concerns this agent; whoever waits must then be woken."""
        self._events.append(event)
        self.generation += 1

    def named(self, name: str = "") -> list[UserEvent]:
        """All events, or those called ``name``."""
        return [event for event in self._events if not name or event.name == name]


def event_index(events: list[UserEvent]) -> int:
    """Consul's index of a list of events: both halves of the last UUID, XORed; 1 of no events, never 0.

    It is not monotonic. An id that is no UUID (a foreign agent may send one) counts as 1.
    """
    if not events or not _HEX.fullmatch(events[-1].event_id):
        return 1
    value = int(events[-1].event_id.replace("-", ""), 16)
    return (value >> 64 ^ value & 0xFFFF_FFFF_FFFF_FFFF) or 1


def concerns(event: UserEvent, node_name: str, services: Mapping[str, Iterable[str]]) -> bool:
    """Whether the agent on ``node_name`` with ``services`` (name to tags) should take in ``event``.

    A filter that is malformed, or too costly to run safely, matches nothing.
    """
    try:
        if event.node_filter and not _matches(event.node_filter, node_name):
            return False
        if not event.service_filter:
            return True
        return any(
            _matches(event.service_filter, name)
            and (not event.tag_filter or any(_matches(event.tag_filter, tag) for tag in tags))
            for name, tags in services.items()
        )
    except MeshError:
        return False


def _matches(pattern: str, text: str) -> bool:
    return parse_filter(pattern).search(text, Work(MAX_FILTER_WORK))


def check_filters(event: UserEvent) -> None:
    """Raise :class:`MeshError` that names the filter that is wrong, before the event is fired."""
    filters = {"node": event.node_filter, "service": event.service_filter, "tag": event.tag_filter}
    for name, pattern in filters.items():
        try:
            parse_filter(pattern)
        except MeshError as error:
            raise MeshError(f"Invalid {name} filter: {error}") from None
    if event.tag_filter and not event.service_filter:
        raise MeshError("Cannot provide tag filter without service filter")


@lru_cache(maxsize=256)
def parse_filter(pattern: str) -> Regexp:
    """Compile a filter; raises :class:`MeshError` when it is malformed or beyond the known syntax."""
    return compile_regexp(pattern)
