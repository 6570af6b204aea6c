"""User events are delivered once."""

from __future__ import annotations

from meshnode.gossip.serf.messages import UserEvent, UserEventsAt
from meshnode.gossip.serf.user_events import MAX_EVENTS_PER_TIME, EventBuffer


def test_an_event_is_admitted_once_and_another_of_the_same_time_too() -> None:
    buffer = EventBuffer(8)
    assert [buffer.admit(UserEvent(3, "a", payload), 4) for payload in (b"", b"", b"x", b"")] == [
        True, False, True, False,
    ]  # fmt: skip
    assert buffer.recent() == (UserEventsAt(3, (("a", b""), ("a", b"x"))),)


def test_events_older_than_the_buffer_are_refused() -> None:
    buffer = EventBuffer(8)
    assert not buffer.admit(UserEvent(11, "a"), 20)
    assert buffer.admit(UserEvent(12, "a"), 20)


def test_a_newer_time_takes_the_slot_of_an_older_one() -> None:
    buffer = EventBuffer(8)
    buffer.admit(UserEvent(1, "a"), 2)
    buffer.admit(UserEvent(9, "b"), 10)
    assert buffer.recent() == (UserEventsAt(9, (("b", b""),)),)


def test_events_before_the_minimum_time_are_ignored() -> None:
    buffer = EventBuffer(8, min_time=5)
    assert [buffer.admit(UserEvent(ltime, "a"), 6) for ltime in (4, 5)] == [False, True]


def test_one_time_holds_a_bounded_number_of_events() -> None:
    buffer = EventBuffer(8)
    admitted = [buffer.admit(UserEvent(1, str(index)), 2) for index in range(MAX_EVENTS_PER_TIME + 1)]
    assert (admitted[-2], admitted[-1]) == (True, False)
