"""Captures of what programs say on loopback, by tcpdump, and the verdicts on them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.capture import Capture
from meshnode.prove.verdict import PortVerdict, judge

__all__ = ["CANARY", "Wire", "captured", "fields", "free_port", "listening", "wait_for"]

CANARY = "canary4f1c9a77b2e0"


def wait_for(condition: object, what: str, timeout: float = 15.0) -> None:
    """Fail naming ``what`` unless ``condition`` comes true in time."""
    assert callable(condition)
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"after {timeout:g} s still not: {what}"
        time.sleep(0.02)


@dataclass
class Wire:
    """A capture of what happens inside ``with``; ``path`` is complete afterwards."""

    path: Path

    def judge(self, *ports: int, keys: tuple[bytes, ...] = ()) -> list[PortVerdict]:
        """The verdicts on ``ports``; nothing of the capture may have been unreadable."""
        with self.path.open("rb") as file:
            capture = Capture(file, str(self.path))
            found = judge([capture.packets()], ports, [CANARY], Keyring(keys))
            assert capture.problems() == []
        return found


@contextlib.contextmanager
def captured(
    folder: Path, *ports: int, interface: str = "lo", network: str = "", name: str = "wire"
) -> Iterator[Wire]:
    """Capture ``ports`` for a while, of everybody or inside of ``network`` (three numbers of an address)."""
    path, log = folder / f"{name}.pcap", folder / "tcpdump.log"
    command = ["tcpdump", "-n", "-U", "-B", "65536", "-Z", "root", "-i", interface]
    wanted = " or ".join(f"port {port}" for port in ports)
    command += ["-w", str(path), f"net {network}.0/24 and ({wanted})" if network else wanted]
    with log.open("w") as errors:
        tcpdump = subprocess.Popen(command, stderr=errors)
    try:
        wait_for(lambda: "listening on" in log.read_text(), "tcpdump listens")
        yield Wire(path)
        # What the kernel holds reaches tcpdump within a second; with --immediate-mode its buffer has few places.
        time.sleep(1.1)
    finally:
        tcpdump.terminate()
        tcpdump.wait()
    assert "0 packets dropped by kernel" in log.read_text()


def fields(path: Path, wanted: str, field: str, port: int | None = None) -> list[str]:
    """What tshark prints of ``field`` for the frames that ``wanted`` selects."""
    command = ["tshark", "-n", "-r", str(path), "-Y", wanted, "-T", "fields", "-e", field]
    command += ["-d", f"tcp.port=={port},tls"] if port else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


def free_port(kind: int = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


def listening(port: int) -> bool:
    """Whether somebody listens on TCP ``port``: looked up and not dialled, which would be one connection more."""
    table = Path("/proc/net/tcp").read_text()
    return f"0100007F:{port:04X} 00000000:0000 0A" in table
