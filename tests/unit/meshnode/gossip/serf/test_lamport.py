"""Clocks that only go forward."""

from __future__ import annotations

from meshnode.gossip.serf.lamport import MAX_LAMPORT_TIME, LamportClock


def test_a_clock_starts_at_one_and_counts() -> None:
    clock = LamportClock()
    assert (clock.time, clock.increment(), clock.time) == (1, 2, 2)


def test_a_clock_ends_up_past_every_time_that_it_witnesses() -> None:
    clock = LamportClock()
    for seen, expected in ((41, 42), (41, 42), (7, 42), (42, 43)):
        clock.witness(seen)
        assert clock.time == expected


def test_a_clock_stops_at_the_largest_time_that_peers_accept() -> None:
    clock = LamportClock()
    clock.witness(MAX_LAMPORT_TIME)
    assert clock.time == MAX_LAMPORT_TIME
