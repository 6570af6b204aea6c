"""Time as an argument: when a connection and an exchange are late."""

from __future__ import annotations

from meshnode.l7.timeouts import ConnectionClock, ExchangeClock, Timeouts

TIMEOUTS = Timeouts(first=5.0, header=10.0, idle=60.0, stream_idle=30.0, request=100.0)


def test_a_client_that_says_nothing_is_late_and_owed_no_answer() -> None:
    clock = ConnectionClock(TIMEOUTS, 0.0)
    assert clock.overdue(4.9) == ""
    assert clock.overdue(5.0) == "nothing was sent for 5 s"
    assert clock.between_requests


def test_a_head_has_its_time_from_its_first_byte() -> None:
    clock = ConnectionClock(TIMEOUTS, 0.0)
    clock.head_began(4.0)
    assert clock.overdue(13.9) == ""
    assert clock.overdue(14.0) == "no whole head of a request was sent for 10 s"
    assert not clock.between_requests


def test_a_byte_now_and_then_wins_a_head_no_time() -> None:
    clock = ConnectionClock(TIMEOUTS, 0.0)
    clock.busy()
    assert clock.overdue(1000.0) == ""
    clock.idle(100.0)
    assert clock.between_requests
    assert clock.overdue(159.9) == ""
    assert clock.overdue(160.0) == "no request was sent for 60 s"
    for second in range(10):
        clock.head_began(110.0 + second)
    assert clock.overdue(119.9) == ""
    assert clock.overdue(120.0) != ""


def test_an_exchange_may_be_long_but_not_silent_and_not_longer_than_its_bound() -> None:
    clock = ExchangeClock(TIMEOUTS, 0.0)
    assert clock.overdue(29.9) == ""
    assert clock.overdue(30.0) == "no byte went either way for 30 s"
    for second in range(0, 100, 20):
        clock.moved(float(second))
    assert clock.overdue(99.9) == ""
    assert clock.overdue(100.0) == "it is not finished after 100 s"


def test_a_tunnel_has_no_bound_but_silence() -> None:
    clock = ExchangeClock(TIMEOUTS, 0.0)
    clock.tunnel = True
    clock.moved(500.0)
    assert clock.overdue(520.0) == ""
    assert clock.overdue(530.0) != ""


def test_without_bounds_nothing_is_late() -> None:
    clock = ExchangeClock(Timeouts(stream_idle=0.0, request=0.0), 0.0)
    assert clock.overdue(1e9) == ""
