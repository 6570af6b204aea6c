from __future__ import annotations

import asyncio
from collections.abc import Iterator

from meshnode.runtime.tasks import spawn
from meshnode.runtime.turns import Turns


def counted(name: str, log: list[str], count: int = 3) -> Iterator[bytes]:
    for number in range(count):
        log.append(f"{name}{number}")
        yield name.encode()


def test_there_is_one_step_in_a_turn_and_everybody_comes_to_theirs() -> None:
    async def main() -> None:
        turns, log = Turns(), list[str]()

        async def take(name: str) -> bytes:
            return b"".join([piece async for piece in turns.each(counted(name, log))])

        tasks = [spawn(take(name), name=name) for name in "abc"]
        seen = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            assert len(log) - seen <= 1, "two steps in one turn"
            seen = len(log)
        assert [task.result() for task in tasks] == [b"aaa", b"bbb", b"ccc"]
        assert log == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]

    asyncio.run(main())


def test_who_goes_away_in_line_holds_nobody_up() -> None:
    async def main() -> None:
        turns, log = Turns(), list[str]()
        first, second = turns.each(counted("a", log)), turns.each(counted("b", log))
        assert await anext(first) == b"a"

        async def take() -> bytes:
            return await anext(second)

        waiting = spawn(take(), name="waits")
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await anext(first) == b"a"
        assert log[-1] == "a1"

    asyncio.run(main())


def test_nothing_is_done_before_it_is_asked_for() -> None:
    async def main() -> None:
        log: list[str] = []
        pieces = Turns().each(counted("a", log))
        await anext(pieces)
        assert log == ["a0"]

    asyncio.run(main())
