"""One agent: its process, its log, and requests to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from meshnode.base.errors import MeshError
from meshnode.testing.addresses import Listen
from meshnode.testing.api import FIRST_ERROR, Answer, Body, Query, checked, send
from meshnode.testing.private_file import write_private
from meshnode.testing.waiting import wait_until

__all__ = ["AgentError", "MeshAgent"]

#: Lines of the log in an error.
LOG_LINES: Final = 20
#: Seconds that an agent may take to start and to stop.
START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 20.0
_RUNNING: Final = "==> Consul agent running!"


class AgentError(MeshError):
    """An agent didn't do what was waited for; the text ends with the last lines of its log."""


class MeshAgent:
    """An agent that :class:`~meshnode.testing.mesh.Mesh` has made; it keeps its address and data over restarts.

    ``name`` is its node name, ``config_file`` its configuration: edit it before ``start`` or a reload.
    """

    def __init__(
        self,
        name: str,
        listen: Listen,
        directory: Path,
        config: Mapping[str, Any],
        *,
        datacenter: str,
        server: bool,
        token: str,
        on_launch: Callable[[int], None],
    ) -> None:
        self.name = name
        self.listen = listen
        self.datacenter = datacenter
        self.server = server
        self.token = token
        self.data_dir = directory / f"{name}-data"
        self.log_file = directory / f"{name}.log"
        self.config_file = write_private(
            directory / f"{name}.json", json.dumps({**config, "data_dir": str(self.data_dir)}, indent=1)
        )
        self._on_launch = on_launch
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def __repr__(self) -> str:
        """Name, address and whether it runs."""
        return f"<MeshAgent {self.name} {self.http} {'running' if self.running else 'stopped'}>"

    # Where it is

    @property
    def host(self) -> str:
        """Its address, of every port."""
        return self.listen.host

    @property
    def http(self) -> str:
        """URL of the HTTP API, without a slash at the end."""
        return f"http://{self.listen.host}:{self.listen.http}"

    @property
    def https(self) -> str:
        """The same over TLS; open only with ``Mesh(secure=True)``."""
        return f"https://{self.listen.host}:{self.listen.https}"

    @property
    def dns(self) -> tuple[str, int]:
        """Address and port of the DNS interface, UDP and TCP."""
        return self.listen.host, self.listen.dns

    @property
    def log(self) -> str:
        """All that it has written so far, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    # Requests

    def api(
        self,
        path: str,
        *,
        method: str = "GET",
        body: Body = None,
        query: Query | None = None,
        token: str | None = None,
        timeout: float = 30.0,
    ) -> Any:
        """The answer of ``/v1/...`` as Python values; raises :class:`~meshnode.testing.api.ApiError` for 400 and up.

        ``body``: bytes and text are sent as they are, everything else as JSON. ``token``, when left out, is the
        management token of a mesh with ACLs; an empty one is none. The value of an empty body is ``None``, and plain
        text stays text.
        """
        answer = self.request(path, method=method, body=body, query=query, token=token, timeout=timeout)
        return checked(answer, f"{self.name}: {method} {path}").value

    def request(
        self,
        path: str,
        *,
        method: str = "GET",
        body: Body = None,
        query: Query | None = None,
        token: str | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """As :meth:`api`, with status and headers; errors are answers too. Raises :class:`AgentError` if none comes."""
        try:
            return send(
                self.listen.host,
                self.listen.http,
                path,
                method=method,
                body=body,
                query=query,
                token=self.token if token is None else token,
                timeout=timeout,
            )
        except OSError as error:
            raise self.error(f"{method} {path} got no answer: {error}") from error

    def wait_for(
        self,
        path: str,
        *,
        query: Query | None = None,
        until: Callable[[Any], object] = bool,
        timeout: float = 30.0,
    ) -> Any:
        """Read ``path`` until ``until`` of its value is true, and return that value. An error is an answer to wait out.

        Raises :class:`AgentError` with the last answer after ``timeout`` seconds.
        """
        last: list[Answer] = []

        def asked() -> bool:
            last[:] = [self.request(path, query=query)]
            return last[0].status < FIRST_ERROR and bool(until(last[0].value))

        try:
            wait_until(asked, timeout)
        except TimeoutError:
            text = f"{last[0].status} {last[0].text.strip()}"
            raise self.error(f"GET {path} was not as wanted within {timeout:g} s: {text}") from None
        return last[0].value

    # Its process

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process ID; raises :class:`AgentError` if it was never started."""
        if self._process is None:
            raise self.error("was not started")
        return self._process.pid

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start it and wait until it runs; raises :class:`AgentError` when it doesn't. Does nothing if it runs."""
        if self.running:
            return
        self.launch()
        self.wait_running(timeout)

    def launch(self) -> None:
        """Start its process and return at once."""
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "meshnode", "agent", "-config-file", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.config_file.parent,
                env=_environment(),
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

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """End it with SIGTERM, as a service manager does, and return its exit code.

        A client leaves the cluster first; a server doesn't, so its exit code is 1 and others see it fail.
        Raises :class:`AgentError`, and kills it, if it takes longer than ``timeout`` seconds.
        """
        if self._process is None:
            raise self.error("was not started")
        if self.running:
            self._process.terminate()
        return self._wait_exit(timeout)

    def leave(self, timeout: float = STOP_TIMEOUT) -> int:
        """Have it leave the cluster and exit; returns its exit code. Raises as :meth:`stop` does."""
        self.api("/v1/agent/leave", method="PUT")
        return self._wait_exit(timeout)

    def kill(self) -> None:
        """End it without a goodbye, as a power cut does: others see it fail."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _wait_exit(self, timeout: float) -> int:
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.error(f"was still running after {timeout:g} s and was killed") from None

    def _said_running(self) -> bool:
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return _RUNNING.encode() in log.read()

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


def _environment() -> dict[str, str]:
    # Variables that configure agents and commands belong to the user's real cluster.
    return {key: value for key, value in os.environ.items() if not key.startswith(("CONSUL_", "MESH"))}
