"""Plain, sealed, unopened or unknown: as memberlist itself writes packets and streams."""

from __future__ import annotations

import os
import random

import msgpack
import pytest

from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.packet import add_crc, add_label, compress, join_compound
from meshnode.gossip.memberlist.stream import encode_push_pull, encode_user_stream, seal_stream
from meshnode.prove.gossip import MAX_EXPANDED_BYTES, MAX_NESTING, view_packet, view_stream

KEY, OLD = bytes(range(32)), bytes(16)
NONCE = bytes(12)
NONE = Keyring()
PING = b"\x00" + msgpack.packb({"SeqNo": 1, "Node": "n"})
EVENT = b"\x08\x03" + msgpack.packb({"LTime": 1, "Name": "deploy", "Payload": "words"})
MESSAGES = [PING, EVENT, add_crc(PING), join_compound([PING, EVENT]), compress(join_compound([PING, EVENT]))]
STREAMS = [
    encode_push_pull(True, (), b"state"),
    encode_user_stream(EVENT[1:]),
    compress(encode_push_pull(False, (), b"")),
]


@pytest.mark.parametrize("message", [*MESSAGES, add_crc(compress(PING)), add_label(PING, b"lan")])
def test_every_wrapping_of_a_plain_message_is_plaintext(message: bytes) -> None:
    assert view_packet(message, Keyring([KEY])).kind == "plaintext"


@pytest.mark.parametrize("message", STREAMS)
def test_every_plain_stream_is_plaintext(message: bytes) -> None:
    assert view_stream(message, NONE).kind == "plaintext"
    assert view_stream(add_label(message, b"lan"), NONE).kind == "plaintext"


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("label", [b"", b"lan"])
@pytest.mark.parametrize("message", MESSAGES)
def test_a_sealed_packet_is_opened_with_any_key_of_the_ring(
    message: bytes, label: bytes, version: int
) -> None:
    packet = add_label(Keyring([OLD]).seal(message, NONCE, label, version), label)
    view = view_packet(packet, Keyring([KEY, OLD]))
    assert (view.kind, view.content[0]) == ("sealed", message)
    assert view_packet(packet, Keyring([KEY])).kind == "unknown"
    assert view_packet(packet, NONE).kind == "unopened"


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("message", STREAMS)
def test_a_sealed_stream_is_opened_with_its_label_or_with_one_known_from_elsewhere(
    message: bytes, version: int
) -> None:
    ring = Keyring([KEY])
    stream = seal_stream(message, ring, NONCE, b"lan", version)
    assert view_stream(add_label(stream, b"lan"), ring).kind == "sealed"
    assert view_stream(stream, ring, [b"wan", b"lan"]).kind == "sealed"
    assert view_stream(stream, ring).kind == "unknown"


def test_a_sealed_frame_that_is_cut_off_or_has_more_behind_it_is_unknown() -> None:
    stream = seal_stream(STREAMS[0], Keyring([KEY]), NONCE, b"")
    assert view_stream(stream[:-1], Keyring([KEY])).kind == "unknown"
    assert view_stream(stream + b"in clear", Keyring([KEY])).kind == "unknown"
    assert view_stream(stream, Keyring([KEY]), whole=False).kind == "unknown"


def test_compressed_content_is_expanded_wherever_it_is() -> None:
    for message in (compress(EVENT), add_crc(compress(EVENT)), join_compound([PING, compress(EVENT)])):
        assert any(b"words" in content for content in view_packet(message, NONE).content)
    ring = Keyring([KEY])
    view = view_packet(ring.seal(add_crc(compress(EVENT)), NONCE, b""), ring)
    assert any(b"words" in content for content in view.content)


@pytest.mark.parametrize(("size", "expanded"), [(MAX_EXPANDED_BYTES, 1), (MAX_EXPANDED_BYTES + 1, 0)])
def test_what_expands_to_too_much_is_recognised_and_not_expanded(size: int, expanded: int) -> None:
    view = view_packet(compress(bytes(size)), NONE)
    assert (view.kind, len(view.content)) == ("plaintext", expanded)


def test_wrappers_are_followed_up_to_the_limit() -> None:
    message = EVENT
    for _ in range(MAX_NESTING + 3):
        message = compress(message)
    assert len(view_packet(message, NONE).content) == MAX_NESTING + 1


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 50, b"\x07\x01\x00\x09x", b"\x02not msgpack", b"\xf4\x00", b"\x0c1234"]
)
def test_what_is_neither_is_unknown(data: bytes) -> None:
    assert view_packet(data, NONE).kind == "unknown"
    assert view_stream(data, NONE).kind == "unknown"


def test_any_bytes_end_in_a_view() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "9"))
    print(f"seed {seed}")
    rng, ring = random.Random(seed), Keyring([KEY])
    samples = [*MESSAGES, *STREAMS, ring.seal(PING, NONCE, b""), seal_stream(PING, ring, NONCE, b"")]
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "2000"))):
        data = bytearray(rng.choice(samples))
        for _ in range(rng.randint(0, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        for view in (view_packet(bytes(data), ring), view_stream(bytes(data), ring, [b"x"])):
            assert view.kind in {"plaintext", "sealed", "unknown"}


@pytest.mark.parametrize(
    "nonce",
    [
        b"\x81\xa9MMMMMMMMM\x01",
        b"\x81\xa1M\xa1" + bytes(8),
        b"\x80" + bytes(11),
        b"\x81\xa4Seq\x00\x01" + bytes(5),
    ],
)
@pytest.mark.parametrize("label", [b"", b"lan"])
def test_a_seal_whose_random_bytes_look_like_a_message_is_sealed(nonce: bytes, label: bytes) -> None:
    packet = add_label(Keyring([KEY]).seal(EVENT, nonce, label, 1), label)
    assert view_packet(packet, Keyring([KEY])).kind == "sealed"
    assert view_packet(packet, NONE).kind == "unopened"
    assert view_packet(packet, Keyring([OLD])).kind == "unknown"


def test_even_a_seal_that_has_the_words_of_a_message_is_sealed_when_a_key_opens_it() -> None:
    packet = Keyring([KEY]).seal(EVENT, b"\x81\xa5SeqNo\x01" + bytes(4), b"", 1)
    assert view_packet(packet, Keyring([KEY])).kind == "sealed"
    assert view_packet(packet, NONE).kind == "plaintext"


def test_no_seal_under_any_nonce_is_plaintext() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "14"))
    print(f"seed {seed}")
    rng, ring = random.Random(seed), Keyring([KEY])
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "20000"))):
        # Half of them begin as a map of one field does, which is where a reader can be misled.
        lead = b"\x81" + bytes((0xA0 | rng.randrange(32),)) if rng.random() < 0.5 else b""
        nonce = (lead + rng.randbytes(12))[:12]
        packet = ring.seal(PING, nonce, b"", 1)
        assert view_packet(packet, NONE).kind == "unopened", packet.hex()
        assert view_packet(packet, ring).kind == "sealed", packet.hex()
