"""Runs lock machines against a :class:`KvAgent` without HTTP and without time: pauses move a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from meshnode.base.duration import parse_duration
from meshnode.lock.calls import Call, Pause, Reply, Steps
from meshnode.lock.session import open_session
from tests.support.kv_agent import KvAgent

__all__ = ["LockShell"]

T = TypeVar("T")


class LockShell:
    """``before`` sees every request first: it may change the store, or answer in its place with a ``Reply``."""

    def __init__(self) -> None:
        self.agent = KvAgent()
        self.agent.longest_wait = 0.0
        self.now = 0.0
        self.asked: list[Call | Pause] = []
        self.before: Callable[[Call | Pause], Reply | None] = lambda request: None

    def session(self, behavior: str = "release") -> str:
        """A new session."""
        return self.run(open_session("test", behavior))

    def run(self, steps: Steps[T]) -> T:
        """Run to the outcome. A blocking read moves the clock by what it would have waited at most."""
        try:
            request = next(steps)
            while True:
                request = steps.send(self._perform(request))
        except StopIteration as end:
            outcome: T = end.value
            return outcome

    def _perform(self, request: Call | Pause) -> Reply:
        self.asked.append(request)
        assert len(self.asked) < 500, "it goes on for ever"
        if (answer := self.before(request)) is not None:
            return answer
        if isinstance(request, Pause):
            self.now += request.seconds
            return Reply(self.now)
        query: dict[str, Any] = dict(request.query)
        if "wait" in query:
            self.now += parse_duration(query["wait"])
        path, body = request.path, request.body or b""
        status, answered, index = self.agent.answer(request.method, path, query, body)
        reason = "" if status == 200 else f"Unexpected response code: {status} ({answered.decode()})"
        return Reply(self.now, status, index, answered, reason)
