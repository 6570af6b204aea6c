"""The wire of a chaos run: what is held up, doubled or overtaken, without a device."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.test_probe_script import ROLES, load

wire = load(ROLES / "mesh_chaos" / "files" / "wire.py")
PACKETS = [f"packet {number}".encode() for number in range(200)]


def carried(fault: str, amount: float, *, apart: float = 0.01) -> list[bytes]:
    """What comes out of the wire, in its order, when packets go in so many seconds ``apart``."""
    made = wire.Wire(fault, amount, random.Random(1))
    out: list[bytes] = []
    for number, packet in enumerate(PACKETS):
        now = number * apart
        made.take(packet, now)
        out += made.due(now)
    return out + list(made.due(1e9))


def test_a_delayed_packet_leaves_when_its_time_has_come_and_not_before() -> None:
    made = wire.Wire("delay", 0.1, random.Random(1))
    made.take(b"a", 5.0)
    assert made.wait(5.0) == pytest.approx(0.1)
    assert made.due(5.09) == []
    assert made.due(5.11) == [b"a"]
    assert carried("delay", 0.1) == PACKETS


def test_the_share_of_packets_that_is_to_be_doubled_is_and_none_is_lost() -> None:
    out = carried("duplicate", 0.3)
    assert set(out) == set(PACKETS)
    assert 30 <= len(out) - len(PACKETS) <= 90


def test_overtaken_packets_arrive_later_than_what_was_sent_after_them() -> None:
    out = carried("reorder", 0.25)
    assert sorted(out) == sorted(PACKETS)
    assert out != PACKETS


@given(st.sampled_from(["delay", "duplicate", "reorder"]), st.floats(0, 1))
def test_no_packet_is_lost_and_none_changed(fault: str, amount: float) -> None:
    assert set(carried(fault, amount)) == set(PACKETS)


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_HELD", 10)
    made = wire.Wire("delay", 1.0, random.Random(1))
    for packet in PACKETS[:12]:
        made.take(packet, 0.0)
    assert made.due(2.0) == PACKETS[:10]


def test_a_wire_with_nothing_on_it_waits_a_second() -> None:
    assert wire.Wire("delay", 1.0, random.Random(1)).wait(3.0) == 1.0
