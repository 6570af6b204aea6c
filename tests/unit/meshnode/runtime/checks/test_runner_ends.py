"""The runner ends and replaces checks, and outlives their bugs: nothing is told of what has ended."""

from __future__ import annotations

import asyncio
import contextlib

import psutil
import pytest

from meshnode.base.errors import ConfigError
from meshnode.local.check_status import Result
from meshnode.local.check_type import ScriptCheck, TcpCheck
from meshnode.runtime.tasks import cancel_and_wait
from tests.support.checks import turns
from tests.support.rpc_lab import run
from tests.support.waiting import until
from tests.unit.meshnode.runtime.checks.runner_lab import TCP, Lab, Probes, lab, loops


def test_what_is_stopped_reports_nothing_any_more(probes: Probes) -> None:
    async def main() -> None:
        async with lab() as it:
            it.start("c", TCP)
            await it.pass_time(10)
            it.runners.stop("c")
            it.runners.stop("c")
            it.runners.stop("never started")
            await it.pass_time(100)
            assert probes.running == []
            assert it.seen == []
            it.start("c", TCP)
            await it.pass_time(10)
            await probes.end("warning")
            assert [status for _, status, _ in it.seen] == ["warning"]

    run(main)


def test_a_result_that_comes_after_the_stop_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        may_end = asyncio.Event()

        async def late(check: TcpCheck, _tls: object) -> Result:
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()
            return Result("critical", "too late")

        monkeypatch.setattr("meshnode.runtime.checks.tcp.check_tcp", late)
        made = Lab()
        made.start("c", TCP)
        await made.pass_time(10)
        task = made.runners._watches["c"].task
        assert task is not None
        made.runners.stop("c")
        await turns()
        assert made.seen == []
        await cancel_and_wait(task)

    run(main)


def test_a_successor_waits_until_the_one_before_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        may_end, running = asyncio.Event(), [0, 0]

        async def stubborn(check: TcpCheck, _tls: object) -> Result:
            running[0] += 1
            running[1] = max(running)
            try:
                await asyncio.Event().wait()
            finally:
                await may_end.wait()
                running[0] -= 1
            raise AssertionError

        monkeypatch.setattr("meshnode.runtime.checks.tcp.check_tcp", stubborn)
        async with lab() as it:
            it.start("c", TCP)
            await it.pass_time(10)
            it.start("c", TCP)
            it.start("c", TCP)
            await it.pass_time(100)
            assert running == [1, 1]
            may_end.set()
            await turns()
            await it.pass_time(10)
            assert running == [1, 1]

    run(main)


def test_a_bug_in_a_check_or_in_the_callback_ends_neither(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(check: TcpCheck, _tls: object) -> Result:
        raise RuntimeError("a bug")

    monkeypatch.setattr("meshnode.runtime.checks.tcp.check_tcp", broken)

    async def main() -> None:
        async with lab() as it:
            told: list[str] = []

            def refuse(status: str, output: str) -> None:
                told.append(f"{status}: {output}")
                raise KeyError(status)

            it.runners.start("c", TCP, refuse)
            for _ in range(3):
                await it.pass_time(10)
            assert told == ["critical: the check could not be run: a bug"] * 3

    run(main)
    assert 'check "c" could not be run' in caplog.text
    assert 'what check "c" found could not be taken in' in caplog.text


def test_a_definition_with_a_fault_changes_nothing(probes: Probes) -> None:
    async def main() -> None:
        async with lab() as it:
            it.start("c", TCP)
            with pytest.raises(ConfigError, match="Interval must be > 0"):
                it.start("c", TcpCheck("127.0.0.1:1"))
            await it.pass_time(10)
            assert len(probes.running) == 1

    run(main)


@loops
def test_stopping_all_leaves_no_process_and_no_task(loop: str) -> None:
    async def main() -> None:
        before = {child.pid for child in psutil.Process().children(recursive=True)}

        def started() -> set[int]:
            return {child.pid for child in psutil.Process().children(recursive=True)} - before

        async with lab() as it:
            for number in range(5):
                it.start(f"c{number}", ScriptCheck(("sh", "-c", "sleep 600 & sleep 600"), interval=10))
            await it.pass_time(10)
            await until(lambda: len(started()) >= 15, "all are running")
            await it.runners.stop_all()
            await until(lambda: not started(), "nothing is left")
            assert it.seen == []

    run(main, loop)
