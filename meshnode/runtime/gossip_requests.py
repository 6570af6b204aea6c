"""Requests to a gossip node that are waited for, each ended by an event of the core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from meshnode.base.errors import MeshError
from meshnode.gossip.serf.events import (
    JoinFinished,
    KeyOperationFinished,
    QueryAcked,
    QueryFinished,
    QueryResponded,
)

__all__ = ["GossipRequests", "JoinResult", "QueryResult"]


@dataclass(frozen=True, slots=True)
class JoinResult:
    """How many of the addresses answered, and a sentence for each that did not."""

    joined: int
    errors: tuple[str, ...] = ()


@dataclass(slots=True)
class QueryResult:
    """Who acknowledged a query, and who answered what."""

    acks: list[str] = field(default_factory=list)
    responses: dict[str, bytes] = field(default_factory=dict)


class GossipRequests:
    """Open requests by number."""

    def __init__(self) -> None:
        self._futures: dict[int, asyncio.Future[Any]] = {}
        self._answers: dict[int, QueryResult] = {}
        self._last = 0
        self._closed = False

    async def run(self, begin: Callable[[int], None]) -> Any:
        """Call ``begin`` with a fresh number and wait for the event that ends this request."""
        if self._closed:
            raise MeshError("the gossip agent was stopped")
        self._last += 1
        request = self._last
        future = self._futures[request] = asyncio.get_running_loop().create_future()
        try:
            begin(request)
            return await future
        finally:
            del self._futures[request]
            self._answers.pop(request, None)

    def settle(self, event: object) -> bool:
        """Take an event that belongs to a request; false when it is not of that kind."""
        match event:
            case JoinFinished(request, joined, failures):
                errors = tuple(f"{address}: {reason}" for address, reason in failures)
                self._finish(request, JoinResult(joined, errors))
            case KeyOperationFinished(request, result):
                self._finish(request, result)
            case QueryAcked(request, node):
                self._answers.setdefault(request, QueryResult()).acks.append(node)
            case QueryResponded(request, node, payload):
                self._answers.setdefault(request, QueryResult()).responses[node] = payload
            case QueryFinished(request):
                self._finish(request, self._answers.pop(request, QueryResult()))
            case _:
                return False
        return True

    def close(self) -> None:
        """Fail everything that still waits."""
        self._closed = True
        for future in self._futures.values():
            if not future.done():
                future.set_exception(MeshError("the gossip agent was stopped"))

    def _finish(self, request: int, result: object) -> None:
        future = self._futures.get(request)
        if future is not None and not future.done():
            future.set_result(result)
