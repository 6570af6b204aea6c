"""The one way to start a task: it has a name, is kept alive, and what it raises is logged, never lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["apart", "cancel_and_wait", "spawn"]

T = TypeVar("T")

_log = logging.getLogger("meshnode.tasks")
_running: set[asyncio.Task[Any]] = set()


def spawn(coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Run ``coroutine`` as a task called ``name``; an exception it raises is logged with that name."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _running.add(task)
    task.add_done_callback(_report)
    return task


def _report(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task %s failed: %s", task.get_name(), error, exc_info=error)


async def cancel_and_wait(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel the given tasks and return once all have ended, whatever they raised."""
    live = [task for task in tasks if task is not None]
    for task in live:
        task.cancel()
    await asyncio.gather(*live, return_exceptions=True)


async def apart(coroutine: Coroutine[Any, Any, T], *, name: str) -> T:
    """What ``coroutine`` returns or raises, awaited in a task of its own, which ends with this one.

    For what wakes its callers by cancelling them, as grpclib does when a connection is lost: it never takes that back
    (``Task.uncancel``), and with a request to cancel outstanding ``asyncio.timeout`` of Python 3.11.2, Debian 12's,
    lets the cancellation pass instead of raising ``TimeoutError``. The task would end without a word.
    """
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    try:
        return await task
    finally:
        if not task.done():
            await cancel_and_wait(task)
