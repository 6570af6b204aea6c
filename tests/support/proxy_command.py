"""``consul connect proxy`` as a process, socat as the application and as who connects to it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.mesh_agent import CLEAN, wait
from tests.support.wire import free_port

__all__ = ["CONSUL", "ProxyCommand", "application", "consul", "said", "talk", "with_sidecar"]

#: The alias that is installed beside ``meshnode``.
CONSUL = str(Path(sys.executable).with_name("consul"))
_STAMP = re.compile(r"    \d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[")


class ProxyCommand:
    """Started at once; ``output`` is all that it has written so far."""

    def __init__(self, file: Path, http: str, *arguments: str, **environment: str) -> None:
        self.file = file
        self.arguments = arguments
        with file.open("ab") as log:
            self.process = subprocess.Popen(
                [CONSUL, "connect", "proxy", *arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=CLEAN | {"CONSUL_HTTP_ADDR": http} | environment,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self.file.read_text()

    @property
    def banner(self) -> list[str]:
        """What comes before the log."""
        return self.output.partition("==> Log data")[0].splitlines()

    @property
    def log(self) -> list[str]:
        """The log without its times, which are checked to be there."""
        lines = self.output.partition("as it occurs:\n\n")[2].splitlines()
        for line in lines:
            assert _STAMP.match(line) or line.startswith("==>"), line
        return ["[" + line.partition("[")[2] for line in lines if not line.startswith("==>")]

    def wait_for(self, text: str, timeout: float = 30.0) -> str:
        """The first line with ``text`` in it; fails when the command ends before."""

        def find() -> str:
            found = next((line for line in self.output.splitlines() if text in line), "")
            assert found or self.process.poll() is None, self.output
            return found

        try:
            return str(wait(find, f"{text!r} of {' '.join(self.arguments)}", timeout))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None

    def wait_ready(self) -> None:
        self.wait_for("TLS Roots   : [")

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """The exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def application(port: int, directory: Path) -> Iterator[None]:
    """The document's echo server: ``socat -v tcp-l:8181,fork exec:"/bin/cat"``."""
    with (directory / f"socat-{port}.log").open("ab") as log:
        process = subprocess.Popen(
            ["socat", "-v", f"tcp-l:{port},fork,reuseaddr", "exec:/bin/cat"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        wait(lambda: talk(port, "there?") == "there?", f"socat listens on {port}")
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def talk(port: int, text: str, host: str = "127.0.0.1") -> str:
    """What comes back for ``text``, as ``nc`` would print it; empty when the connection is refused or reset."""
    done = subprocess.run(
        ["socat", "-t", "5", "-", f"tcp:{host}:{port}"],
        input=text, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return done.stdout


def consul(http: str, *arguments: str) -> str:
    """What a command prints; fails when it fails."""
    done = subprocess.run(
        [CONSUL, *arguments],
        capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        env=CLEAN | {"CONSUL_HTTP_ADDR": http},
    )  # fmt: skip
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def said(proxy: ProxyCommand, pattern: str) -> bool:
    """Whether a line of the log is as ``pattern``, all of it."""
    return any(re.fullmatch(pattern, line) for line in proxy.log)


def with_sidecar(name: str, port: int, **proxy: Any) -> dict[str, Any]:
    """As in the document, but for the sidecar's port: nobody else on this machine may have it."""
    sidecar = {"port": free_port(), **({"proxy": proxy} if proxy else {})}
    return {"name": name, "port": port, "connect": {"sidecar_service": sidecar}}
