"""Watches that several parts of one program need: each question is asked once, whoever follows gets the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeAlias

from meshnode.runtime.tasks import spawn

__all__ = ["Question", "SharedWatches"]

#: Path, and pairs of the query.
Question: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


class _Shared:
    """The last answer of one question. ``version`` grows with each; 0: there was none yet."""

    __slots__ = ("changed", "error", "followers", "task", "value", "version")

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.error: Exception | None = None
        self.followers = 0
        self.task: asyncio.Task[None] | None = None
        self.value: Any = None
        self.version = 0

    def tell(self) -> None:
        told, self.changed = self.changed, asyncio.Event()
        told.set()


class SharedWatches:
    """``watch(path, query)`` gives the answers now and after each change; it is run once for all who follow.

    A question is asked for as long as anybody follows it.
    """

    def __init__(
        self, watch: Callable[[str, tuple[tuple[str, str], ...]], AsyncGenerator[Any, None]]
    ) -> None:
        self._watch: Final = watch
        self._known: dict[Question, _Shared] = {}

    def __len__(self) -> int:
        """Questions that are asked."""
        return len(self._known)

    def known(self, question: Question) -> Any:
        """The last answer while somebody follows the question; ``None`` when there is none."""
        one = self._known.get(question)
        return one.value if one is not None else None

    async def follow(self, question: Question) -> AsyncGenerator[Any, None]:
        """The last answer at once, if there is one, then each that is new; of several in one go only the last.

        It never ends by itself; raises what ``watch`` raises. Close it, or cancel who reads it, when done.
        """
        one = self._known.get(question)
        if one is None:
            one = self._known[question] = _Shared()
            one.task = spawn(self._ask(question, one), name=f"client watch of {question[0]}")
        one.followers += 1
        seen = 0
        try:
            while True:
                if one.error is not None:
                    raise one.error
                if one.version != seen:
                    seen = one.version
                    yield one.value
                else:
                    await one.changed.wait()
        finally:
            one.followers -= 1
            if not one.followers:
                self._forget(question, one)

    async def _ask(self, question: Question, one: _Shared) -> None:
        try:
            async for answer in self._watch(*question):
                one.value = answer
                one.version += 1
                one.tell()
        except Exception as error:  # noqa: BLE001  it is raised where the answers are read
            one.error = error
            self._forget(question, one)
            one.tell()

    def _forget(self, question: Question, one: _Shared) -> None:
        if self._known.get(question) is one:
            del self._known[question]
        if one.task is not None and one.task is not asyncio.current_task():
            one.task.cancel()
