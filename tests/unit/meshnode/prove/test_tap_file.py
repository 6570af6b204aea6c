"""What a tap writes is a capture that every reader takes, with the bytes that passed, and known for what it is."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.address import Address
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.capture import Capture
from meshnode.prove.evidence import Question, document, judge_files
from meshnode.prove.tap_file import TapStream, datagram, header
from tests.support.frames import pcap, udp
from tests.support.programs import needs

ENDS = [
    (Address("10.0.0.1", 40000), Address("10.0.0.2", 8300)),
    (Address("fd00::1", 40000), Address("fd00::2", 8300)),
]
GOSSIP = (Address("10.0.0.1", 8301), Address("10.0.0.2", 8301))
CANARY = "canarytapped77b2"


def read(data: bytes) -> Capture:
    capture = Capture(io.BytesIO(data), "tap")
    for _ in capture.packets():
        pass
    return capture


@pytest.mark.parametrize("ends", ENDS)
@given(turns=st.lists(st.tuples(st.booleans(), st.binary(max_size=130_000)), max_size=4))
def test_the_bytes_of_a_connection_come_back_in_order(
    ends: tuple[Address, Address], turns: list[tuple[bool, bytes]]
) -> None:
    stream, data = TapStream(*ends), header()
    data += stream.opened(1.0)
    for from_client, payload in turns:
        data += stream.data(payload, 2.0, from_client=from_client)
    data += stream.ended(3.0, from_client=True) + stream.ended(3.0, from_client=False)
    capture = Capture(io.BytesIO(data), "tap")
    packets = list(capture.packets())
    for from_client, source in ((True, ends[0]), (False, ends[1])):
        sent = b"".join(payload for way, payload in turns if way is from_client)
        assert b"".join(packet.payload for packet in packets if packet.source == source) == sent
    assert capture.problems() == []
    assert capture.tapped


def test_a_capture_of_the_wire_is_no_taps() -> None:
    assert not read(pcap([udp(*GOSSIP, b"x")]).getvalue()).tapped


@pytest.mark.parametrize("tapped", [True, False])
def test_a_verdict_on_what_a_tap_kept_says_so(tapped: bool) -> None:
    ring = Keyring([bytes(32)])
    sealed, clear = ring.seal(CANARY.encode(), bytes(12), b""), b"\x08" + CANARY.encode()
    question = Question((8301,), canaries=(CANARY,))
    kept = header() + datagram(*GOSSIP, sealed, 1.5)
    file = io.BytesIO(kept) if tapped else pcap([udp(*GOSSIP, sealed)])
    twin = judge_files([("twin", pcap([udp(*GOSSIP, clear)]))], question, ring)
    content, conclusion = document(question, judge_files([("mesh", file)], question, ring), twin, ring)
    assert content["outcome"] == "proved"
    assert ("weaker evidence" in str(conclusion)) is tapped


@needs("tshark")
def test_tshark_reads_the_same(tmp_path: Path) -> None:
    stream = TapStream(*ENDS[0])
    data = header() + stream.opened(1.0) + stream.data(b"hello", 2.25, from_client=True)
    (tmp_path / "tap.pcapng").write_bytes(data + datagram(*GOSSIP, b"x" * 40, 3.0))
    fields = ["frame.time_epoch", "ip.src", "tcp.dstport", "udp.dstport", "tcp.payload", "_ws.malformed"]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(tmp_path / "tap.pcapng"), "-T", "fields", *(f"-e{one}" for one in fields)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[1:4] for line in lines] == [
        ["10.0.0.1", "8300", ""],
        ["10.0.0.2", "40000", ""],
        ["10.0.0.1", "8300", ""],
        ["10.0.0.1", "8300", ""],
        ["10.0.0.1", "", "8301"],
    ]
    assert lines[3][4] == b"hello".hex()
    assert float(lines[3][0]) == 2.25
    assert all(line[5:] in ([""], []) for line in lines)
