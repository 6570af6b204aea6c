"""Runs the machines of commands that do several things at once: calls in threads, everything else on one event loop.

A call that nobody waits for any more is left to its thread, which does not keep the program from ending.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from meshnode.base.errors import MeshError
from meshnode.cli.api import ApiAnswer, ApiClient
from meshnode.lock.calls import Call, Pause, Reply, Steps

__all__ = ["CALL_TIMEOUT", "Driver", "in_thread", "read_index"]

T = TypeVar("T")

#: Seconds that an answer may take, blocking queries excepted.
CALL_TIMEOUT: Final = 60.0
#: Seconds that a blocking query may take: the ten minutes that are the most, a sixteenth, and some for the way.
BLOCKING_TIMEOUT: Final = 660.0


async def in_thread(work: Callable[[], T]) -> T:
    """Do blocking ``work`` in a thread; cancelling this leaves the thread alone."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)

    def run() -> None:
        result: Any = None
        failed: BaseException | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            failed = error
        try:
            loop.call_soon_threadsafe(settle, result, failed)
        except RuntimeError:
            return  # the loop is closed: the command has ended

    threading.Thread(target=run, daemon=True).start()
    return await done


def read_index(answer: ApiAnswer) -> int:
    """The index of an answer, 0 when there is none to wait on."""
    text = answer.index
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0


class Driver:
    """``shared`` are query parameters of every call, such as ``dc``."""

    def __init__(
        self,
        client: ApiClient,
        shared: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._shared = dict(shared)
        self.clock = clock
        self._sleep = sleep

    async def run(self, steps: Steps[T]) -> T:
        """Perform what ``steps`` asks for until it returns its outcome; what it raises is raised."""
        try:
            request = next(steps)
            while True:
                request = steps.send(await self.perform(request))
        except StopIteration as end:
            outcome: T = end.value
            return outcome
        finally:
            steps.close()

    async def perform(self, request: Call | Pause) -> Reply:
        """Perform one request; a call that nobody answers has status 0."""
        if isinstance(request, Pause):
            await self._sleep(request.seconds)
            return Reply(self.clock())
        query = {**dict(request.query), **self._shared}
        timeout = BLOCKING_TIMEOUT if {"index", "hash"} & query.keys() else CALL_TIMEOUT
        try:
            answer = await in_thread(
                lambda: self._client.exchange(request.method, request.path, query, request.body, timeout)
            )
        except MeshError as error:
            return Reply(self.clock(), reason=str(error))
        reason = "" if answer.status == 200 else answer.refusal
        return Reply(self.clock(), answer.status, read_index(answer), answer.body, reason)
