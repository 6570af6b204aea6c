"""Real programs: exit codes, output, time-outs of whole process groups, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from meshnode.local.check_type import ScriptCheck
from meshnode.runtime.checks.script import check_script
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.rpc_lab import LOOPS, run
from tests.support.waiting import until

loops = pytest.mark.parametrize("loop", LOOPS)


def shell(text: str, timeout: float = 20.0, size: int = 4096) -> ScriptCheck:
    return ScriptCheck(("sh", "-c", text), interval=10, timeout=timeout, output_max_size=size)


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@loops
@pytest.mark.parametrize(
    ("text", "status", "output"),
    [
        ("echo fine", "passing", "fine\n"),
        ("echo out; echo err >&2; exit 1", "warning", "out\nerr\n"),
        ("exit 2", "critical", ""),
        ("kill -9 $$", "critical", ""),
        ("cat", "passing", ""),
    ],
)
def test_the_exit_code_is_the_status_and_both_outputs_are_shown(
    loop: str, text: str, status: str, output: str
) -> None:
    assert run(lambda: check_script(shell(text)), loop) == (status, output)


@loops
def test_no_shell_reads_the_arguments(loop: str) -> None:
    check = ScriptCheck(("echo", "$HOME", "*", ";ls"), interval=10)
    assert run(lambda: check_script(check), loop).output == "$HOME * ;ls\n"


@loops
def test_only_the_end_of_a_long_output_is_kept(loop: str) -> None:
    check = shell("head -c 3000000 /dev/zero | tr '\\0' a; echo end", size=100)
    output = run(lambda: check_script(check), loop).output
    assert output == "Captured 100 of 3000004 bytes\n...\n" + "a" * 96 + "end\n"


@loops
@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("no-such-program-here", 'exec: "no-such-program-here": executable file not found in $PATH'),
        ("/no/such/program", "fork/exec /no/such/program: no such file or directory"),
        ("/etc/passwd", "fork/exec /etc/passwd: permission denied"),
    ],
)
def test_a_program_that_cannot_be_started_is_critical_with_the_reason(
    loop: str, program: str, text: str
) -> None:
    async def main() -> None:
        before = open_files()
        result = await check_script(ScriptCheck((program,), interval=10))
        assert result == ("critical", text)
        await until(lambda: open_files() <= before + 1, "the pipe is closed")

    run(main, loop)


def stubborn(pids: Path) -> str:
    """Ignores every signal that can be ignored, and so do its child and its grandchild."""
    return (
        f"trap '' TERM INT HUP; echo started; "
        f"(trap '' TERM INT HUP; (trap '' TERM; echo $$ >> {pids}; while :; do sleep 600; done) & "
        f"echo $! >> {pids}; while :; do sleep 600; done) & "
        f"echo $! >> {pids}; echo $$ >> {pids}; while :; do sleep 600; done"
    )


def written(pids: Path) -> Callable[[], list[int]]:
    def read() -> list[int]:
        found = [int(line) for line in pids.read_text().split()] if pids.exists() else []
        return found if len(found) >= 4 else []

    return read


@loops
def test_at_the_time_out_the_whole_group_is_gone_whatever_it_ignores(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        before = children()
        pids = tmp_path / "pids"
        result = await check_script(shell(stubborn(pids), timeout=1.0))
        assert result == ("critical", "Timed out (1s) running check\n\nstarted\n")
        started = written(pids)()
        assert len(started) >= 4
        await until(lambda: not [pid for pid in started if alive(pid)], "no survivor")
        await until(lambda: children() <= before, "no zombie")

    run(main, loop)


@loops
def test_a_run_that_is_cancelled_takes_its_group_along(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        before, files = children(), open_files()
        pids = tmp_path / "pids"
        task = spawn(check_script(shell(stubborn(pids))), name="check")
        started = await until(written(pids), "all have started")
        await cancel_and_wait(task)
        assert task.cancelled()
        await until(lambda: not [pid for pid in started if alive(pid)], "no survivor")
        await until(lambda: children() <= before, "no zombie")
        await until(lambda: open_files() <= files + 1, "no pipe is left")

    run(main, loop)


@loops
def test_a_run_can_be_cancelled_at_any_moment_of_its_start(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        before, files = children(), open_files()
        marks = [str(tmp_path / str(number)) for number in range(40)]
        for number, mark in enumerate(marks):
            text = f"sleep 600.{number} & echo $! > {mark}; sleep 600"
            task = spawn(check_script(shell(text)), name="check")
            for _ in range(number % 20):
                await asyncio.sleep(0)
            await cancel_and_wait(task)
        started = [
            int(Path(mark).read_text()) for mark in marks if Path(mark).exists() and Path(mark).read_text()
        ]
        await until(lambda: not [pid for pid in started if alive(pid)], "no survivor")
        await until(lambda: children() <= before, "no zombie")
        await until(lambda: open_files() <= files + 1, "no pipe is left")

    run(main, loop)


@loops
def test_a_child_that_keeps_the_output_open_runs_into_the_time_out_as_in_consul(loop: str) -> None:
    before = children()
    check = shell("sleep 600 & echo done", timeout=0.5)
    assert run(lambda: check_script(check), loop) == (
        "critical",
        "Timed out (500ms) running check\n\ndone\n",
    )
    assert children() <= before


@loops
def test_a_program_that_writes_for_ever_does_not_hold_up_the_loop(loop: str) -> None:
    async def main() -> None:
        task = spawn(check_script(ScriptCheck(("yes",), interval=10, timeout=1.0)), name="check")
        ticks = 0
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks >= 5
        text = task.result().output
        assert text.startswith("Timed out (1s) running check\n\nCaptured 4096 of ")
        assert text.endswith("y\n" * 100)

    run(main, loop)
