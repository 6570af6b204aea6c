"""Payload in order, whatever the network did to it, and every byte that is missing counted."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field

import pytest

from meshnode.base.address import Address
from meshnode.prove.budget import Budget
from meshnode.prove.frame import Packet
from meshnode.prove.streams import MAX_CONNECTIONS, MAX_WAITING_SEGMENTS, Reassembly, Stream
from tests.support.frames import ACK, FIN, RST, SYN

A, B = Address("10.0.0.1", 40000), Address("10.0.0.2", 8300)
TEXT = bytes(range(256)) * 8


@dataclass
class Reading:
    opening: bool
    pieces: list[bytes] = field(default_factory=list)
    strays: list[bytes] = field(default_factory=list)
    missing: int = 0
    ended: int = 0

    @property
    def text(self) -> bytes:
        return b"".join(self.pieces)

    def data(self, payload: bytes, at: float) -> None:
        assert not self.ended
        self.pieces.append(payload)

    def stray(self, payload: bytes, at: float) -> None:
        self.strays.append(payload)

    def gap(self, missing: int) -> None:
        self.missing += missing

    def end(self) -> None:
        self.ended += 1


def p(
    payload: bytes, sequence: int, flags: int = ACK, ack: int = 0, *, back: bool = False, missing: int = 0
) -> Packet:
    ends = (B, A) if back else (A, B)
    return Packet(0.0, "tcp", *ends, payload, missing, sequence % (1 << 32), flags, ack % (1 << 32))


def read(*packets: Packet, budget: Budget | None = None) -> list[Reading]:
    found: list[Reading] = []

    def begin(stream: Stream) -> Reading:
        found.append(Reading(stream.opening))
        return found[-1]

    shared = budget or Budget()
    left = shared.left
    connections = Reassembly(begin, shared)
    for packet in packets:
        connections.add(packet)
    connections.finish()
    assert [reading.ended for reading in found] == [1] * len(found)
    assert shared.left == left
    return found


@pytest.mark.parametrize("start", [1000, (1 << 32) - 700])
def test_any_order_and_any_repetition_give_the_same_bytes(start: int) -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "2"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "200"))):
        packets, position = [], 0
        while position < len(TEXT):
            size = rng.randint(1, 200)
            packets.append(p(TEXT[position : position + size], start + position))
            position += size
        # Segments that were cut otherwise when they were sent again.
        for _ in range(20):
            begin = rng.randrange(len(TEXT))
            packets.append(p(TEXT[begin : begin + rng.randint(1, 300)], start + begin))
        rng.shuffle(packets)
        (reading,) = read(p(b"", start - 1, SYN), *packets)
        assert (reading.text, reading.missing, reading.opening) == (TEXT, 0, True)


def test_a_gap_is_counted_and_what_follows_is_read() -> None:
    (reading,) = read(p(b"", 99, SYN), p(b"abc", 100), p(b"xyz", 110))
    assert (reading.pieces, reading.missing) == ([b"abc", b"xyz"], 7)


def test_what_was_acknowledged_and_never_captured_is_missing() -> None:
    (reading,) = read(p(b"", 99, SYN), p(b"abc", 100), p(b"", 5, ACK, 150, back=True))
    assert reading.missing == 47


@pytest.mark.parametrize("extra", [0, 1])
def test_the_number_of_the_fin_is_no_missing_byte(extra: int) -> None:
    (reading,) = read(p(b"", 99, SYN), p(b"abc", 100), p(b"", 5, ACK, 103 + extra, back=True))
    assert reading.missing == 0


def test_a_direction_that_was_not_captured_at_all_is_missing() -> None:
    readings = read(p(b"", 99, SYN), p(b"ask", 100, ACK, 500), p(b"", 103, ACK, 900))
    assert [(reading.text, reading.missing) for reading in readings] == [(b"ask", 0), (b"", 400)]


def test_one_late_acknowledgement_at_the_start_of_a_capture_is_no_loss() -> None:
    (reading,) = read(p(b"ask", 100, ACK, 500), p(b"", 103, ACK, 900))
    assert reading.missing == 0


def test_bytes_that_the_snap_length_cut_off_are_missing() -> None:
    (reading,) = read(p(b"", 99, SYN), p(b"abc", 100, missing=4), p(b"xyz", 107), p(b"end", 110, missing=2))
    assert (reading.text, reading.missing) == (b"abcxyzend", 6)


def test_data_with_the_syn_is_read() -> None:
    (reading,) = read(p(b"fast", 99, SYN), p(b"open", 104))
    assert (reading.text, reading.opening) == (b"fastopen", True)


def test_a_syn_that_is_sent_again_changes_nothing() -> None:
    (reading,) = read(p(b"", 99, SYN), p(b"abc", 100), p(b"", 99, SYN), p(b"def", 103))
    assert reading.text == b"abcdef"


@pytest.mark.parametrize("end", [FIN | ACK, RST], ids=["fin", "rst"])
def test_a_port_pair_that_is_used_again_is_another_connection(end: int) -> None:
    first = [p(b"", 99, SYN), p(b"one", 100), p(b"", 103, end)]
    again = [p(b"", 5000, SYN), p(b"two", 5001)]
    assert [reading.text for reading in read(*first, *again)] == [b"one", b"two"]
    assert [reading.text for reading in read(*first[:2], *again)] == [b"one", b"two"]


def test_what_is_sent_again_after_the_end_is_no_connection_of_its_own() -> None:
    (reading,) = read(p(b"", 99, SYN), p(b"abc", 100), p(b"", 103, FIN | ACK), p(b"abc", 100), p(b"c", 102))
    assert reading.text == b"abc"


def test_data_after_the_fin_in_time_is_waited_for() -> None:
    (reading,) = read(p(b"", 99, SYN), p(b"", 106, FIN | ACK), p(b"def", 103), p(b"abc", 100))
    assert (reading.text, reading.missing) == (b"abcdef", 0)


def test_a_stream_that_was_joined_in_the_middle_shows_what_came_before_it_in_any_order() -> None:
    (reading,) = read(p(b"later", 200), p(b"before", 150), p(b"overllat", 195), p(b"more", 205))
    assert (reading.text, reading.opening) == (b"latermore", False)
    assert reading.strays == [b"before", b"overl"]
    assert reading.missing == 0


def test_a_keepalive_is_no_data() -> None:
    (reading,) = read(p(b"", 99, SYN), p(b"abc", 100), p(b"\0", 102), p(b"def", 103))
    assert reading.text == b"abcdef"


@pytest.mark.parametrize(("count", "missing"), [(MAX_WAITING_SEGMENTS, 0), (MAX_WAITING_SEGMENTS + 1, 1)])
def test_segments_wait_up_to_the_limit(count: int, missing: int) -> None:
    late = p(b"\0", 100)
    waiting = [p(b"x", 101 + number) for number in range(count)]
    (reading,) = read(p(b"", 99, SYN), *waiting, late)
    assert (len(reading.text), reading.missing) == (count + 1 - missing, missing)


def test_segments_wait_within_the_budget() -> None:
    packets = [p(b"", 99, SYN), p(b"x" * 60, 110), p(b"y" * 60, 180), p(b"z" * 60, 100)]
    (reading,) = read(*packets, budget=Budget(100))
    assert reading.missing > 0


@pytest.mark.parametrize(("count", "ended"), [(MAX_CONNECTIONS, 0), (MAX_CONNECTIONS + 1, 1)])
def test_the_oldest_of_too_many_connections_is_ended(count: int, ended: int) -> None:
    readings: list[Reading] = []

    def begin(stream: Stream) -> Reading:
        readings.append(Reading(stream.opening))
        return readings[-1]

    connections = Reassembly(begin)
    for number in range(count):
        source = Address(f"10.1.{number >> 8}.{number & 255}", 1)
        connections.add(Packet(0.0, "tcp", source, B, b"x", 0, 1, ACK, 0))
    assert sum(reading.ended for reading in readings) == ended


def test_random_segments_never_break_it() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "8"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "500"))):
        packets = [
            p(
                rng.randbytes(rng.choice([0, 1, 20])),
                rng.choice([0, 5, 30, 1 << 31, (1 << 32) - 5]) + rng.randrange(40),
                rng.randrange(32),
                rng.randrange(60),
                back=rng.random() < 0.5,
                missing=rng.choice([0, 0, 0, 7]),
            )
            for _ in range(rng.randint(1, 30))
        ]
        read(*packets)
