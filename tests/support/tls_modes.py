"""``meshnode tls-proxy`` as a process, the echo service of the role behind it, and curl in front."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.mesh_agent import CLEAN, wait
from tests.support.proxy import Ca, write
from tests.support.wire import free_port

__all__ = [
    "ECHO",
    "FIELDS",
    "MESHNODE",
    "Answer",
    "Echo",
    "Files",
    "TlsProxy",
    "curl",
    "echo",
    "fields",
    "tls_proxy",
]

ECHO = Path(__file__).parents[2] / "roles" / "tls_proxy" / "files" / "tls_echo.py"
MESHNODE = str(Path(sys.executable).with_name("meshnode"))
#: The fields of the answer, in the order of the source document.
FIELDS = [
    *("path", "headers", "method", "body", "fresh", "hostname", "ip", "ips", "protocol", "query"),
    *("subdomains", "xhr", "os", "connection"),
]
Answer = dict[str, Any]


def fields(answer: Answer) -> Answer:
    """The answer without what differs from run to run; what is left out is checked here."""
    assert list(answer) == FIELDS
    left = {name: value for name, value in answer.items() if name not in ("headers", "ip", "os")}
    assert answer["ip"].startswith("::ffff:127.") or answer["ips"]
    assert answer["os"] == {"hostname": socket.gethostname()}
    return left


class Files:
    """Certificates of one CA, and of others that nobody trusts, as files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = Ca()
        self.ca_file = str(folder / "ca.pem")
        Path(self.ca_file).write_text(self.ca.root.certificate_pem)

    def pair(self, name: str, *dns: str, ca: Ca | None = None, days: float = 1.0) -> tuple[str, str]:
        """Paths of certificate and key; a negative life has ended already."""
        life = {"start": timedelta(days=min(-1.0, days - 1)), "end": timedelta(days=days)}
        made = (ca or self.ca).odd_leaf([], dns=dns, **life)
        return write(made, self.folder, name)[:2]

    def certificate(self, name: str = "proxy", *dns: str) -> dict[str, str]:
        """A block ``certificate`` for a listener."""
        cert_file, key_file = self.pair(name, *(dns or ("localhost",)))
        return {"cert_file": cert_file, "key_file": key_file}


class Echo:
    """A running echo service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self.address = f"localhost:{port}"


@contextlib.contextmanager
def echo(*files: str) -> Iterator[Echo]:
    """HTTP, or HTTPS with a certificate and a key."""
    port = free_port()
    command = [sys.executable, str(ECHO), str(port), *files]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=CLEAN)
    try:
        wait(lambda: _listens(port), "the echo service listens")
        yield Echo(process, port)
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


class TlsProxy:
    """The command in the foreground; ``output`` is all that it has written so far."""

    def __init__(
        self, folder: Path, data_plane: str, listeners: Mapping[str, Any], **environment: str
    ) -> None:
        self.file = folder / f"{data_plane}.json"
        self.file.write_text(json.dumps({"listener": listeners}))
        self.log = folder / f"{data_plane}.log"
        self.ports = {name: int(one["bind"].rpartition(":")[2]) for name, one in listeners.items()}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [MESHNODE, "tls-proxy", "-config-file", str(self.file), "-data-plane", data_plane],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=CLEAN | {"PATH": f"{Path(MESHNODE).parent}:{os.environ['PATH']}"} | environment,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str) -> str:
        """The output, once ``text`` is in it; fails when the command ends before."""

        def find() -> bool:
            found = text in self.output
            assert found or self.process.poll() is None, self.output
            return found

        wait(find, f"{text!r} in the log of {self.log}")
        return self.output

    def end(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextlib.contextmanager
def tls_proxy(
    folder: Path, data_plane: str, listeners: Mapping[str, Any], **environment: str
) -> Iterator[TlsProxy]:
    """Serving; each listener without ``bind`` gets a free port on loopback."""
    bound = {name: {"bind": f"127.0.0.1:{free_port()}", **one} for name, one in listeners.items()}
    proxy = TlsProxy(folder, data_plane, bound, **environment)
    try:
        proxy.wait_for("clients are served")
        yield proxy
    finally:
        if proxy.process.poll() is None:
            proxy.process.terminate()
            try:
                proxy.process.wait(15)
            except subprocess.TimeoutExpired:
                proxy.process.kill()
                proxy.process.wait()


def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """curl, silent; its exit code and what it prints."""
    return subprocess.run(
        ["curl", "-s", "--max-time", "20", *arguments], capture_output=True, text=True, check=False, env=CLEAN
    )
