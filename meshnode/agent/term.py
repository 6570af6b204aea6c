"""The tasks of a leader's term: they begin with it and end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["Term"]


class Term:
    """``duties`` gives, for the epoch of a term that begins, its tasks by their names."""

    def __init__(self, duties: Callable[[int], Mapping[str, Coroutine[Any, Any, None]]]) -> None:
        self._duties = duties
        self._tasks: list[asyncio.Task[Any]] = []
        #: 0 while there is no term.
        self.epoch = 0

    def lead(self, epoch: int) -> None:
        """Begin a term, or end it with 0. The same epoch again changes nothing."""
        if epoch == self.epoch:
            return
        self.epoch = epoch
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        if epoch:
            self.also(self._duties(epoch))

    def also(self, duties: Mapping[str, Coroutine[Any, Any, None]]) -> None:
        """Start more tasks of the term that is on."""
        self._tasks += [spawn(duty, name=name) for name, duty in duties.items()]

    async def stop(self) -> None:
        """End the term and wait for it."""
        tasks, self._tasks, self.epoch = self._tasks, [], 0
        await cancel_and_wait(*tasks)
