"""One row for each pair of nodes and direction: a node that is set up wrongly flips its own rows and no others."""

from __future__ import annotations

import gzip
import itertools
import ssl

import msgpack
import pytest

from meshnode.base.address import Address
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.capture import Capture
from meshnode.prove.flow import MAX_FLOWS, OTHERS, FlowKey, Level, flow_key
from meshnode.prove.verdict import PortVerdict, judge
from tests.support.frames import conversation, pcap, udp
from tests.support.handshake import handshake

KEY = bytes(range(32))
CANARY = "canary4f1c9a77b2"
EVENT = b"\x08\x03" + msgpack.packb({"LTime": 1, "Name": "deploy", "Payload": CANARY}, use_bin_type=False)
NODES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")


def judged(frames: list[bytes], port: int) -> PortVerdict:
    return judge([Capture(pcap(frames), "test").packets()], [port], [CANARY], Keyring([KEY]))[0]


def levels(verdict: PortVerdict) -> dict[FlowKey, Level]:
    return {key: flow.level for key, flow in verdict.flows.items()}


def gossip(wrong: str = "") -> list[bytes]:
    sealed = Keyring([KEY]).seal(EVENT, bytes(12), b"")
    return [
        udp(Address(one, 8301), Address(other, 8301), EVENT if one == wrong else sealed)
        for one, other in itertools.permutations(NODES, 2)
    ]


def test_sealed_gossip_is_authenticated_in_every_row() -> None:
    found = levels(judged(gossip(), 8301))
    assert len(found) == 6
    assert set(found.values()) == {Level.AUTHENTICATED}
    assert {key.direction for key in found} == {"between"}


@pytest.mark.parametrize("wrong", NODES)
def test_a_node_that_speaks_in_clear_flips_exactly_its_own_rows(wrong: str) -> None:
    verdict = judged(gossip(wrong), 8301)
    assert len(levels(verdict)) == 6
    for key, level in levels(verdict).items():
        assert level is (Level.PLAINTEXT if key.source == wrong else Level.AUTHENTICATED), key
        assert verdict.flows[key].canaries == ({CANARY} if key.source == wrong else set())


CLIENT, SERVER = Address(NODES[0], 40000), Address(NODES[1], 8300)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("fin", [True, False])
def test_mutual_tls_raises_both_directions(version: ssl.TLSVersion, fin: bool) -> None:
    for has, level in ((True, Level.AUTHENTICATED), (False, Level.ENCRYPTED)):
        client, server = handshake(version, asks=True, has_certificate=has)
        frames = conversation(CLIENT, SERVER, (">", b"\x03" + client), ("<", server), fin=fin)
        found = levels(judged(frames, 8300))
        assert found == {
            FlowKey(NODES[0], NODES[1], "to"): level,
            FlowKey(NODES[1], NODES[0], "from"): level,
        }


def test_one_connection_without_a_client_certificate_keeps_the_row_at_encrypted() -> None:
    frames = []
    for number, has in enumerate((True, False)):
        client, server = handshake(ssl.TLSVersion.TLSv1_3, asks=True, has_certificate=has)
        frames += conversation(Address(NODES[0], 40000 + number), SERVER, (">", client), ("<", server))
    verdict = judged(frames, 8300)
    assert set(levels(verdict).values()) == {Level.ENCRYPTED}
    assert verdict.flows[FlowKey(NODES[0], NODES[1], "to")].counts == {
        Level.ENCRYPTED: 1, Level.AUTHENTICATED: 1
    }  # fmt: skip


def test_missing_bytes_withhold_the_verdict_of_their_row_alone() -> None:
    client, server = handshake(ssl.TLSVersion.TLSv1_3)
    frames = conversation(CLIENT, SERVER, (">", client), ("<", server), (">", b"\x17\x03\x03\0\1x"))
    without = [frame for frame in frames if len(frame) < 1000 or frame[26:30] != bytes((10, 0, 0, 2))]
    assert len(without) < len(frames)
    other = conversation(Address(NODES[2], 40000), SERVER, (">", client), ("<", server))
    verdict = judged(without + other, 8300)
    assert {key for key, level in levels(verdict).items() if level is Level.UNKNOWN} == {
        FlowKey(NODES[1], NODES[0], "from")
    }
    assert verdict.judgement == "unknown"


def test_a_canary_that_gzip_hides_is_found_in_a_stream_and_in_a_datagram() -> None:
    packed = gzip.compress(b"some text " * 9 + CANARY.encode())
    assert CANARY.encode() not in packed
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
    http = Address(NODES[1], 8500)
    assert judged(conversation(CLIENT, http, ("<", head + packed)), 8500).canaries == {CANARY}
    assert judged(
        [udp(Address(NODES[0], 8301), Address(NODES[1], 8301), b"\x01\x02" + packed)], 8301
    ).canaries == {CANARY}


def test_rows_are_bounded_whoever_speaks() -> None:
    verdict = PortVerdict(8301)
    for number in range(MAX_FLOWS + 2):
        verdict.flow(Address(f"10.1.{number // 256}.{number % 256}", 8301), Address("10.0.0.1", 8301))
    assert len(verdict.flows) == MAX_FLOWS + 1
    assert FlowKey(OTHERS, OTHERS, "between") in verdict.flows


def test_the_direction_says_which_end_the_port_is() -> None:
    one, other = Address("10.0.0.1", 40000), Address("10.0.0.2", 8300)
    assert flow_key(8300, one, other).direction == "to"
    assert flow_key(8300, other, one).direction == "from"
    assert flow_key(8300, other, other).direction == "between"
