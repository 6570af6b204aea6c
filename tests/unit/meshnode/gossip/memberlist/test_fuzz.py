"""Mutated packets and streams: they end in a result or in ``RemoteProtocolError``, and the machine never raises.

``MESH_FUZZ_CASES`` sets the number of cases (default 20 000), ``MESH_FUZZ_SEED`` the seed.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.effects import StreamId
from meshnode.gossip.memberlist.codec import decode_message, encode_message
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.messages import (
    Ack,
    Dead,
    ErrorReply,
    NodeState,
    Ping,
    State,
    Suspect,
    UserMessage,
)
from meshnode.gossip.memberlist.packet import (
    add_crc,
    add_label,
    compress,
    join_compound,
    open_packet,
    split_messages,
)
from meshnode.gossip.memberlist.stream import StreamParser, encode_push_pull, encode_user_stream, seal_stream
from tests.unit.meshnode.gossip.memberlist import captured
from tests.unit.meshnode.gossip.memberlist.node import VERSIONS, Node, alive

CASES = int(os.environ.get("MESH_FUZZ_CASES", "20000"))
SEED = int(os.environ.get("MESH_FUZZ_SEED", "1"))
KEY = bytes(range(32))
RING = Keyring([KEY])
NONCE = bytes(12)
LABEL = b"pool"
SRC = Address("10.0.0.5", 8301)
#: Values that sit on the edges of lengths, types and the msgpack dialects.
EDGES = (0, 1, 0x7F, 0x80, 0x8F, 0x90, 0xC0, 0xC1, 0xC4, 0xC9, 0xD9, 0xDA, 0xDB, 0xDC, 0xDE, 0xDF, 0xFF)

MESSAGES = [
    captured.PING,
    captured.ACK,
    captured.INDIRECT_PING,
    captured.NACK,
    *map(
        encode_message,
        (
            alive("b", 3, meta=b"meta"),
            Suspect(3, "me", "b"),
            Dead(3, "b", "b"),
            UserMessage(b"user"),
            ErrorReply("no"),
            Ping(1, "me"),
        ),
    ),
]
PACKETS = [
    *MESSAGES,
    captured.COMPOUND_PING_SUSPECT,
    captured.CRC_SUSPECT,
    captured.CRC_COMPRESSED,
    join_compound(MESSAGES),
    compress(join_compound(MESSAGES)),
    add_crc(compress(MESSAGES[4])),
]
NODES = [
    NodeState(f"n{i}", b"\x0a\0\0\x01", 8301, b"meta", 3, state, VERSIONS) for i, state in enumerate(State)
]
STREAMS = [
    captured.PUSH_PULL,
    encode_push_pull(True, NODES, b"state"),
    encode_user_stream(b"hello"),
    encode_message(Ping(1, "me")),
    encode_message(Ack(1)),
    encode_message(ErrorReply("no")),
    compress(encode_push_pull(False, NODES, b"")),
    add_label(encode_user_stream(b"hello"), LABEL),
]


def mutate(data: bytes, rng: Random, corpus: list[bytes]) -> bytes:
    """A few random edits: flipped and edge bytes, cuts, repeats, splices."""
    result = bytearray(data)
    for _ in range(1 + int(rng.random() * 4)):
        kind = rng.random()
        place = int(rng.random() * (len(result) + 1))
        if kind < 0.3 and place < len(result):
            result[place] ^= 1 << int(rng.random() * 8)
        elif kind < 0.6 and place < len(result):
            result[place] = EDGES[int(rng.random() * len(EDGES))]
        elif kind < 0.7:
            del result[place:]
        elif kind < 0.8:
            del result[place : place + 1 + int(rng.random() * 8)]
        elif kind < 0.9:
            result[place:place] = result[: int(rng.random() * 16)]
        else:
            other = corpus[int(rng.random() * len(corpus))]
            result[place:] = other[int(rng.random() * len(other)) :]
    return bytes(result)


def with_byte(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + bytes((value,)) + data[place + 1 :]


def test_mutated_packets_end_in_a_result_or_a_remote_error() -> None:
    print(f"seed {SEED}, cases {CASES}")
    rng = Random(SEED)
    read = refused = 0
    for _ in range(CASES):
        data = mutate(PACKETS[int(rng.random() * len(PACKETS))], rng, PACKETS)
        try:
            for part in split_messages(open_packet(data, b"", None, True)):
                decode_message(part)
            read += 1
        except RemoteProtocolError:
            refused += 1
    assert read > CASES // 50, "the mutations must reach the readers"
    assert refused > CASES // 10


def test_mutated_streams_end_in_a_result_or_a_remote_error() -> None:
    rng = Random(SEED + 1)
    count = CASES // 4
    print(f"seed {SEED + 1}, cases {count}")
    read = refused = 0
    for _ in range(count):
        data = mutate(STREAMS[int(rng.random() * len(STREAMS))], rng, STREAMS)
        reader = StreamParser(label=b"", answer=False, keyring=None, verify_incoming=True)
        cut = int(rng.random() * (len(data) + 1))
        try:
            if reader.feed(data[:cut]) is not None or reader.feed(data[cut:]) is not None:
                read += 1
        except RemoteProtocolError:
            refused += 1
    assert read > count // 50
    assert refused > count // 10


def test_the_machine_never_raises_on_mutated_plain_packets() -> None:
    rng = Random(SEED + 2)
    count = CASES // 4
    print(f"seed {SEED + 2}, cases {count}")
    node = Node(compress_packets=True)
    for index in range(count):
        node.machine.handle_packet(mutate(PACKETS[index % len(PACKETS)], rng, PACKETS), SRC, index / 100)
        if not index % 1000:
            node = Node()
    assert node.state("me") is not None


def test_the_machine_never_raises_on_mutated_plain_streams() -> None:
    rng = Random(SEED + 3)
    count = CASES // 8
    print(f"seed {SEED + 3}, cases {count}")
    node = Node()
    for index in range(count):
        stream = StreamId(2 * index + 1)
        now = index / 10
        node.machine.handle_stream_accepted(stream, SRC, now)
        node.machine.handle_stream_data(stream, mutate(STREAMS[index % len(STREAMS)], rng, STREAMS), now)
        node.machine.handle_stream_closed(stream, None, now)
        if not index % 500:
            node = Node()
    assert node.machine._exchange._sessions == {}


@pytest.mark.parametrize("label", ["", "pool"])
def test_mutated_sealed_input_changes_no_membership(label: str) -> None:
    rng = Random(SEED + 4)
    count = CASES // 4
    print(f"seed {SEED + 4}, cases {count}")
    node = Node(keys=[bytes(16), KEY], label=label)
    aad = label.encode()
    packets = [add_label(RING.seal(data, NONCE, aad, index % 2), aad) for index, data in enumerate(PACKETS)]
    streams = [add_label(seal_stream(data, RING, NONCE, aad), aad) for data in STREAMS[:-1]]
    prefix = len(add_label(b"", aad))
    # The version byte is outside the seal (memberlist's format): changing it alone replays the message.
    replays = {with_byte(packet, prefix, version) for packet in packets for version in (0, 1)}
    frames = tuple(with_byte(stream, prefix + 5, version) for stream in streams for version in (0, 1))
    node.machine.handle_packet(packets[4], SRC, 0.0)
    before = node.machine.members()
    assert len(before) == 2
    for index in range(count):
        packet = mutate(packets[index % len(packets)], rng, packets)
        if packet not in replays:
            node.machine.handle_packet(packet, SRC, index / 100)
        stream, data = StreamId(2 * index + 1), mutate(streams[index % len(streams)], rng, streams)
        if not data.startswith(frames):
            node.machine.handle_stream_accepted(stream, SRC, index / 100)
            node.machine.handle_stream_data(stream, data, index / 100)
            node.machine.handle_stream_closed(stream, None, index / 100)
    assert node.machine.members() == before
    assert sum(node.machine.stats.refused.values()) > count // 2
