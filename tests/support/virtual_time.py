"""An event loop on which time passes only when nothing else is to be done: years in seconds, the same each time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["run"]

T = TypeVar("T")


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.at = 0.0
        self.picker = _Selector(self)
        super().__init__(self.picker)

    def time(self) -> float:
        return self.at


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: _Loop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if timeout is None and not ready:
            raise AssertionError("everybody waits, and nothing will ever happen")
        if timeout and not ready:
            self._loop.at += timeout
        return ready


class _AtOnce(ThreadPoolExecutor):
    """Work for threads is done on the spot: a thread would take real time while virtual time flies."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is told to whoever waits for the result
            done.set_exception(error)
        return done


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` from second 0."""
    loop = _Loop()
    loop.set_default_executor(_AtOnce())
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
