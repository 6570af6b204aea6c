"""A network of its own for each node, in namespaces of the kernel: it can be cut, lose packets and delay them.

Every node has a namespace with one interface on a bridge; the bridge is in another namespace, the *hub*, where the test
itself lives meanwhile and so reaches every node whatever is cut between nodes. Needs root; nothing outside the
namespaces is changed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Network", "can_make_networks"]

_LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
#: ``ioctl`` that names a TAP device, and its flags: Ethernet frames, no header of the driver's.
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
HUB = "hub"


def can_make_networks() -> bool:
    """Whether this process may make namespaces."""
    name = f"try{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        run("ip", "netns", "delete", name)
    return made


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


@dataclass
class Network:
    """``prefix`` is the first three bytes of every address; the name of a namespace begins with ``tag``."""

    prefix: str
    tag: str
    numbers: dict[str, int] = field(default_factory=dict)
    wires: dict[str, Wire] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def new(cls) -> Iterator[Network]:
        """A network with the test in its hub; all of it is gone at the end."""
        network = cls(f"10.{random.randint(64, 127)}.{random.randint(1, 254)}", f"mesh{os.getpid()}-")
        try:
            network._make(HUB)
            network.run(HUB, "ip", "link", "add", "bridge", "type", "bridge")
            network.run(HUB, "ip", "address", "add", f"{network.prefix}.254/24", "dev", "bridge")
            network.run(HUB, "ip", "link", "set", "bridge", "up")
            with network.inside(HUB):
                yield network
        finally:
            for wire in network.wires.values():
                wire.close()
            for name in (*network.numbers, HUB):
                subprocess.run(
                    ["ip", "netns", "delete", network.tag + name], capture_output=True, check=False
                )

    def _make(self, name: str) -> None:
        run("ip", "netns", "add", self.tag + name)
        self.run(name, "ip", "link", "set", "lo", "up")

    def run(self, name: str, *command: str) -> None:
        """Run a command in the namespace of ``name``."""
        run("ip", "netns", "exec", self.tag + name, *command)

    def host(self, name: str) -> str:
        return f"{self.prefix}.{self.numbers[name]}"

    def add(self, name: str, number: int, *, bad_wire: bool = False) -> str:
        """A node; returns its address. ``bad_wire``: its packets pass through :class:`Wire`."""
        self.numbers[name] = number
        self._make(name)
        if bad_wire:
            with self.inside(name):
                ours = open_tap("eth0")
            with self.inside(HUB):
                theirs = open_tap(f"to{number}")
            self.wires[name] = Wire(ours, theirs)
        else:
            peer = ("peer", "name", "eth0", "netns", self.tag + name)
            self.run(HUB, "ip", "link", "add", f"to{number}", "type", "veth", *peer)
        self.run(HUB, "ip", "link", "set", f"to{number}", "master", "bridge", "up")
        self.run(name, "ip", "address", "add", f"{self.host(name)}/24", "dev", "eth0")
        self.run(name, "ip", "link", "set", "eth0", "up")
        return self.host(name)

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This thread, and the processes and threads that it starts, are in the namespace of ``name``."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        wanted = os.open(f"/run/netns/{self.tag}{name}", os.O_RDONLY)
        try:
            enter(wanted)
            yield
        finally:
            enter(before)
            os.close(wanted)
            os.close(before)

    def cut(self, one: str, *others: str) -> None:
        """No packet passes between ``one`` and each of ``others``, in either direction; nobody is told."""
        for other in others:
            for chain, which in (("INPUT", "-s"), ("OUTPUT", "-d")):
                self.run(one, "iptables", "-w", "-A", chain, which, self.host(other), "-j", "DROP")

    def heal(self) -> None:
        """Everything passes again."""
        for name in self.numbers:
            self.run(name, "iptables", "-w", "-F")

    def lose(self, name: str, share: float) -> None:
        """Lose this share of the packets that ``name`` gets, and of those that it sends."""
        for chain in ("INPUT", "OUTPUT"):
            rule = ("-m", "statistic", "--mode", "random", "--probability", str(share), "-j", "DROP")
            self.run(name, "iptables", "-w", "-A", chain, "!", *self._hub(chain), *rule)

    def _hub(self, chain: str) -> tuple[str, str]:
        return "-s" if chain == "INPUT" else "-d", f"{self.prefix}.254"


def enter(namespace: int) -> None:
    if _LIBC.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def open_tap(name: str) -> int:
    """A TAP device in this thread's namespace; it lasts as long as the descriptor."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


class Wire:
    """Joins two TAP devices; each frame takes ``delay`` seconds. What ``tc netem`` does, where the kernel lacks it."""

    def __init__(self, one: int, other: int) -> None:
        self.delay = 0.0
        self._ends = {one: other, other: one}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        for end in self._ends:
            os.close(end)

    def _run(self) -> None:
        under_way: list[tuple[float, int, int, bytes]] = []
        number = 0
        with selectors.DefaultSelector() as selector:
            for end in self._ends:
                selector.register(end, selectors.EVENT_READ)
            while not self._closed.is_set():
                now = time.monotonic()
                while under_way and under_way[0][0] <= now:
                    _, _, to, frame = heapq.heappop(under_way)
                    with contextlib.suppress(OSError):
                        os.write(to, frame)
                pause = min(0.1, max(0.0, under_way[0][0] - now)) if under_way else 0.1
                for ready, _ in selector.select(pause):
                    with contextlib.suppress(OSError):  # the interface is down, or another frame was meant
                        frame = os.read(ready.fd, 65536)
                        number += 1
                        heapq.heappush(
                            under_way, (time.monotonic() + self.delay, number, self._ends[ready.fd], frame)
                        )
