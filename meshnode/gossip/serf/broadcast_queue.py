"""Serf's outgoing gossip: intents, queries and user events, each in a bounded queue, drained in that order."""

from __future__ import annotations

from meshnode.gossip.memberlist.broadcast import BroadcastQueue

__all__ = ["MessageQueue", "OutgoingQueues"]


class MessageQueue:
    """Distinct messages: none replaces another, until there are ``max_depth`` and the oldest gives way.

    Serf prunes to its depth limit every 30 s; here the limit holds at every moment.
    """

    def __init__(self, retransmit_mult: int, max_depth: int) -> None:
        self._queue = BroadcastQueue(retransmit_mult)
        self._max_depth = max_depth
        self._serial = 0

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, token: object) -> bool:
        return isinstance(token, str) and token in self._queue

    def queue(self, message: bytes) -> str:
        """Add ``message``; the token returned stays ``in`` the queue until the message was sent often enough."""
        token = str(self._serial % self._max_depth)
        self._serial += 1
        self._queue.queue(token, message)
        return token

    def take(self, overhead: int, limit: int, members: int) -> list[bytes]:
        """Messages to send now, each costing its length and ``overhead``, together at most ``limit`` bytes."""
        return self._queue.take(overhead, limit, members)


class OutgoingQueues:
    """The three queues; membership goes first, since everything else depends on it."""

    def __init__(self, retransmit_mult: int, max_depth: int) -> None:
        self.intents = MessageQueue(retransmit_mult, max_depth)
        self.queries = MessageQueue(retransmit_mult, max_depth)
        self.events = MessageQueue(retransmit_mult, max_depth)

    def take(self, overhead: int, limit: int, members: int) -> list[bytes]:
        """Fill ``limit`` bytes from the queues in turn."""
        taken: list[bytes] = []
        for queue in (self.intents, self.queries, self.events):
            chosen = queue.take(overhead, limit, members)
            limit -= sum(len(message) + overhead for message in chosen)
            taken += chosen
        return taken
