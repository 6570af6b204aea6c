"""Programs that we run: in a process group of their own, with bounded output, never left behind when told to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.runtime.tasks import spawn
from meshnode.runtime.unnamed_file import unnamed_file

__all__ = [
    "FORWARDED",
    "KILL_GRACE",
    "Child",
    "ChildError",
    "Ended",
    "run_program",
    "shell_program",
    "start_program",
]

#: Seconds between SIGTERM and SIGKILL.
KILL_GRACE: Final = 5.0
#: Signals that a command in front of a child hands on: they are the child's affair.
FORWARDED: Final = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
#: Seconds that output may still come after the program has ended: something it started may hold the pipe for ever.
TRAILING_OUTPUT_TIMEOUT: Final = 0.5
READ_BYTES: Final = 4096


class ChildError(MeshError):
    """The program could not be started; ``str()`` names it and says why."""

    def __init__(self, program: str, error: OSError | ValueError) -> None:
        super().__init__(f"can't run {program!r}: {getattr(error, 'strerror', None) or error}")
        self.error = error


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. ``code`` is negative for a signal; ``total_bytes`` is how long the output was uncut."""

    code: int
    output: bytes
    total_bytes: int


def shell_program(line: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The arguments that run ``line`` in the user's shell (``SHELL``), or in ``/bin/sh``, as Consul does."""
    found = os.environ if environ is None else environ
    return (found.get("SHELL") or "/bin/sh", "-c", line)


class Child:
    """A program that was started. Signals go to its whole group, if it has one of its own."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader | None,
        pipe: asyncio.BaseTransport | None, *, own_group: bool
    ) -> None:  # fmt: skip
        self._process = process
        self._reader = reader
        self._pipe = pipe
        self._own_group = own_group

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def read(self) -> bytes:
        """Some of its output, standard output and error together; empty at the end of it."""
        assert self._reader is not None, "the output was not captured"
        return await self._reader.read(READ_BYTES)

    async def wait(self) -> int:
        """The exit code, negative for a signal; does not wait for the end of the output."""
        return await self._process.wait()

    def send(self, number: int) -> None:
        """Send a signal; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._own_group:
                os.killpg(self.pid, number)
            else:
                self._process.send_signal(number)

    async def end(self, grace: float = KILL_GRACE, first: int = signal.SIGTERM) -> int:
        """Signal ``first``, and SIGKILL after ``grace`` seconds; what is left of the group is killed in any case."""
        self.send(first)
        try:
            async with asyncio.timeout(grace):
                await self.wait()
        except TimeoutError:
            pass
        finally:
            self.send(signal.SIGKILL)
        return await self.wait()

    async def close(self) -> None:
        """Kill it if it has not ended, wait until it is gone, and let go of the pipe."""
        try:
            if self._process.returncode is None:
                self.send(signal.SIGKILL)
                await self.wait()
        finally:
            if self._pipe is not None:
                self._pipe.close()


async def start_program(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    input_data: bytes | None = b"",
    capture: bool = True,
    own_group: bool = True,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a program; raises :class:`ChildError`.

    ``environment`` is added to ours. ``input_data`` is what it reads on standard input, ``None``: our own. Unless
    ``capture``, output goes where ours goes. Without ``own_group`` it stays in the foreground of our terminal.
    ``pass_fds`` are descriptors that it gets under the same numbers. Cancelled, it leaves nothing that runs.
    """
    # A task of its own: a start that is cancelled half-way would kill the program alone, and not what it has forked.
    starting = spawn(
        _start(arguments, environment, input_data, capture=capture, own_group=own_group, pass_fds=pass_fds),
        name="program start",
    )
    try:
        started: Child | ChildError = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting})
        if isinstance(started := starting.result(), Child):
            started.send(signal.SIGKILL)
            await started.close()
        raise
    if isinstance(started, ChildError):
        raise started
    return started


async def _start(
    arguments: Sequence[str],
    environment: Mapping[str, str] | None,
    input_data: bytes | None,
    *,
    capture: bool,
    own_group: bool,
    pass_fds: Sequence[int],
) -> Child | ChildError:
    name = arguments[0] if arguments else ""
    reading = writing = -1
    try:
        if capture:
            reading, writing = os.pipe()
        # A file and no pipe: a program may leave its input unread for as long as it likes.
        with os.fdopen(unnamed_file(input_data), "rb") if input_data else contextlib.nullcontext() as spooled:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=spooled if spooled is not None else None if input_data is None else asyncio.subprocess.DEVNULL,
                stdout=writing if capture else None,
                stderr=writing if capture else None,
                env={**os.environ, **(environment or {})},
                start_new_session=own_group,
                pass_fds=pass_fds,
            )  # fmt: skip
    except (OSError, ValueError) as error:
        if reading >= 0:
            os.close(reading)
        return ChildError(name, error)
    finally:
        if writing >= 0:
            os.close(writing)
    if not capture:
        return Child(process, None, None, own_group=own_group)
    reader = asyncio.StreamReader(limit=READ_BYTES)
    try:
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
        )
    except BaseException:
        await Child(process, None, None, own_group=own_group).close()
        raise
    return Child(process, reader, pipe, own_group=own_group)


async def run_program(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    input_data: bytes = b"",
    max_output_bytes: int,
) -> Ended:
    """Run a program to its end, keeping the last ``max_output_bytes`` of its output; killed when cancelled.

    Raises :class:`ChildError` when it can't be started.
    """
    child = await start_program(arguments, environment=environment, input_data=input_data)
    kept, total = bytearray(), 0

    async def collect() -> None:
        nonlocal total
        while piece := await child.read():
            total += len(piece)
            kept.extend(piece)
            del kept[:-max_output_bytes]

    collecting = spawn(collect(), name="child-output")
    try:
        code = await child.wait()
        with contextlib.suppress(TimeoutError):
            # Not wait_for: it loses a cancellation that comes together with the end of the output.
            async with asyncio.timeout(TRAILING_OUTPUT_TIMEOUT):
                await asyncio.shield(collecting)
    finally:
        collecting.cancel()
        await child.close()
    return Ended(code, bytes(kept), total)
