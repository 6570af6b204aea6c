from __future__ import annotations

import pytest

from meshnode.gossip.memberlist.suspicion import Suspicion, expected_confirmations, suspicion_timeout


@pytest.mark.parametrize(
    ("members", "seconds"),
    [(0, 4.0), (1, 4.0), (10, 4.0), (50, 6.792), (100, 8.0), (500, 10.792), (1000, 12.0)],
)
def test_the_shortest_suspicion_grows_with_the_logarithm_of_the_cluster(members: int, seconds: float) -> None:
    assert suspicion_timeout(4, members, 1.0) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("mult", "members", "wanted"), [(4, 1, 0), (4, 3, 0), (4, 4, 2), (4, 99, 2), (1, 99, 0)]
)
def test_a_cluster_too_small_to_confirm_is_not_asked_to(mult: int, members: int, wanted: int) -> None:
    assert expected_confirmations(mult, members) == wanted


def test_confirmations_bring_the_timeout_down_to_the_shortest() -> None:
    suspicion = Suspicion(100.0, 2.0, 30.0, 3, {"a"})
    timeouts = [suspicion.timeout]
    for accuser in ("b", "c", "d"):
        assert suspicion.confirm(accuser)
        timeouts.append(suspicion.timeout)
    # memberlist's own curve: 30 - 28 * ln(n + 1) / ln(4), floored to milliseconds
    assert timeouts == [30.0, 16.0, 7.81, 2.0]
    assert suspicion.deadline == 102.0


def test_nobody_confirms_twice_and_more_confirmations_than_wanted_do_not_count() -> None:
    suspicion = Suspicion(0.0, 2.0, 30.0, 2, {"a"})
    assert not suspicion.confirm("a")
    assert suspicion.confirm("b")
    assert not suspicion.confirm("b")
    assert suspicion.confirm("c")
    assert not suspicion.confirm("d")
    assert suspicion.confirmations == 2


def test_a_suspicion_that_expects_no_confirmation_is_short_from_the_start() -> None:
    suspicion = Suspicion(0.0, 2.0, 30.0, 0, {"a"})
    assert suspicion.timeout == 2.0
    assert not suspicion.confirm("b")
