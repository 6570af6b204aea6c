from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path

import pytest

from meshnode.runtime.child import Child, ChildError, Ended, run_program, shell_program, start_program
from meshnode.runtime.tasks import spawn
from tests.support.asynchronous import asynchronous
from tests.support.processes import is_gone
from tests.support.rpc_lab import LOOPS, run
from tests.support.waiting import until

TIMEOUT = 20.0


def sh(line: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", line)


async def read_file(path: Path) -> str:
    """Read a FIFO without holding up the loop."""
    return await asyncio.wait_for(asyncio.to_thread(path.read_text), TIMEOUT)


def test_the_shell_is_the_users_or_the_systems() -> None:
    assert shell_program("a b", {"SHELL": "/bin/zsh"}) == ("/bin/zsh", "-c", "a b")
    assert shell_program("a b", {"SHELL": ""}) == ("/bin/sh", "-c", "a b")


@pytest.mark.parametrize("loop", LOOPS)
def test_input_environment_output_and_exit_code(loop: str) -> None:
    async def scenario() -> Ended:
        return await run_program(
            sh("cat; echo $WORD >&2; exit 3"),
            environment={"WORD": "hello"},
            input_data=b"x" * 100_000,
            max_output_bytes=10,
        )

    ended = run(scenario, loop)
    assert (ended.code, ended.output, ended.total_bytes) == (3, b"xxxxhello\n", 100_006)


@asynchronous
async def test_a_program_that_reads_nothing_does_not_hang_on_its_input() -> None:
    ended = await run_program(sh("true"), input_data=b"x" * 1_000_000, max_output_bytes=10)
    assert (ended.code, ended.output) == (0, b"")


@asynchronous
async def test_a_signal_is_a_negative_code() -> None:
    assert (await run_program(sh("kill -9 $$"), max_output_bytes=10)).code == -9


@pytest.mark.parametrize("arguments", [("/no/such",), ("/etc/passwd",), ("/bin/echo", "a\0b")])
@asynchronous
async def test_what_can_not_be_started_is_named_and_leaks_nothing(arguments: tuple[str, ...]) -> None:
    gc.collect()  # sockets that other tests left to it
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ChildError, match=f"can't run '{arguments[0]}': "):
        await run_program(arguments, max_output_bytes=10)
    assert len(os.listdir("/proc/self/fd")) == before


@asynchronous
async def test_a_program_in_the_background_that_keeps_the_output_open_is_not_waited_for(
    tmp_path: Path,
) -> None:
    never = tmp_path / "never"
    os.mkfifo(never)
    async with asyncio.timeout(TIMEOUT):
        ended = await run_program(sh(f"cat {never} & echo $!"), max_output_bytes=100)
    pid = int(ended.output)
    assert not is_gone(pid)
    os.kill(pid, signal.SIGKILL)


@asynchronous
async def test_cancelling_kills_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    os.mkfifo(tmp_path / "never")
    line = f"cat {tmp_path / 'never'} & echo $! $$ > {pids}; wait"
    running = spawn(run_program(sh(line), max_output_bytes=10), name="test")
    found = [int(pid) for pid in (await read_file(pids)).split()]
    watched = [os.pidfd_open(pid) for pid in found]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for descriptor in watched:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, ended.set)
        await asyncio.wait_for(ended.wait(), TIMEOUT)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_start_that_is_cancelled_at_any_moment_leaves_nothing_of_the_group(
    tmp_path: Path, loop: str
) -> None:
    async def main() -> None:
        files = len(os.listdir("/proc/self/fd"))
        marks = [tmp_path / str(number) for number in range(20)]
        for number, mark in enumerate(marks):
            line = f"sleep 600.{number} & echo $! $$ > {mark}; sleep 600"
            starting = spawn(start_program(sh(line)), name="test")
            for _ in range(number % 10):
                await asyncio.sleep(0)
            starting.cancel()
            if isinstance(child := (await asyncio.gather(starting, return_exceptions=True))[0], Child):
                await child.close()
        started = [int(pid) for mark in marks if mark.exists() for pid in mark.read_text().split()]
        await until(lambda: all(map(is_gone, started)), "no survivor")
        await until(lambda: len(os.listdir("/proc/self/fd")) <= files + 1, "no pipe is left")

    run(main, loop)


@asynchronous
async def test_ending_is_gentle_first_and_then_not(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    script = "import signal, sys; signal.signal(15, {}); open(sys.argv[1], 'w').close(); signal.pause()"
    exiting = script.format("lambda *_: sys.exit(7)")
    gentle = await start_program((sys.executable, "-c", exiting, str(ready)), capture=False)
    await read_file(ready)
    assert await gentle.end(TIMEOUT) == 7
    stubborn = await start_program(
        (sys.executable, "-c", script.format("signal.SIG_IGN"), str(ready)), capture=False
    )
    await read_file(ready)
    assert await stubborn.end(0.05) == -9
    stubborn.send(signal.SIGTERM)  # it has ended: nothing happens


@asynchronous
async def test_a_cancellation_that_comes_with_the_end_of_the_output_is_not_lost(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "end")
    line = f"cat {tmp_path / 'end'} & exit 0"
    running = spawn(run_program(sh(line), max_output_bytes=10), name="program")
    (collecting,) = await until(lambda: named("child-output"), "the output is read", interval=0.001)
    collecting.add_done_callback(lambda _: running.cancel())
    await asyncio.wait_for(asyncio.to_thread((tmp_path / "end").write_text, "x"), TIMEOUT)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(running), TIMEOUT)


def named(name: str) -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == name]
