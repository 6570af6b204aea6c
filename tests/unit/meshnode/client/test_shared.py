from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from meshnode.client.shared import Question, SharedWatches
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.asynchronous import asynchronous
from tests.support.waiting import until

ROOTS: Question = ("/roots", ())
QUERY: Question = ("/roots", (("dc", "dc2"),))


class Watches:
    """Counts who watches; ``answers`` is what each gets."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.running = 0
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def watch(self, path: str, query: tuple[tuple[str, str], ...]) -> AsyncGenerator[Any, None]:
        self.began.append(path)
        self.running += 1
        try:
            while True:
                answer = await self.answers.get()
                if isinstance(answer, Exception):
                    raise answer
                yield answer
        finally:
            self.running -= 1


async def following(values: AsyncIterator[Any]) -> Any:
    return await asyncio.wait_for(anext(values), 10)


@asynchronous
async def test_a_question_of_several_is_asked_once_and_each_gets_every_answer() -> None:
    watches = Watches()
    shared = SharedWatches(watches.watch)
    assert shared.known(ROOTS) is None
    async with (
        contextlib.aclosing(shared.follow(ROOTS)) as one,
        contextlib.aclosing(shared.follow(ROOTS)) as two,
    ):
        both = spawn(following(one), name="one"), spawn(following(two), name="two")
        await watches.answers.put("first")
        assert await asyncio.gather(*both) == ["first", "first"]
        async with contextlib.aclosing(shared.follow(ROOTS)) as late:
            assert await following(late) == "first", "who comes later begins with what is known"
        await watches.answers.put("first")
        assert (await following(one), await following(two)) == ("first", "first"), "told again: an outage"
        assert shared.known(ROOTS) == "first"
    assert watches.began == ["/roots"]


@asynchronous
async def test_another_query_is_another_question() -> None:
    watches = Watches()
    shared = SharedWatches(watches.watch)
    waiting = [spawn(following(shared.follow(one)), name="follower") for one in (ROOTS, QUERY, QUERY)]
    await until(lambda: watches.running == 2, "each is asked once")
    assert len(shared) == 2
    await cancel_and_wait(*waiting)


@asynchronous
async def test_who_is_slow_gets_the_last_answer_only() -> None:
    watches = Watches()
    shared = SharedWatches(watches.watch)
    async with contextlib.aclosing(shared.follow(ROOTS)) as one:
        await watches.answers.put(0)
        assert await following(one) == 0
        for number in (1, 2, 3):
            await watches.answers.put(number)
        await until(lambda: shared.known(ROOTS) == 3, "all were told")
        assert await following(one) == 3


@asynchronous
async def test_nobody_is_asked_once_nobody_follows() -> None:
    watches = Watches()
    shared = SharedWatches(watches.watch)
    waiting = [spawn(following(shared.follow(ROOTS)), name="follower") for _ in range(2)]
    await until(lambda: watches.running == 1, "it is asked")
    await cancel_and_wait(waiting[0])
    assert (watches.running, len(shared)) == (1, 1), "another one follows"
    await cancel_and_wait(waiting[1])
    await until(lambda: watches.running == 0, "it is asked no more")
    assert (len(shared), shared.known(ROOTS)) == (0, None)


@asynchronous
async def test_what_the_watch_raises_reaches_each_and_the_next_begins_anew() -> None:
    watches = Watches()
    shared = SharedWatches(watches.watch)
    waiting = [spawn(following(shared.follow(ROOTS)), name="follower") for _ in range(2)]
    await until(lambda: watches.running == 1, "it is asked")
    await watches.answers.put(ValueError("broken"))
    for one in waiting:
        with pytest.raises(ValueError, match="broken"):
            await one
    async with contextlib.aclosing(shared.follow(ROOTS)) as again:
        await watches.answers.put("new")
        assert await following(again) == "new"
