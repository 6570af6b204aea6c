"""User events: delivered once, whatever way and however often they arrive."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshnode.gossip.serf.messages import UserEvent, UserEventsAt

__all__ = ["MAX_EVENTS_PER_TIME", "EventBuffer"]

#: Distinct events kept of one Lamport time. Only nodes that send at the same moment share a time, so more is a
#: flood; Serf sets no bound.
MAX_EVENTS_PER_TIME = 512


@dataclass(slots=True)
class _Slot:
    ltime: int
    events: list[tuple[str, bytes]] = field(default_factory=list)


class EventBuffer:
    """A ring of the last ``size`` Lamport times with the events seen at each."""

    def __init__(self, size: int, min_time: int = 0) -> None:
        self._slots: list[_Slot | None] = [None] * size
        #: Events from before this time are ignored (restored from a snapshot, or a join that ignores the past).
        self.min_time = min_time

    def admit(self, event: UserEvent, current: int) -> bool:
        """Remember ``event``; false when it is too old or was seen. ``current`` is the event clock's time."""
        size = len(self._slots)
        if event.ltime < self.min_time or (current > size and event.ltime < current - size):
            return False
        index = event.ltime % size
        slot = self._slots[index]
        if slot is None or slot.ltime != event.ltime:
            slot = self._slots[index] = _Slot(event.ltime)
        key = (event.name, event.payload)
        if key in slot.events or len(slot.events) >= MAX_EVENTS_PER_TIME:
            return False
        slot.events.append(key)
        return True

    def recent(self) -> tuple[UserEventsAt, ...]:
        """Everything buffered, for push/pull, in ring order as Serf sends it."""
        return tuple(UserEventsAt(slot.ltime, tuple(slot.events)) for slot in self._slots if slot is not None)
