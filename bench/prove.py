"""How fast captures are judged, and in how much memory, next to dpkt, which only takes the frames apart, and tshark.

python -m bench.prove [MEGABYTES]

Each reader is a process of its own that reads the same file, so its largest resident size is its own. tshark is run
as it reads a file by default, and with two passes (-2), for the memory of a dissection that can look ahead.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dpkt

from meshnode.base.address import Address
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.capture import Capture
from meshnode.prove.verdict import judge
from tests.support.frames import ACK, SYN, pcap, tcp, udp

KEY = bytes(range(32))
GOSSIP = (Address("10.0.0.1", 8301), Address("10.0.0.2", 8301))
RPC = (Address("10.0.0.1", 40000), Address("10.0.0.2", 8300))


def gossip(size: int, rng: random.Random) -> Iterator[bytes]:
    """Sealed datagrams of 600 bytes."""
    ring, total = Keyring([KEY]), 0
    while total < size:
        frame = udp(*GOSSIP, ring.seal(rng.randbytes(570), rng.randbytes(12), b""))
        total += len(frame)
        yield frame


def tls(size: int, rng: random.Random) -> Iterator[bytes]:
    """One connection of records of 4 KiB in segments of 1400 bytes, from its first byte on."""
    yield tcp(*RPC, b"", 999, SYN | ACK)
    waiting = b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03" + rng.randbytes(32) + b"\x00\x13\x02\x00"
    sequence, total = 1000, 0
    while total < size:
        waiting += b"\x17\x03\x03\x10\x00" + rng.randbytes(4096)
        while len(waiting) >= 1400:
            frame, waiting = tcp(*RPC, waiting[:1400], sequence), waiting[1400:]
            sequence += 1400
            total += len(frame)
            yield frame


def write(path: Path, frames: Iterator[bytes]) -> int:
    """Write a capture; returns the number of frames."""
    count = 0
    with path.open("wb") as file:
        file.write(pcap([]).getvalue())
        for frame in frames:
            file.write(struct.pack("<IIII", count // 1000, 5, len(frame), len(frame)) + frame)
            count += 1
    return count


def with_dpkt(path: str) -> None:
    with Path(path).open("rb") as file:
        for _, frame in dpkt.pcap.Reader(file):
            _ = dpkt.ethernet.Ethernet(frame).data.data.data


def with_ours(path: str) -> None:
    with Path(path).open("rb") as file:
        verdicts = judge(
            [Capture(file, path).packets()], [8300, 8301], ["canary4f1c9a77b2e0"], Keyring([KEY])
        )
    assert "encrypted" in {verdict.judgement for verdict in verdicts}, verdicts


READERS = {"judged": with_ours, "dpkt": with_dpkt}


def measure(command: list[str], size: int) -> str:
    """Megabytes a second and largest resident size of a process, start included."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return f"{size / 1e6 / seconds:6.1f} MB/s {usage.ru_maxrss // 1024:5} MiB"


def main() -> None:
    """Print a row for each kind of traffic; as a reader, read one file and print nothing."""
    if len(sys.argv) == 3:
        READERS[sys.argv[1]](sys.argv[2])
        return
    size = int(sys.argv[1] if len(sys.argv) > 1 else "100") * 1_000_000
    columns = [*READERS, *(["tshark", "tshark -2"] if shutil.which("tshark") else [])]
    print(f"{'traffic':8}  {'frames':>8}  " + "  ".join(f"{name:>21}" for name in columns))
    with tempfile.TemporaryDirectory() as folder:
        for name, make in (("gossip", gossip), ("tls", tls)):
            path = Path(folder, f"{name}.pcap")
            count, length = write(path, make(size, random.Random(1))), path.stat().st_size
            commands = [[sys.executable, "-m", "bench.prove", reader, str(path)] for reader in READERS]
            if len(columns) > len(READERS):
                commands += [["tshark", "-n", *two, "-r", str(path)] for two in ([], ["-2"])]
            cells = [f"{measure(command, length):>21}" for command in commands]
            print(f"{name:8}  {count:8}  " + "  ".join(cells))
            path.unlink()


if __name__ == "__main__":
    main()
