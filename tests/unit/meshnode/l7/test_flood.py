from __future__ import annotations

from meshnode.l7.flood import FloodGuard


def test_so_many_in_a_window_and_no_more() -> None:
    guard = FloodGuard((3, 10.0))
    assert [guard.count(5.0) for _ in range(4)] == [True, True, True, False]
    assert not guard.count(14.9)


def test_the_next_window_begins_anew() -> None:
    guard = FloodGuard((1, 10.0))
    assert guard.count(5.0)
    assert guard.count(15.0)
    assert not guard.count(16.0)
