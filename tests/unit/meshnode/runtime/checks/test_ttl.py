"""TTL checks on a clock that the test turns."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from meshnode.local.check_status import Result
from meshnode.local.check_type import TtlCheck
from meshnode.runtime.checks.ttl import TtlTimer
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.checks import TurnedClock, turns
from tests.support.rpc_lab import run


class Lab:
    def __init__(self, check: TtlCheck, **more: Any) -> None:
        self.clock = TurnedClock()
        self.expired: list[Result] = []
        self.timer = TtlTimer(check, self.clock, **more)

    async def pass_time(self, seconds: float) -> None:
        await turns()
        self.clock.advance(seconds)
        await turns()


@contextlib.asynccontextmanager
async def timing(ttl: float = 10, **more: Any) -> AsyncIterator[Lab]:
    lab = Lab(TtlCheck(ttl), **more)
    task = spawn(lab.timer.run(lab.expired.append), name="ttl")
    try:
        yield lab
    finally:
        await cancel_and_wait(task)


def test_it_expires_at_its_deadline_once_and_not_before() -> None:
    async def main() -> None:
        async with timing() as lab:
            await lab.pass_time(9.999)
            assert lab.expired == []
            await lab.pass_time(0.001)
            assert lab.expired == [("critical", "TTL expired")]
            await lab.pass_time(1000)
            assert len(lab.expired) == 1
            assert lab.timer.remaining == 0

    run(main)


def test_every_update_starts_the_ttl_again_and_also_after_it_has_expired() -> None:
    async def main() -> None:
        async with timing() as lab:
            for number in range(5):
                await lab.pass_time(9)
                assert lab.timer.update("passing", f"fine {number}") == ("passing", f"fine {number}")
            assert lab.expired == []
            await lab.pass_time(10)
            text = "TTL expired (last output before timeout follows): fine 4"
            assert lab.expired == [("critical", text)]
            lab.timer.update("warning", "")
            await lab.pass_time(9)
            assert len(lab.expired) == 1
            await lab.pass_time(1)
            assert lab.expired[1:] == [("critical", "TTL expired")]

    run(main)


def test_updates_cost_no_task_and_no_timer_each() -> None:
    async def main() -> None:
        async with timing() as lab:
            await turns()
            for _ in range(1000):
                lab.timer.update("passing", "")
            await turns()
            assert len(lab.clock.asked) == 1

    run(main)


def test_after_a_restart_only_what_was_left_is_waited_for() -> None:
    async def main() -> None:
        async with timing(remaining=2.5, last_output="before") as lab:
            assert lab.timer.remaining == 2.5
            await lab.pass_time(2.5)
            assert lab.expired[0].output == "TTL expired (last output before timeout follows): before"
        async with timing(remaining=1e9) as lab:
            assert lab.timer.remaining == 10
        async with timing(remaining=-5) as lab:
            await turns()
            assert len(lab.expired) == 1

    run(main)


def test_a_long_report_is_cut_and_the_cut_one_is_what_expires() -> None:
    async def main() -> None:
        async with timing() as lab:
            assert lab.timer.update("passing", "x" * 5000).output.endswith(
                " ... (captured 4096 of 5000 bytes)"
            )
            await lab.pass_time(10)
            assert len(lab.expired[0].output) < 4300

    run(main)
