"""Script checks: a program in a process group of its own, which ends with the time it is given.

Output is read as it comes, and only its end is kept. As in Consul, a run is over when the program has ended *and*
nobody holds its output any more; a program that leaves a child in the background with its output runs into the
time-out, and then the whole group is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass

from meshnode.local.check_status import CRITICAL, OutputTail, Result, status_of_exit, timeout_output
from meshnode.local.check_type import ScriptCheck, effective_timeout
from meshnode.runtime.checks.dial import error_words
from meshnode.runtime.tasks import spawn

__all__ = ["check_script"]


class _Collector(asyncio.Protocol):
    """Writes what comes through a pipe to a tail."""

    def __init__(self, tail: OutputTail) -> None:
        self._tail = tail
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Some output."""
        self._tail.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody writes any more."""
        del exc
        self.ended.set()


@dataclass(frozen=True, slots=True)
class _Started:
    """A program and the pipe that its output comes through."""

    process: Process
    pipe: asyncio.ReadTransport


async def check_script(check: ScriptCheck) -> Result:
    """Run ``check`` once. When cancelled, its processes are killed before this returns."""
    tail = OutputTail(check.output_max_size)
    collector = _Collector(tail)
    timeout = effective_timeout(check)
    # A task of its own: a start that is cancelled half-way would kill the program alone, and not what it has forked.
    starting = spawn(_start(check.args, collector), name="check script start")
    try:
        started = await asyncio.shield(starting)
        if isinstance(started, str):
            return Result(CRITICAL, started)
        async with asyncio.timeout(timeout):
            await started.process.wait()
            await collector.ended.wait()
        return Result(status_of_exit(started.process.returncode or 0), tail.text())
    except TimeoutError:
        await _end(starting)
        return Result(CRITICAL, timeout_output(timeout, tail.text()))
    except asyncio.CancelledError:
        await _end(starting)
        raise
    finally:
        if starting.done() and isinstance(started := starting.result(), _Started):
            started.pipe.close()


async def _start(args: tuple[str, ...], collector: _Collector) -> _Started | str:
    """The program, running; or why it couldn't be started."""
    try:
        read_end, write_end = os.pipe()
    except OSError as error:
        return _start_failure(args[0], error)
    with os.fdopen(write_end, "wb", buffering=0) as output:
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: collector, os.fdopen(read_end, "rb", buffering=0)
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *args, stdin=DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except (OSError, ValueError) as error:
            pipe.close()
            return _start_failure(args[0], error)
    return _Started(process, pipe)


async def _end(starting: asyncio.Task[_Started | str]) -> None:
    await asyncio.wait({starting})
    if isinstance(started := starting.result(), _Started):
        await _kill_group(started.process)


async def _kill_group(process: Process) -> None:
    # Not SIGTERM first: Consul doesn't, and what ignores it would live on. The group outlives its first process.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())


def _start_failure(program: str, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError) and "/" not in program:
        return f'exec: "{program}": executable file not found in $PATH'
    words = error_words(error) if isinstance(error, OSError) else str(error)
    return f"fork/exec {program}: {words}"
