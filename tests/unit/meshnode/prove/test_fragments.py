"""Fragments come in any order and more than once; what stays incomplete is counted."""

from __future__ import annotations

import itertools
import struct

import pytest

from meshnode.base.address import Address
from meshnode.prove.capture import Capture
from meshnode.prove.fragments import MAX_DATAGRAM_BYTES, MAX_PENDING_DATAGRAMS, Fragments
from meshnode.prove.frame import Datagram
from tests.support.frames import ethernet, ip_packet, pcap

V4 = (Address("10.0.0.1", 8301), Address("10.0.0.2", 8301))
V6 = (Address("fd00::1", 8301), Address("fd00::2", 8301))


def fragment(offset: int, payload: bytes, more: bool, identification: int = 1) -> Datagram:
    return Datagram(b"\x0a\0\0\1", b"\x0a\0\0\2", 17, payload, 0, (identification, offset, more))


PARTS = [fragment(0, b"a" * 16, True), fragment(16, b"b" * 16, True), fragment(32, b"c" * 5, False)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_any_order_gives_the_whole(order: tuple[int, ...]) -> None:
    fragments = Fragments()
    whole = [found for number in order if (found := fragments.add(PARTS[number]))]
    assert [found.payload for found in whole] == [b"a" * 16 + b"b" * 16 + b"c" * 5]
    assert whole[0].fragment is None
    fragments.finish()
    assert fragments.lost == 0


def test_copies_and_overlaps_change_nothing() -> None:
    fragments = Fragments()
    extra = [PARTS[0], PARTS[0], fragment(8, b"x" * 24, True), PARTS[1]]
    assert [fragments.add(part) for part in extra] == [None] * 4
    whole = fragments.add(PARTS[2])
    assert whole is not None
    assert whole.payload == b"a" * 16 + b"x" * 16 + b"c" * 5


def test_what_is_incomplete_at_the_end_is_lost() -> None:
    fragments = Fragments()
    for part in PARTS[1:]:
        assert fragments.add(part) is None
    fragments.finish()
    assert fragments.lost == 1


@pytest.mark.parametrize(("count", "lost"), [(MAX_PENDING_DATAGRAMS, 0), (MAX_PENDING_DATAGRAMS + 1, 1)])
def test_the_oldest_of_too_many_is_given_up(count: int, lost: int) -> None:
    fragments = Fragments()
    for number in range(count):
        fragments.add(fragment(0, b"a" * 8, True, number))
    assert fragments.lost == lost


@pytest.mark.parametrize(("length", "lost"), [(MAX_DATAGRAM_BYTES - 8, 0), (MAX_DATAGRAM_BYTES - 7, 1)])
def test_a_datagram_longer_than_ip_allows_is_refused(length: int, lost: int) -> None:
    fragments = Fragments()
    fragments.add(fragment(8, bytes(length), False))
    assert fragments.lost == lost


@pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])
def test_a_fragmented_datagram_of_a_capture_is_one_packet(ends: tuple[Address, Address]) -> None:
    payload = bytes(range(256)) * 8
    whole = struct.pack("!HHHH", 8301, 8301, 8 + len(payload), 0) + payload
    frames = [
        ethernet(
            ip_packet(17, *ends, whole[start : start + 800], fragment=(9, start, start + 800 < len(whole)))
        )
        for start in range(0, len(whole), 800)
    ]
    capture = Capture(pcap(reversed(frames)), "x")
    assert [packet.payload for packet in capture.packets()] == [payload]
    assert capture.problems() == []
    capture = Capture(pcap(frames[:-1]), "x")
    assert list(capture.packets()) == []
    assert capture.problems() == ["x: 1 fragmented datagrams are incomplete"]
