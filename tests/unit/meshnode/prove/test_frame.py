"""From frames of every link to segments: as dpkt sees them, whole or cut."""

from __future__ import annotations

import os
import random
import struct

import dpkt
import pytest

from meshnode.base.address import Address
from meshnode.prove.frame import MAX_EXTENSION_HEADERS, MAX_VLAN_TAGS, Packet, network_layer, transport_layer
from tests.support.frames import cooked, cooked2, ethernet, ip_packet, segment

V4 = (Address("10.0.0.1", 40000), Address("10.0.0.2", 8300))
V6 = (Address("fd00::1", 40000), Address("fd00::2", 8300))
ENDS = pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])


def dissect(frame: bytes, link_type: int = 1, length: int | None = None) -> Packet | None:
    datagram = network_layer(frame, link_type, len(frame) if length is None else length)
    return transport_layer(1.5, datagram) if datagram is not None else None


def packet(ends: tuple[Address, Address], payload: bytes = b"hello") -> bytes:
    return ip_packet(6, *ends, segment(*ends, payload, 7, 0x18, 9))


@ENDS
@pytest.mark.parametrize(
    ("link_type", "wrap"),
    [
        (1, ethernet),
        (1, lambda ip: ethernet(ip, [b"\x81\x00"])),
        (1, lambda ip: ethernet(ip, [b"\x88\xa8", b"\x81\x00"])),
        (113, cooked),
        (276, cooked2),
        (0, lambda ip: b"\x02\0\0\0" + ip),
        (108, lambda ip: b"\0\0\0\x02" + ip),
        (101, bytes),
        (12, bytes),
        (14, bytes),
        (228, bytes),
        (229, bytes),
    ],
)
def test_every_link_type_gives_the_same_segment(
    ends: tuple[Address, Address], link_type: int, wrap: object
) -> None:
    assert callable(wrap)
    assert dissect(wrap(packet(ends)), link_type) == Packet(1.5, "tcp", *ends, b"hello", 0, 7, 0x18, 9)


@ENDS
def test_a_datagram_has_its_payload(ends: tuple[Address, Address]) -> None:
    head = struct.pack("!HHHH", 40000, 8300, 8 + 3, 0)
    assert dissect(ethernet(ip_packet(17, *ends, head + b"abc"))) == Packet(1.5, "udp", *ends, b"abc")


def test_padding_of_short_ethernet_frames_is_no_payload() -> None:
    found = dissect(ethernet(packet(V4, b"")) + bytes(20))
    assert found is not None
    assert found.payload == b""


@ENDS
@pytest.mark.parametrize("missing", [1, 3, 5])
def test_what_the_snap_length_cut_off_is_counted(ends: tuple[Address, Address], missing: int) -> None:
    whole = ethernet(packet(ends))
    found = dissect(whole[:-missing], length=len(whole))
    assert found is not None
    assert (found.payload, found.missing) == (b"hello"[:-missing], missing)


def test_a_total_length_of_zero_means_to_the_end_as_offloads_write_it() -> None:
    frame = bytearray(ethernet(packet(V4)))
    frame[16:18] = b"\0\0"
    found = dissect(bytes(frame))
    assert found is not None
    assert found.payload == b"hello"


def test_extension_headers_are_passed_over() -> None:
    option = b"\0\x01" + bytes(14)
    frame = ethernet(ip_packet(6, *V6, segment(*V6, b"hello", 7), extensions=option))
    found = dissect(frame)
    assert found is not None
    assert found.payload == b"hello"


@pytest.mark.parametrize(("count", "read"), [(MAX_VLAN_TAGS, True), (MAX_VLAN_TAGS + 1, False)])
def test_vlan_tags_are_read_up_to_the_limit(count: int, read: bool) -> None:
    assert (dissect(ethernet(packet(V4), [b"\x81\x00"] * count)) is not None) is read


@pytest.mark.parametrize(
    ("count", "read"), [(MAX_EXTENSION_HEADERS, True), (MAX_EXTENSION_HEADERS + 1, False)]
)
def test_extension_headers_are_read_up_to_the_limit(count: int, read: bool) -> None:
    chain = b"".join(bytes((60 if i < count - 1 else 6, 0)) + bytes(6) for i in range(count))
    body = chain + segment(*V6, b"hello", 7)
    ends = b"".join(bytes.fromhex(f"fd{0:028x}{last:02x}") for last in (1, 2))
    frame = ethernet(struct.pack("!IHBB", 6 << 28, len(body), 60, 64) + ends + body)
    assert (dissect(frame) is not None) is read


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        bytes(14),
        b"\2" * 12 + b"\x08\x06" + bytes(28),
        ethernet(ip_packet(1, *V4, b"\x08\0" + bytes(10))),
    ],
    ids=["empty", "zeros", "arp", "icmp"],
)
def test_what_is_neither_tcp_nor_udp_is_none(frame: bytes) -> None:
    assert dissect(frame) is None


@ENDS
def test_dpkt_sees_the_same_in_random_segments(ends: tuple[Address, Address]) -> None:
    rng = random.Random(3)
    for _ in range(200):
        payload, sequence = rng.randbytes(rng.randrange(50)), rng.randrange(1 << 32)
        frame = ethernet(ip_packet(6, *ends, segment(*ends, payload, sequence, rng.randrange(64), 5)))
        ours, theirs = dissect(frame), dpkt.ethernet.Ethernet(frame).data.data
        assert ours is not None
        assert (ours.payload, ours.sequence, ours.flags) == (bytes(theirs.data), theirs.seq, theirs.flags)


def test_damage_ends_in_a_packet_in_none_or_in_the_errors_that_are_named() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "4"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    frames = [ethernet(packet(V4)), ethernet(packet(V6)), cooked(packet(V4)), cooked2(packet(V6))]
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "3000"))):
        frame = bytearray(rng.choice(frames))
        for _ in range(rng.randint(1, 6)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        cut = bytes(frame[: rng.randint(0, len(frame))])
        try:
            found = dissect(cut, rng.choice([1, 113, 276, 101, 0]), len(frame))
        except (ValueError, IndexError, struct.error):
            continue
        assert found is None or found.missing >= 0
