"""The process of one agent: its files, its log, its life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.testing.waiting import wait_until

__all__ = ["START_TIMEOUT", "STOP_TIMEOUT", "AgentError", "AgentProcess", "inherited_environment"]

#: Lines of the log in an error.
LOG_LINES: Final = 20
#: Seconds that an agent may take to start and to stop.
START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 20.0
_RUNNING: Final = "==> Consul agent running!"


class AgentError(MeshError):
    """An agent didn't do what was waited for; the text ends with the last lines of its log."""


class AgentProcess:
    """An agent as a process: it reads ``config_file``, which whoever makes it has to write, and adds to ``log_file``.

    ``name`` is the name of its files in ``directory``. ``arguments`` go to ``meshnode agent``; ``environment`` is
    all that it gets, by default what :func:`inherited_environment` returns. Both count from the next start on.
    ``on_launch`` is called with the process ID at every start.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        on_launch: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self.name = name
        self.directory = directory
        self.config_file = directory / f"{name}.json"
        self.data_dir = directory / f"{name}-data"
        self.log_file = directory / f"{name}.log"
        self.arguments = tuple(arguments)
        self.environment = inherited_environment() if environment is None else dict(environment)
        self._on_launch = on_launch
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def log(self) -> str:
        """All that it has written so far, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process ID; raises :class:`AgentError` if it was never started."""
        return self._started.pid

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise self.error("was not started")
        return self._process

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start it and wait until it runs; raises :class:`AgentError` when it doesn't. Does nothing if it runs."""
        if self.running:
            return
        self.launch()
        self.wait_running(timeout)

    def launch(self) -> None:
        """Start its process and return at once."""
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        command = [sys.executable, "-m", "meshnode", "agent", "-config-file", str(self.config_file)]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.config_file.parent,
                env=self.environment,
                # Ctrl-C in the terminal is for the test, which ends its agents itself.
                start_new_session=True,
            )
        self._on_launch(self._process.pid)

    def wait_running(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until it says that it runs; raises :class:`AgentError` when it exits instead, or takes too long."""
        try:
            wait_until(lambda: self._said_running() or not self.running, timeout)
        except TimeoutError:
            raise self.error(f"was not running after {timeout:g} s") from None
        if not self.running:
            raise self.error("exited instead of running")

    def _said_running(self) -> bool:
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return _RUNNING.encode() in log.read()

    def kill(self) -> None:
        """End it without a goodbye, as a power cut does: others see it fail."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it has ended."""
        self._started.send_signal(number)

    def wait_exit(self, timeout: float = STOP_TIMEOUT) -> int:
        """Wait until it ends, and return its exit code.

        Raises :class:`AgentError`, and kills it, if that takes longer than ``timeout`` seconds.
        """
        try:
            return self._started.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.error(f"was still running after {timeout:g} s and was killed") from None

    def wait_for_log(self, text: str, timeout: float = 30.0) -> str:
        """The first line of its log with ``text`` in it; raises :class:`AgentError` when none comes."""

        def find() -> str:
            return next((line for line in self.log.splitlines() if text in line), "")

        try:
            return wait_until(find, timeout)
        except TimeoutError:
            raise self.error(f"did not log {text!r} within {timeout:g} s") from None

    def error(self, what: str) -> AgentError:
        """An error about this agent with the end of its log."""
        code = self._process.poll() if self._process is not None else None
        state = "" if code is None else f" (exit code {code})"
        tail = "\n".join(f"  {line}" for line in self.log.splitlines()[-LOG_LINES:]) or "  (nothing)"
        return AgentError(f"{self.name}{state} {what}\nthe end of its log:\n{tail}")


def inherited_environment() -> dict[str, str]:
    """This process's variables, but for those that configure agents and commands: they are for a real cluster."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("CONSUL_", "MESH"))}
