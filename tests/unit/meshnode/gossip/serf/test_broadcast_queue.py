"""Outgoing gossip."""

from __future__ import annotations

from meshnode.gossip.serf.broadcast_queue import MessageQueue, OutgoingQueues


def test_intents_go_before_queries_and_queries_before_events() -> None:
    queues = OutgoingQueues(4, 16)
    queues.events.queue(b"event")
    queues.queries.queue(b"query")
    queues.intents.queue(b"intent")
    assert queues.take(2, 100, 3) == [b"intent", b"query", b"event"]
    assert queues.take(2, 2 + 6 + 2 + 5, 3) == [b"intent", b"query"]
    assert queues.take(2, 2 + 5, 3) == [b"query"]


def test_a_token_is_in_the_queue_until_its_message_was_sent_often_enough() -> None:
    queue = MessageQueue(2, 16)
    token = queue.queue(b"x")
    assert [(queue.take(0, 10, 3), token in queue) for _ in range(3)] == [
        ([b"x"], True),
        ([b"x"], False),
        ([], False),
    ]


def test_equal_messages_are_sent_each() -> None:
    queue = MessageQueue(1, 16)
    queue.queue(b"x")
    queue.queue(b"x")
    assert queue.take(0, 10, 3) == [b"x", b"x"]


def test_a_full_queue_gives_up_its_oldest_message() -> None:
    queue = MessageQueue(1, 3)
    for index in range(4):
        queue.queue(b"%d" % index)
    assert len(queue) == 3
    assert set(queue.take(0, 100, 3)) == {b"1", b"2", b"3"}
