"""Programs that may outlive us: in a session of their own, writing to files, found again by a later run.

A program that we only run while we are there is a :class:`~meshnode.runtime.child.Child`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from meshnode.runtime.child import ChildError

__all__ = ["END_GRACE", "MAX_LOG_BYTES", "POLL_INTERVAL", "Daemon", "adopt_daemon", "start_daemon"]

#: Seconds between SIGTERM and SIGKILL.
END_GRACE: Final = 10.0
#: Seconds between looks at a process where the kernel can't tell us of its end.
POLL_INTERVAL: Final = 0.5
#: A longer file of output is put aside as ``<name>.old`` when the program is started again.
MAX_LOG_BYTES: Final = 16 * 1024 * 1024
#: Handlers that Python has set and a new program must not inherit.
_RESTORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)


class Daemon:
    """A process by its id and the moment of its start (clock ticks since the machine's), which no other one shares."""

    def __init__(self, pid: int, started: int) -> None:
        self.pid: Final = pid
        self.started: Final = started

    @property
    def runs(self) -> bool:
        """Whether it is there: neither ended nor another process under its id."""
        return self.started > 0 and _started(self.pid) == self.started

    async def wait(self) -> int | None:
        """Return when it has ended: its exit code, negative for a signal; ``None`` when it was not our child."""
        await self._ended()
        return self._reap()

    async def _ended(self) -> None:
        try:
            watched = os.pidfd_open(self.pid)
        except OSError:
            watched = -1
        try:
            if watched >= 0:
                await _readable(watched)
            while self.runs:
                await asyncio.sleep(POLL_INTERVAL)
        finally:
            if watched >= 0:
                os.close(watched)

    def _reap(self) -> int | None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return None
        return os.waitstatus_to_exitcode(status) if pid else None

    def send(self, number: int) -> None:
        """Send a signal to it and all that it started; nothing happens when it has ended."""
        if self.runs:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def end(self, grace: float = END_GRACE) -> None:
        """Ask it to end, and kill it after ``grace`` seconds; return when it is gone."""
        if not self.runs:
            self._reap()
            return
        self.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._ended()
        # What it has started goes too; nobody else gets its id before it is reaped.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.wait()


def start_daemon(
    arguments: Sequence[str], environment: Mapping[str, str], stdout: Path | None, stderr: Path | None
) -> Daemon:
    """Start a program with exactly ``environment``; its output is appended to files, ``None``: dropped.

    Raises :class:`ChildError`.
    """
    name = arguments[0] if arguments else ""
    try:
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        for descriptor, path in ((1, stdout), (2, stderr)):
            place = os.devnull if path is None else str(_log_file(path))
            actions.append(
                (os.POSIX_SPAWN_OPEN, descriptor, place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            )
        pid = os.posix_spawnp(
            name, list(arguments), dict(environment),
            file_actions=actions, setsid=True, setsigmask=(), setsigdef=_RESTORED,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise ChildError(name, error) from None
    return Daemon(pid, _started(pid))


def adopt_daemon(pid: int, started: int) -> Daemon | None:
    """A program of an earlier run; ``None`` when it is gone, whoever has its id now."""
    found = Daemon(pid, started)
    return found if pid > 1 and started > 0 and found.runs else None


async def _readable(descriptor: int) -> None:
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)


def _log_file(path: Path) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_name(path.name + ".old"))
    return path


def _started(pid: int) -> int:
    """When a process began; 0 when it isn't there, has ended, or the kernel doesn't say (proc(5), stat)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    # The name in parentheses may hold anything.
    fields = text.rpartition(")")[2].split()
    return 0 if len(fields) < 20 or fields[0] in ("Z", "X") else int(fields[19])
