"""What both engines must do, as tests: a subclass says how to make a log."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest
import uvloop

from meshnode.control.log import (
    MAX_BATCH_BYTES,
    MAX_COMMAND_BYTES,
    CompactedError,
    Entry,
    Log,
    LogBusyError,
    LogHaltedError,
    LogUnavailableError,
    NotLeaderError,
    Snapshot,
    StaleEpochError,
)
from meshnode.runtime.log_batcher import BatchLimits
from meshnode.runtime.tasks import spawn
from tests.support.log_lab import check_history, read_log, serving
from tests.support.waiting import until

__all__ = ["DurableLogContract", "LogContract", "run"]


async def _next(feed: AsyncGenerator[Entry, None]) -> Entry:
    return await anext(feed)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``main``; fails when it leaves a task or a thread behind."""

    async def watched() -> None:
        threads = set(threading.enumerate())
        async with asyncio.timeout(100):
            await main()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        assert set(threading.enumerate()) <= threads, threading.enumerate()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(watched())


class LogContract(ABC):
    """Each test begins with an empty log. A subclass without the fixture ``make`` can't be collected."""

    @abstractmethod
    def make(self) -> Callable[[], Log]:
        """A fixture: what opens the log."""

    def test_indexes_start_at_one_and_have_no_hole_whatever_the_batches(
        self, make: Callable[[], Log]
    ) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                first = await server.log.append([b"a"], server.epoch)
                second = await server.log.append([b"b", b"c", b"d"], server.epoch)
                third = await server.log.append([b"e"], server.epoch)
                assert [(each.index, each.last) for each in (first, second, third)] == [
                    (1, 1),
                    (2, 4),
                    (5, 5),
                ]
                assert await server.replica.barrier() >= 5
                assert server.state == [b"a", b"b", b"c", b"d", b"e"]
                assert [entry.index for entry in server.entries] == [1, 2, 5]
                assert {entry.epoch for entry in server.entries} == {server.epoch}

        run(main)

    def test_each_writer_hears_the_index_and_the_result_of_its_own_command(
        self, make: Callable[[], Log]
    ) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                commands = [b"%d" % number for number in range(500)]
                written = await asyncio.gather(*map(server.batcher.append, commands))
                assert sorted(each.index for each in written) == list(range(1, 501))
                for command, each in zip(commands, written, strict=True):
                    assert each.result == each.index
                    assert server.state[each.index - 1] == command
                assert server.batcher.batches < 50, "commands that wait share an append"

        run(main)

    def test_follow_begins_anywhere_and_goes_on_with_what_is_written_later(
        self, make: Callable[[], Log]
    ) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                for number in range(1, 6):
                    await server.log.append([b"%d" % number], server.epoch)
                async with aclosing(server.log.follow(3)) as feed:
                    assert [(await anext(feed)).index for _ in range(2)] == [4, 5]
                    waiting = spawn(_next(feed), name="test-feed")
                    await server.log.append([b"6", b"7"], server.epoch)
                    assert (await waiting).commands == (b"6", b"7")

        run(main)

    def test_many_followers_see_the_same_log(self, make: Callable[[], Log]) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                await asyncio.gather(*(server.batcher.append(b"%d" % n) for n in range(300)))
                logs = await asyncio.gather(*(read_log(server.log, after=0) for _ in range(5)))
                assert all(log == logs[0] for log in logs)
                assert [command for entry in logs[0] for command in entry.commands] == server.state

        run(main)

    def test_the_largest_entry_goes_through_and_a_byte_more_is_refused(self, make: Callable[[], Log]) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                large = b"x" * MAX_COMMAND_BYTES
                assert (await server.batcher.append(large)).index == 1
                with pytest.raises(ValueError, match="at most"):
                    await server.batcher.append(large + b"x")
                with pytest.raises(ValueError, match="at most"):
                    await server.log.append([large, b"x"], server.epoch)
                with pytest.raises(ValueError, match="1 to"):
                    await server.log.append([], server.epoch)
                halves = await asyncio.gather(
                    *(server.batcher.append(b"y" * (MAX_BATCH_BYTES // 2)) for _ in range(5))
                )
                assert [each.index for each in halves] == [2, 3, 4, 5, 6]
                assert [len(entry.commands) for entry in await read_log(server.log)] == [1, 2, 2, 1]

        run(main)

    def test_the_queue_is_bounded_and_a_full_one_says_so_at_once(self, make: Callable[[], Log]) -> None:
        async def main() -> None:
            async with serving(make(), BatchLimits(max_queued_commands=10, max_queued_bytes=100)) as server:
                answers = await asyncio.gather(
                    *(server.batcher.append(b"%d" % n) for n in range(30)), return_exceptions=True
                )
                refused = [answer for answer in answers if isinstance(answer, LogBusyError)]
                assert len(refused) == 20
                assert not any(error.in_doubt for error in refused)
                assert len(server.state) == 10
                large = await asyncio.gather(
                    *(server.batcher.append(b"x" * 50) for _ in range(3)), return_exceptions=True
                )
                assert [isinstance(answer, LogBusyError) for answer in large] == [False, False, True]
                assert (await server.batcher.append(b"again")).index == 13

        run(main)

    def test_a_cancelled_writer_leaves_the_queue_and_the_others_alone(self, make: Callable[[], Log]) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                tasks = [spawn(server.batcher.append(b"%d" % n), name="test-writer") for n in range(20)]
                await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
                answers = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
                assert sorted(server.state) == sorted(b"%d" % n for n in range(1, 20, 2))
                assert server.batcher._queued_bytes == 0

        run(main)

    def test_who_does_not_lead_writes_nothing(self, make: Callable[[], Log]) -> None:
        async def main() -> None:
            async with serving(make(), campaign=False) as server:
                with pytest.raises(NotLeaderError):
                    await server.batcher.append(b"x")
                with pytest.raises(NotLeaderError):
                    await server.log.append([b"x"], 1)
                assert await server.log.barrier() == 0

        run(main)

    def test_a_write_for_an_epoch_that_is_over_is_refused(self, make: Callable[[], Log]) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                old = server.epoch
                await server.batcher.append(b"x", epoch=old)
                await server.log.resign()
                await until(lambda: not server.leads, "resigned")
                assert await server.lead() > old
                with pytest.raises(StaleEpochError):
                    await server.log.append([b"y"], old)
                answers = await asyncio.gather(
                    server.batcher.append(b"y", epoch=old),
                    server.batcher.append(b"z", epoch=server.epoch),
                    return_exceptions=True,
                )
                assert isinstance(answers[0], StaleEpochError)
                await server.replica.barrier()
                assert server.state == [b"x", b"z"]
                leaders = [(change.leader, change.epoch) for change in server.changes]
                assert leaders == [("server1", old), ("", 0), ("server1", server.epoch)]

        run(main)

    def test_compaction_goes_no_further_than_the_snapshot_and_stops_at_entries(
        self, make: Callable[[], Log]
    ) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                await server.log.append([b"1", b"2", b"3"], server.epoch)
                await server.log.append([b"4"], server.epoch)
                with pytest.raises(ValueError, match="no snapshot covers index 3"):
                    await server.log.compact(3)
                await server.replica.wait_applied(4)
                await server.log.save_snapshot(server.snapshot())
                with pytest.raises(ValueError, match="no entry ends at index 2"):
                    await server.log.compact(2)
                await server.log.compact(4)
                assert await read_log(server.log, after=4) == []
                assert (await server.batcher.append(b"5")).index == 5

        run(main)

    def test_a_new_snapshot_replaces_the_old_and_a_large_one_goes_through(
        self, make: Callable[[], Log]
    ) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                assert await server.log.load_snapshot() is None
                await server.log.append([b"1"], server.epoch)
                await server.log.append([b"2"], server.epoch)
                await server.log.save_snapshot(Snapshot(1, b""))
                assert await server.log.load_snapshot() == Snapshot(1, b"")
                large = Snapshot(2, bytes(range(256)) * 12_345)
                await server.log.save_snapshot(large)
                assert await server.log.load_snapshot() == large

        run(main)

    def test_a_follower_that_was_away_past_a_compaction_catches_up(self, make: Callable[[], Log]) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                await server.replica.stop()  # away, while the log goes on
                for number in range(1, 11):
                    await server.log.append([b"%d" % number], server.epoch)
                state = [b"%d" % number for number in range(1, 11)]
                server.state[:], applied = state, server.replica.applied
                await server.log.save_snapshot(Snapshot(10, server.snapshot().data))
                server.state.clear()
                await server.log.compact(10)
                await server.log.append([b"11"], server.epoch)
                assert applied == 0
                await server.replica.start()
                assert await server.replica.barrier() == 11
                assert server.state == [*state, b"11"]

        run(main)

    def test_an_entry_that_can_not_be_applied_stops_the_server(self, make: Callable[[], Log]) -> None:
        async def main() -> None:
            async with serving(make(), fail_on=b"bad") as server:
                await server.batcher.append(b"good")
                for command in (b"bad", b"good"):
                    with pytest.raises(LogHaltedError, match="index 2 can't be applied"):
                        await server.batcher.append(command)
                assert len(server.halts) == 1
                assert server.state == [b"good"]
                with pytest.raises(LogHaltedError):
                    await server.replica.barrier()

        run(main)

    def test_after_stop_everything_answers_and_nothing_hangs(self, make: Callable[[], Log]) -> None:
        async def main() -> None:
            log = make()
            async with serving(log) as server:
                await server.batcher.append(b"x")
                feed = log.follow(1)
                waiting = spawn(_next(feed), name="test-feed")
                await asyncio.sleep(0)
                await log.stop()
                with pytest.raises(StopAsyncIteration):
                    await waiting
                with pytest.raises((NotLeaderError, LogUnavailableError)):
                    await server.batcher.append(b"y")
                with pytest.raises(LogUnavailableError):
                    await log.barrier()
            with pytest.raises(LogUnavailableError, match="stopping"):
                await server.batcher.append(b"z")

        run(main)


class DurableLogContract(LogContract):
    """Of an engine that outlives its process: ``make()`` opens the same log each time."""

    def test_what_was_acknowledged_is_there_after_a_restart_and_indexes_go_on(
        self, make: Callable[[], Log]
    ) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                for number in range(20):
                    await server.batcher.append(b"%d" % number)
                before, epoch = list(server.state), server.epoch
            async with serving(make()) as server:
                assert server.epoch > epoch
                await server.replica.barrier()
                assert server.state == before
                assert (await server.batcher.append(b"next")).index == 21
                check_history(await read_log(server.log), {b"19": 20, b"next": 21})

        run(main)

    def test_after_compaction_a_server_starts_from_the_snapshot_and_goes_on(
        self, make: Callable[[], Log]
    ) -> None:
        async def main() -> None:
            async with serving(make()) as server:
                for number in range(1, 1201):
                    await server.log.append([b"%d" % number], server.epoch)
                await server.replica.wait_applied(1200)
                await server.log.save_snapshot(server.snapshot())
                await server.log.append([b"1201", b"1202"], server.epoch)
                await server.log.compact(1200)
                with pytest.raises(CompactedError) as caught:
                    await anext(server.log.follow(1199))
                assert caught.value.oldest == 1201
                assert [entry.index for entry in await read_log(server.log, after=1200)] == [1201]
                before = list(server.state)
            async with serving(make()) as server:
                await server.replica.barrier()
                assert server.state == before
                assert (await server.batcher.append(b"on")).index == 1203

        run(main)
