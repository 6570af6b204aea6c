"""Group commit when the log is slow, stuck or failing; the rest of it is in the contract of the engines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from meshnode.control.log import Appended, LogUnavailableError
from meshnode.runtime.log_batcher import BatchLimits
from meshnode.runtime.log_sqlite import SqliteLog
from meshnode.runtime.tasks import spawn
from tests.support.log_contract import run
from tests.support.log_lab import serving
from tests.support.waiting import until


class Gate(SqliteLog):
    """The engine in memory, whose appends wait for ``open``."""

    def __init__(self) -> None:
        super().__init__(None, "server1")
        self.open = asyncio.Event()
        self.begun = 0

    async def append(self, commands: Sequence[bytes], epoch: int) -> Appended:
        self.begun += 1
        await self.open.wait()
        return await super().append(commands, epoch)


def test_what_comes_while_an_append_is_under_way_shares_the_next() -> None:
    async def main() -> None:
        log = Gate()
        async with serving(log) as server:
            first = spawn(server.batcher.append(b"0"), name="first")
            await until(lambda: log.begun == 1, "the first append", interval=0.001)
            rest = [spawn(server.batcher.append(b"%d" % n), name="rest") for n in range(1, 100)]
            await asyncio.sleep(0)
            log.open.set()
            await asyncio.gather(first, *rest)
            assert [len(entry.commands) for entry in server.entries] == [1, 99]

    run(main)


def test_a_write_that_is_given_up_says_whether_it_may_have_been_made() -> None:
    async def main() -> None:
        log = Gate()
        async with serving(log, BatchLimits(append_timeout=0.2)) as server:
            first = spawn(_error(server.batcher.append(b"in flight")), name="first")
            await until(lambda: log.begun == 1, "the first append", interval=0.001)
            second = spawn(_error(server.batcher.append(b"queued")), name="second")
            in_flight, queued = await first, await second
            assert (in_flight.in_doubt, queued.in_doubt) == (True, False)
            assert "did not take the write in 0.2 s" in str(queued)
            log.open.set()
            await server.batcher.append(b"later")
            assert server.state == [b"in flight", b"later"]

    run(main)


def test_who_offers_a_write_hears_of_it_as_who_awaits_one_does() -> None:
    async def main() -> None:
        log = Gate()
        async with serving(log, BatchLimits(append_timeout=0.2)) as server:
            in_flight = server.batcher.offer(b"in flight")
            await until(lambda: log.begun == 1, "the first append", interval=0.001)
            given_up, queued = server.batcher.offer(b"given up"), server.batcher.offer(b"queued")
            given_up.cancel()
            assert (await _error(in_flight)).in_doubt
            assert not (await _error(queued)).in_doubt
            log.open.set()
            assert (await server.batcher.offer(b"later")).result == 2
            assert server.state == [b"in flight", b"later"]

    run(main)


def test_what_was_given_up_is_not_written() -> None:
    async def main() -> None:
        log = Gate()
        async with serving(log, BatchLimits(max_batch_bytes=8)) as server:
            first = server.batcher.offer(b"first")
            await until(lambda: log.begun == 1, "the first append", interval=0.001)
            for _ in range(2):
                server.batcher.offer(b"given up").cancel()
            log.open.set()
            await first
            await server.batcher.append(b"later")
            assert server.state == [b"first", b"later"]

    run(main)


def test_writes_that_came_later_are_given_up_later() -> None:
    async def main() -> None:
        log = Gate()
        async with serving(log, BatchLimits(append_timeout=0.15)) as server:
            ended: list[str] = []
            for name in ("first", "second", "third"):
                offered = server.batcher.offer(name.encode())
                offered.add_done_callback(lambda done, name=name: ended.append(f"{name} {done.exception()}"))
                before = asyncio.get_running_loop().time()
                await until(
                    lambda before=before: asyncio.get_running_loop().time() > before + 0.03,
                    "time passes",
                    interval=0.005,
                )
            await until(lambda: len(ended) == 3, "all are given up", interval=0.005)
            assert [line.split()[0] for line in ended] == ["first", "second", "third"]
            assert all("did not take the write in 0.15 s" in line for line in ended)

    run(main)


def test_stopping_tells_each_writer_the_same() -> None:
    async def main() -> None:
        log = Gate()
        async with serving(log) as server:
            first = spawn(_error(server.batcher.append(b"in flight")), name="first")
            await until(lambda: log.begun == 1, "the first append", interval=0.001)
            second = spawn(_error(server.batcher.append(b"queued")), name="second")
            await asyncio.sleep(0)
            await server.batcher.stop()
            assert ((await first).in_doubt, (await second).in_doubt) == (True, False)
            assert server.state == []

    run(main)


def test_before_start_nothing_is_taken() -> None:
    async def main() -> None:
        async with serving(SqliteLog(None, "server1"), campaign=False) as server:
            await server.batcher.stop()
            with pytest.raises(LogUnavailableError, match="stopping"):
                await server.batcher.append(b"x")

    run(main)


async def _error(write: object) -> LogUnavailableError:
    with pytest.raises(LogUnavailableError) as caught:
        await write  # type: ignore[misc]
    return caught.value
