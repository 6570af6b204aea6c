"""One file's packets, and a sentence for each kind of what could not be read."""

from __future__ import annotations

import io

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.prove.capture import Capture
from tests.support.frames import ethernet, pcap, pcapng, udp

A, B = Address("10.0.0.1", 8301), Address("10.0.0.2", 8301)
GOOD = udp(A, B, b"x")
ARP = b"\2" * 12 + b"\x08\x06" + bytes(28)
#: An IPv4 header that says that it is longer than the packet.
DAMAGED = ethernet(b"\x4f\0\0\x14" + bytes(16))


def test_frames_of_other_protocols_are_counted_and_no_problem() -> None:
    capture = Capture(pcap([GOOD, ARP, GOOD]), "x.pcap")
    assert len(list(capture.packets())) == 2
    assert (capture.frames, capture.skipped, capture.damaged, capture.cut) == (3, 1, 0, False)
    assert capture.problems() == []


def test_a_damaged_packet_is_a_problem() -> None:
    capture = Capture(pcap([GOOD, DAMAGED]), "x.pcap")
    assert len(list(capture.packets())) == 1
    assert capture.problems() == ["x.pcap: 1 packets have headers that can't be read"]


def test_a_capture_cut_short_gives_what_it_holds_and_says_so() -> None:
    capture = Capture(io.BytesIO(pcap([GOOD, GOOD]).getvalue()[:-5]), "x.pcap")
    assert len(list(capture.packets())) == 1
    assert capture.problems() == ["x.pcap is cut short after frame 1: what followed is not judged"]


def test_a_link_that_is_not_read_is_named_with_what_to_do() -> None:
    with pytest.raises(MeshError, match=r"x\.pcap has link type 105, .*: capture on an Ethernet"):
        list(Capture(pcap([GOOD], 105), "x.pcap").packets())


def test_an_interface_of_another_link_matters_only_when_it_has_frames() -> None:
    assert len(list(Capture(pcapng([(0, GOOD)], [1, 105]), "x").packets())) == 1
    with pytest.raises(MeshError, match="link type 105"):
        list(Capture(pcapng([(1, GOOD)], [1, 105]), "x").packets())
