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

from meshnode.local.check_status import CRITICAL, OutputTail, Result, status_of_exit, timeout_output
from meshnode.local.check_type import ScriptCheck, effective_timeout
from meshnode.runtime.checks.dial import error_words

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


async def check_script(check: ScriptCheck) -> Result:
    """Run ``check`` once. When cancelled, its processes are killed before this returns."""
    tail = OutputTail(check.output_max_size)
    collector = _Collector(tail)
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb", buffering=0) as output:
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: collector, os.fdopen(read_end, "rb", buffering=0)
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *check.args, stdin=DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except (OSError, ValueError) as error:
            pipe.close()
            return Result(CRITICAL, _start_failure(check.args[0], error))
        except asyncio.CancelledError:
            pipe.close()
            raise
    try:
        timeout = effective_timeout(check)
        try:
            async with asyncio.timeout(timeout):
                await process.wait()
                await collector.ended.wait()
        except TimeoutError:
            await _kill_group(process)
            return Result(CRITICAL, timeout_output(timeout, tail.text()))
        except asyncio.CancelledError:
            await _kill_group(process)
            raise
        return Result(status_of_exit(process.returncode or 0), tail.text())
    finally:
        pipe.close()


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
