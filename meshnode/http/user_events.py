"""The user events that this agent has seen, and whether one is meant for it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.control.user_event import UserEvent

__all__ = ["MAX_EVENTS", "EventBuffer", "check_filters", "concerns", "event_index", "parse_filter"]

#: Events kept (Consul 1.2.3).
MAX_EVENTS: Final = 256
#: Bounds that keep a filter from another node cheap to run, whatever it was written for.
MAX_FILTER_CHARS: Final = 256
MAX_SUBJECT_CHARS: Final = 256
MAX_REPEATS: Final = 2
MAX_CHOICES: Final = 16
_HEX: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: An escape, a character class, a fixed count or one character: enough to find the operators of an expression.
_ATOM: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{[0-9]+\}|.", re.DOTALL)
_BACK_REFERENCES: Final = {"\\1", "\\2", "\\3", "\\4", "\\5", "\\6", "\\7", "\\8", "\\9"}


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
    return parse_filter(pattern).search(text[:MAX_SUBJECT_CHARS]) is not None


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
def parse_filter(pattern: str) -> re.Pattern[str]:
    """Compile a filter; raises :class:`MeshError` when it is malformed or could take exponential time.

    Consul's engine (RE2) is linear; Python's backtracks, and a filter arrives by gossip. So these are refused: a
    repeated group (``(a+)+``), more than two of ``*``, ``+`` and ``{n,m}``, more than 16 of ``|`` and ``?``, and
    back-references.
    """
    if len(pattern) > MAX_FILTER_CHARS:
        raise MeshError(f"{len(pattern)} characters are too long: at most {MAX_FILTER_CHARS}")
    repeats = choices = 0
    previous = ""
    for atom in _ATOM.findall(pattern):
        if atom[0] in "*+{":
            repeats += not atom.endswith("}")
            if previous == ")":
                raise MeshError(f"{pattern!r} repeats a group, which is too costly to run: write it without")
        elif atom in "|?" and previous != "(":
            choices += 1
        elif atom in _BACK_REFERENCES:
            raise MeshError(f"{pattern!r} has a back-reference: write it without")
        previous = atom
    if repeats > MAX_REPEATS or choices > MAX_CHOICES or "(?P=" in pattern:
        raise MeshError(
            f"{pattern!r} is too costly to run: at most {MAX_REPEATS} repeats and {MAX_CHOICES} choices"
        )
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise MeshError(f"{pattern!r} is not a regular expression: {error}") from None
