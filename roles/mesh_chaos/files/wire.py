"""Holds up, doubles or overtakes the packets that this node sends to its peers, until it is ended.

``python3 wire.py CONFIG``: CONFIG is JSON with ``fault`` (delay, duplicate, reorder), ``amount``, ``address`` of this
node and ``peers``. Packets to the peers are routed into a TUN device; this program has them, and sends them on as they
are, with a mark that the rule of that route leaves alone. Nothing outlives it but that rule, which without the device
leads nowhere, and which it removes. Standard library only: it runs on the nodes. Linux, IPv4.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import Any

DEVICE, TABLE, MARK, PRIORITY = "meshfault0", "7391", 7391, "7391"
#: ioctl that names a TUN device, and its flags: IP packets, no header of the driver's.
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MAX_PACKET_BYTES = 65535
#: Packets held at once; what comes then is dropped, as any queue of a router does.
MAX_HELD = 20_000
#: Seconds that a packet is held to be overtaken, or to come a second time.
LATE = 0.05


class Wire:
    """Packets with the time at which each goes on."""

    def __init__(self, fault: str, amount: float, rng: random.Random) -> None:
        self.fault, self.amount, self.rng = fault, amount, rng
        self.held: list[tuple[float, int, bytes]] = []
        self.numbers = itertools.count()

    def take(self, packet: bytes, now: float) -> None:
        """A packet has come."""
        chosen = self.rng.random() < self.amount
        late = {"delay": self.amount, "reorder": LATE if chosen else 0.0}.get(self.fault, 0.0)
        self._hold(packet, now + late)
        if self.fault == "duplicate" and chosen:
            self._hold(packet, now + LATE)

    def _hold(self, packet: bytes, due: float) -> None:
        if len(self.held) < MAX_HELD:
            heapq.heappush(self.held, (due, next(self.numbers), packet))

    def due(self, now: float) -> list[bytes]:
        """What goes on now."""
        found = []
        while self.held and self.held[0][0] <= now:
            found.append(heapq.heappop(self.held)[2])
        return found

    def wait(self, now: float) -> float:
        """Seconds until something is due; one when nothing is held."""
        return max(0.0, self.held[0][0] - now) if self.held else 1.0


def open_device() -> int:
    """A TUN device; it lasts as long as the descriptor."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def ip(*words: str, may_fail: bool = False) -> None:
    """Run the program of that name."""
    subprocess.run(["ip", *words], check=not may_fail, stderr=subprocess.DEVNULL if may_fail else None)


def say_ready() -> None:
    """Tell systemd (sd_notify(3)); without it nobody waits."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(b"READY=1", "\0" + path[1:] if path.startswith("@") else path)


def relay(wire: Wire, device: int, out: socket.socket, over: list[int]) -> None:
    """Packets in and out until there is something in ``over``."""
    while not over:
        ready, _, _ = select.select([device], [], [], min(0.5, wire.wait(time.monotonic())))
        now = time.monotonic()
        while ready:
            try:
                wire.take(os.read(device, MAX_PACKET_BYTES), now)
            except BlockingIOError:
                break
        for packet in wire.due(time.monotonic()):
            try:
                out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
            except OSError:
                continue  # as on any wire: who sent it sends it again


def main(arguments: list[str]) -> int:
    """Run until SIGTERM."""
    config: dict[str, Any] = json.loads(arguments[0])
    over: list[int] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _frame: over.append(number))
    rule = ("not", "fwmark", str(MARK), "lookup", TABLE, "priority", PRIORITY)
    device = open_device()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as out:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        try:
            ip("link", "set", DEVICE, "up", "txqueuelen", "5000")
            for peer in config["peers"]:
                ip("route", "add", peer, "dev", DEVICE, "src", config["address"], "table", TABLE)
            ip("rule", "del", "priority", PRIORITY, may_fail=True)
            ip("rule", "add", *rule)
            say_ready()
            relay(Wire(config["fault"], float(config["amount"]), random.Random()), device, out, over)
        finally:
            ip("rule", "del", "priority", PRIORITY, may_fail=True)
            os.close(device)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
