from __future__ import annotations

import pytest

from meshnode.control.token_bucket import TokenBucket


def test_it_starts_full_and_is_empty_after_the_burst() -> None:
    bucket = TokenBucket(10.0, 3, now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_tokens_come_back_at_the_rate_and_never_beyond_the_burst() -> None:
    bucket = TokenBucket(10.0, 2, now=0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(0.09)
    assert bucket.take(0.1)
    assert [bucket.take(60.0) for _ in range(3)] == [True, True, False]


def test_a_clock_that_stands_or_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(1.0, 1, now=10.0)
    assert bucket.take(10.0)
    assert not bucket.take(5.0)
    assert not bucket.take(10.5)
    assert bucket.take(11.0)


@pytest.mark.parametrize(
    ("rate", "burst", "allowed"), [(-1.0, 0, True), (0.0, 1, True), (0.0, 0, False), (5.0, 0, False)]
)
def test_the_edges(rate: float, burst: int, allowed: bool) -> None:
    assert TokenBucket(rate, burst, now=0.0).take(0.0) == allowed


def test_over_a_long_time_the_rate_holds() -> None:
    bucket = TokenBucket(4.0, 10, now=0.0)
    taken = sum(bucket.take(step / 128) for step in range(12_801))
    assert taken == 10 + 400
