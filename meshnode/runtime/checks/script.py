"""Script checks: a program in a process group of its own, which ends with the time it is given.

Output is read as it comes, and only its end is kept. As in Consul, a run is over when the program has ended *and*
nobody holds its output any more; a program that leaves a child in the background with its output runs into the
time-out, and then the whole group is killed.
"""

from __future__ import annotations

import asyncio
import signal

from meshnode.local.check_status import CRITICAL, OutputTail, Result, status_of_exit, timeout_output
from meshnode.local.check_type import ScriptCheck, effective_timeout
from meshnode.runtime.checks.dial import error_words
from meshnode.runtime.child import ChildError, start_program

__all__ = ["check_script"]


async def check_script(check: ScriptCheck) -> Result:
    """Run ``check`` once. When cancelled, its processes are killed before this returns."""
    tail, timeout = OutputTail(check.output_max_size), effective_timeout(check)
    try:
        child = await start_program(check.args)
    except ChildError as failure:
        return Result(CRITICAL, _start_failure(check.args[0], failure.error))
    try:
        async with asyncio.timeout(timeout):
            while piece := await child.read():
                tail.write(piece)
            return Result(status_of_exit(await child.wait()), tail.text())
    except TimeoutError:
        # Not SIGTERM first: Consul doesn't, and what ignores it would live on. The group outlives its first process.
        child.send(signal.SIGKILL)
        return Result(CRITICAL, timeout_output(timeout, tail.text()))
    except asyncio.CancelledError:
        child.send(signal.SIGKILL)
        raise
    finally:
        await child.close()


def _start_failure(program: str, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError) and "/" not in program:
        return f'exec: "{program}": executable file not found in $PATH'
    words = error_words(error) if isinstance(error, OSError) else str(error)
    return f"fork/exec {program}: {words}"
