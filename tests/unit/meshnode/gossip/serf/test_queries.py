"""Seen queries, open queries and how long one stays open."""

from __future__ import annotations

import pytest

from meshnode.gossip.effects import Notify
from meshnode.gossip.serf.events import QueryAcked, QueryFinished, QueryResponded
from meshnode.gossip.serf.queries import (
    MAX_QUERIES_PER_TIME,
    MAX_RESPONDERS,
    ApplicationQuery,
    PendingQuery,
    QueryBuffer,
    default_query_timeout,
)


@pytest.mark.parametrize(("members", "expected"), [(1, 3.2), (9, 3.2), (10, 6.4), (99, 6.4), (1000, 12.8)])
def test_the_timeout_grows_with_the_digits_of_the_cluster(members: int, expected: float) -> None:
    assert default_query_timeout(0.2, 16, members) == pytest.approx(expected)


def test_a_query_is_admitted_once() -> None:
    buffer = QueryBuffer(8, min_time=2)
    assert [buffer.admit(ltime, 7, 4) for ltime in (1, 2, 3, 3)] == [False, True, True, False]
    assert buffer.admit(3, 8, 4)
    assert [buffer.admit(ltime, 7, 20) for ltime in (11, 12)] == [False, True]


def test_one_time_holds_a_bounded_number_of_queries() -> None:
    buffer = QueryBuffer(8)
    admitted = [buffer.admit(1, index, 2) for index in range(MAX_QUERIES_PER_TIME + 1)]
    assert (admitted[-2], admitted[-1]) == (True, False)


def test_the_first_answer_of_each_node_counts() -> None:
    pending = PendingQuery(7, ApplicationQuery(1))
    assert pending.acked("a") == [Notify(QueryAcked(1, "a"))]
    assert pending.acked("a") == []
    assert pending.responded("a", b"x") == [Notify(QueryResponded(1, "a", b"x"))]
    assert pending.responded("a", b"y") == []
    assert pending.responded("b", b"z") == [Notify(QueryResponded(1, "b", b"z"))]
    assert not pending.collector.is_complete()
    assert pending.collector.finished() == [Notify(QueryFinished(1, 1, 2))]


def test_the_number_of_names_that_may_answer_is_bounded() -> None:
    pending = PendingQuery(7, ApplicationQuery(1))
    pending.responses.update(map(str, range(MAX_RESPONDERS - 1)))
    assert pending.responded("last", b"")
    assert not pending.responded("one more", b"")
