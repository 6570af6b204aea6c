"""Tasks that end with who waits for them, and what they leave behind in it."""

from __future__ import annotations

import asyncio

import pytest

from meshnode.runtime.tasks import apart, spawn
from tests.support.asynchronous import asynchronous


async def woken_by_cancelling() -> str:
    """As grpclib wakes who waits on a lost stream: cancels the task, and raises something else out of it."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise ConnectionError("the stream is lost") from None
    return "never"


@asynchronous
async def test_who_is_woken_by_cancelling_leaves_no_request_to_cancel_in_the_caller() -> None:
    with pytest.raises(ConnectionError, match="the stream is lost"):
        await apart(woken_by_cancelling(), name="woken")
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()


@asynchronous
async def test_what_is_awaited_apart_returns_its_result() -> None:
    async def result() -> int:
        return 7

    assert await apart(result(), name="result") == 7


@asynchronous
async def test_what_is_awaited_apart_ends_with_who_waits_for_it() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = spawn(apart(work(), name="work"), name="caller")
    await began.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
