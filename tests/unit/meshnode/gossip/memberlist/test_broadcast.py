from __future__ import annotations

from random import Random

import pytest

from meshnode.gossip.memberlist.broadcast import BroadcastQueue, retransmit_limit


@pytest.mark.parametrize(
    ("members", "limit"), [(0, 0), (1, 4), (9, 4), (10, 8), (99, 8), (100, 12), (1000, 16)]
)
def test_news_is_sent_more_often_in_larger_clusters(members: int, limit: int) -> None:
    assert retransmit_limit(4, members) == limit


def test_news_is_sent_as_often_as_the_limit_says_and_then_forgotten() -> None:
    queue = BroadcastQueue(4)
    queue.queue("a", b"news")
    taken = [queue.take(2, 100, members=1) for _ in range(5)]
    assert taken == [[b"news"]] * 4 + [[]]
    assert "a" not in queue
    assert len(queue) == 0


def test_newer_news_about_a_subject_replaces_older() -> None:
    queue = BroadcastQueue(4)
    queue.queue("a", b"suspect")
    queue.queue("b", b"other")
    queue.take(0, 100, members=1)
    queue.queue("a", b"alive")
    assert len(queue) == 2
    assert queue.take(0, 100, members=1) == [b"alive", b"other"]


def test_the_least_sent_goes_first_then_the_longest_then_the_newest() -> None:
    queue = BroadcastQueue(4)
    queue.queue("sent", b"s" * 50)
    queue.take(0, 100, members=1)
    for subject, message in (("short", b"1"), ("old", b"22"), ("new", b"33")):
        queue.queue(subject, message)
    assert queue.take(0, 100, members=1) == [b"33", b"22", b"1", b"s" * 50]


def test_a_packet_is_filled_up_to_its_limit_with_what_fits() -> None:
    queue = BroadcastQueue(4)
    for subject, size in (("a", 60), ("b", 30), ("c", 10)):
        queue.queue(subject, subject.encode() * size)
    assert queue.take(2, 74, members=1) == [b"a" * 60, b"c" * 10]
    assert queue.take(2, 11, members=1) == []
    assert queue.take(2, 12, members=1) == [b"c" * 10]
    assert queue.take(2, 0, members=1) == []


def test_no_order_of_operations_breaks_the_limits() -> None:
    seed = 11
    print(f"seed {seed}")
    rng = Random(seed)
    queue = BroadcastQueue(2)
    times: dict[bytes, int] = {}
    for serial in range(3000):
        if rng.random() < 0.3:
            queue.queue(f"subject-{rng.randrange(40)}", b"%06d" % serial + bytes(rng.randrange(200)))
        limit = rng.randrange(600)
        taken = queue.take(2, limit, members=50)
        assert sum(len(message) + 2 for message in taken) <= limit
        assert len(set(taken)) == len(taken)
        for message in taken:
            times[message] = times.get(message, 0) + 1
    assert max(times.values()) == retransmit_limit(2, 50)
