"""How fast captures are judged, next to dpkt, which only takes the frames apart, and tshark, which dissects them.

python -m bench.prove [MEGABYTES]
"""

from __future__ import annotations

import io
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
    """One connection of records of 4 KiB in segments of 1400 bytes, joined after the handshake."""
    yield tcp(*RPC, b"", 999, SYN | ACK)
    data = rng.randbytes(4096)
    stream = (b"\x17\x03\x03\x10\x00" + data) * (size // 4101)
    hello = b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03" + rng.randbytes(32) + b"\x00\x13\x02\x00"
    stream = hello + stream
    for start in range(0, len(stream), 1400):
        yield tcp(*RPC, stream[start : start + 1400], 1000 + start)


def with_dpkt(file: bytes) -> None:
    for _, frame in dpkt.pcap.Reader(io.BytesIO(file)):
        _ = dpkt.ethernet.Ethernet(frame).data.data.data


def with_ours(file: bytes) -> None:
    capture = Capture(io.BytesIO(file), "bench")
    verdicts = judge([capture.packets()], [8300, 8301], ["canary4f1c9a77b2e0"], Keyring([KEY]))
    assert "encrypted" in {verdict.judgement for verdict in verdicts}, verdicts


def with_tshark(file: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.pcap")
        path.write_bytes(file)
        subprocess.run(["tshark", "-n", "-q", "-r", str(path)], check=True, capture_output=True)


def rate(run: Callable[[bytes], None], file: bytes) -> float:
    """Megabytes a second."""
    start = time.perf_counter()
    run(file)
    return len(file) / 1e6 / (time.perf_counter() - start)


def main() -> None:
    """Print a row for each kind of traffic."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else "30") * 1_000_000
    print(
        f"{'traffic':8}  {'frames':>8}  {'judged':>12}  {'dpkt, parsing':>14}  {'tshark':>10}  ratio to tshark"
    )
    for name, make in (("gossip", gossip), ("tls", tls)):
        frames = list(make(size, random.Random(1)))
        file = pcap(frames).getvalue()
        ours, theirs = rate(with_ours, file), rate(with_dpkt, file)
        shark = rate(with_tshark, file) if shutil.which("tshark") else float("nan")
        print(
            f"{name:8}  {len(frames):8}  {ours:7.1f} MB/s  {theirs:9.1f} MB/s  {shark:5.1f} MB/s  {ours / shark:.1f}"
        )
    print(
        f"largest resident size {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB, captures included"
    )


if __name__ == "__main__":
    main()
