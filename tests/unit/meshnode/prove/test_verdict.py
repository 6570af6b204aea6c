"""From frames to one judgement per port: what is sealed passes, what is readable never does."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import ssl

import msgpack
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError, MeshError
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.packet import add_crc, compress, join_compound
from meshnode.prove.capture import Capture
from meshnode.prove.verdict import MAX_FINDINGS, PortVerdict, judge
from tests.support.frames import conversation, pcap, tcp, udp
from tests.support.handshake import handshake

A, B = Address("10.0.0.1", 8301), Address("10.0.0.2", 8301)
CLIENT, RPC, HTTP = Address("10.0.0.1", 40000), Address("10.0.0.2", 8300), Address("10.0.0.2", 8500)
KEY = bytes(range(32))
CANARY = "canary4f1c9a77b2"
PING = b"\x00" + msgpack.packb({"SeqNo": 1, "Node": "n"}, use_bin_type=False)
EVENT = b"\x08\x03" + msgpack.packb({"LTime": 1, "Name": "deploy", "Payload": CANARY}, use_bin_type=False)


def sealed(text: bytes, key: bytes = KEY, additional: bytes = b"") -> bytes:
    nonce = bytes(12)
    return b"\x01" + nonce + AESGCM(key).encrypt(nonce, text, additional)


def verdict(frames: list[bytes], port: int, *, keys: tuple[bytes, ...] = (KEY,)) -> PortVerdict:
    return judge([Capture(pcap(frames), "test").packets()], [port], [CANARY], Keyring(keys))[0]


def test_sealed_datagrams_that_the_key_opens_are_encrypted() -> None:
    judged = verdict([udp(A, B, sealed(EVENT)), udp(B, A, sealed(PING))], 8301)
    assert judged.judgement == "encrypted"
    assert not judged.canaries
    assert judged.findings[("sealed", "AES-GCM, opened with a key of the ring")] == 2


def test_a_sealed_datagram_under_another_key_is_unknown_and_so_fails() -> None:
    assert verdict([udp(A, B, sealed(PING, bytes(16)))], 8301).judgement == "unknown"


@pytest.mark.parametrize("message", [PING, EVENT, b"\x07\x01" + len(PING).to_bytes(2, "big") + PING])
def test_readable_gossip_is_plaintext(message: bytes) -> None:
    assert verdict([udp(A, B, message)], 8301).judgement == "plaintext"


def test_a_canary_in_clear_is_found_and_shown() -> None:
    judged = verdict([udp(A, B, EVENT)], 8301)
    assert judged.canaries == {CANARY}
    assert judged.excerpt is not None
    assert CANARY.encode() in judged.excerpt.data
    assert (judged.excerpt.source, judged.excerpt.destination) == (A, B)


def test_one_readable_datagram_among_many_sealed_ones_makes_the_port_plaintext() -> None:
    frames = [udp(A, B, sealed(PING)) for _ in range(50)]
    assert verdict([*frames, udp(A, B, PING), *frames], 8301).judgement == "plaintext"


@pytest.mark.parametrize("lead", [b"", b"x", b"xy"])
def test_a_canary_is_found_inside_base64_at_every_alignment(lead: bytes) -> None:
    body = b"HTTP/1.1 200 OK\r\n\r\n" + base64.b64encode(lead + CANARY.encode() + b"tail")
    assert verdict(conversation(CLIENT, HTTP, ("<", body)), 8500).canaries == {CANARY}


def test_a_canary_split_between_segments_is_found() -> None:
    text = b"PUT /v1/kv/x HTTP/1.1\r\n\r\n" + CANARY.encode()
    start = [tcp(CLIENT, HTTP, b"", 999, 2)]
    frames = [tcp(CLIENT, HTTP, text[i : i + 5], 1000 + i) for i in range(0, len(text), 5)]
    assert verdict(start + frames, 8500).canaries == {CANARY}


def test_segments_out_of_order_and_repeated_give_the_same_verdict() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "7"))
    print(f"seed {seed}")
    text = b"GET / HTTP/1.1\r\n\r\n" + CANARY.encode() * 20
    frames = [tcp(CLIENT, HTTP, text[i : i + 9], 1000 + i) for i in range(0, len(text), 9)] * 2
    random.Random(seed).shuffle(frames)
    judged = verdict([tcp(CLIENT, HTTP, b"", 999, 2), *frames], 8500)
    assert judged.judgement == "plaintext"
    assert judged.canaries == {CANARY}
    assert judged.missing_bytes == 0


def hello(version: ssl.TLSVersion) -> tuple[bytes, bytes]:
    """A real handshake of Python's OpenSSL with itself: bytes of the client, bytes of the server."""
    return handshake(version)


@pytest.mark.parametrize(
    ("version", "shown"), [(ssl.TLSVersion.TLSv1_2, "TLS 1.2"), (ssl.TLSVersion.TLSv1_3, "TLS 1.3")]
)
def test_tls_after_the_selector_byte_of_the_server_port_is_encrypted(
    version: ssl.TLSVersion, shown: str
) -> None:
    client, server = hello(version)
    judged = verdict(conversation(CLIENT, RPC, (">", b"\x03" + client), ("<", server)), 8300)
    assert judged.judgement == "encrypted", judged.findings
    assert judged.versions == {shown}
    assert judged.certificate_names == ({"server.dc1.consul"} if shown == "TLS 1.2" else set())


def test_tls_that_gives_way_to_readable_bytes_is_not_encrypted() -> None:
    client, server = hello(ssl.TLSVersion.TLSv1_3)
    judged = verdict(
        conversation(CLIENT, RPC, (">", b"\x03" + client + b"hello in clear"), ("<", server)), 8300
    )
    assert judged.judgement == "unknown"


@pytest.mark.parametrize(
    "opening", [b"\x00" + b"\x82\xadServiceMethod", b"\x04" + bytes(12), bytes(12) + b"data"]
)
def test_plain_server_rpc_is_plaintext(opening: bytes) -> None:
    assert verdict(conversation(CLIENT, RPC, (">", opening)), 8300).judgement == "plaintext"


def test_missing_segments_withhold_the_verdict() -> None:
    client, server = hello(ssl.TLSVersion.TLSv1_3)
    frames = conversation(CLIENT, RPC, (">", b"\x03" + client), ("<", server))
    late = tcp(CLIENT, RPC, b"\x17\x03\x03\x00\x02hi", 1000 + 1 + len(client) + 100)
    judged = verdict([*frames, late], 8300)
    assert judged.missing_bytes == 100
    assert judged.judgement == "unknown"


def test_a_port_without_payload_is_silent_not_encrypted() -> None:
    assert verdict([tcp(CLIENT, RPC, b"", 1, 2)], 8300).judgement == "silent"


def test_random_bytes_are_unknown_never_encrypted() -> None:
    rng = random.Random(3)
    for length in (29, 45, 61, 200, 1400):
        judged = verdict([udp(A, B, rng.randbytes(length))], 8301)
        assert judged.judgement in {"unknown", "plaintext"}, length


def test_mutated_frames_never_break_the_reader() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "11"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    client, server = hello(ssl.TLSVersion.TLSv1_2)
    frames = [udp(A, B, EVENT), *conversation(CLIENT, RPC, (">", b"\x03" + client), ("<", server))]
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "500"))):
        file = bytearray(pcap(frames).getvalue())
        for _ in range(rng.randint(1, 20)):
            file[rng.randrange(24, len(file))] = rng.randrange(256)
        try:
            captures = [Capture(io.BytesIO(bytes(file)), "mutated").packets()]
            verdicts = judge(captures, [8300, 8301], [CANARY], Keyring([KEY]))
            json.dumps([one.as_dict() for one in verdicts])
        except MeshError:
            continue


def lzw_event() -> bytes:
    """The event as memberlist sends it with compression: in a compound, in a compress message, behind a CRC."""
    return add_crc(compress(join_compound([PING, EVENT])))


def test_a_canary_in_compressed_gossip_is_found_although_its_bytes_are_not_there() -> None:
    assert CANARY.encode() not in lzw_event()
    judged = verdict([udp(A, B, lzw_event())], 8301)
    assert judged.canaries == {CANARY}
    assert judged.excerpt is not None
    assert CANARY.encode() in judged.excerpt.data


def test_a_canary_inside_frames_that_a_key_opens_travelled_sealed_and_is_no_leak() -> None:
    judged = verdict([udp(A, B, sealed(EVENT)), udp(A, B, sealed(lzw_event()))], 8301)
    assert judged.judgement == "encrypted"
    assert (judged.canaries, judged.sealed_canaries) == (set(), {CANARY})


def test_the_shape_of_a_sealed_frame_proves_nothing_without_a_key() -> None:
    assert verdict([udp(A, B, sealed(EVENT))], 8301, keys=()).judgement == "unopened"
    assert (
        verdict([udp(A, B, b"\x01" + random.Random(1).randbytes(80))], 8301, keys=()).judgement == "unopened"
    )


def test_datagrams_cut_by_a_short_snap_length_withhold_the_verdict() -> None:
    frames = [udp(A, B, sealed(PING)), udp(A, B, sealed(EVENT))]
    captures = [Capture(pcap(frames, snap=len(frames[0])), "short").packets()]
    judged = judge(captures, [8301], [CANARY], Keyring([KEY]))[0]
    assert judged.judgement == "unknown"
    assert judged.missing_bytes == len(frames[1]) - len(frames[0])


def test_each_capture_is_an_observation_of_its_own() -> None:
    client, server = hello(ssl.TLSVersion.TLSv1_3)
    frames = conversation(CLIENT, RPC, (">", b"\x03" + client), ("<", server))
    captures = [Capture(pcap(part), "one").packets() for part in (frames, frames[3:], frames)]
    judged = judge(captures, [8300], [CANARY], Keyring())[0]
    assert sum(judged.findings.values()) >= 4
    assert judged.packets == 3 * len(frames) - 3


def test_a_label_is_learnt_from_who_dialled_for_who_answers() -> None:
    gossip = Address("10.0.0.2", 8301)

    def stream(label: bytes) -> bytes:
        header = b"\x0a" + (len(EVENT) + 29).to_bytes(4, "big")
        return header + sealed(EVENT, additional=header + label)

    turns = [(">", b"\xf4\x03lan" + stream(b"lan")), ("<", stream(b"lan"))]
    assert verdict(conversation(CLIENT, gossip, *turns), 8301).judgement == "encrypted"
    assert verdict(conversation(CLIENT, gossip, turns[1]), 8301).judgement == "unknown"


def test_one_direction_alone_is_not_the_whole_wire() -> None:
    client, server = hello(ssl.TLSVersion.TLSv1_3)
    frames = conversation(CLIENT, RPC, (">", b"\x03" + client), ("<", server), (">", b"\x17\x03\x03\0\1x"))
    forth = [frame for frame in frames if frame[26:30] == bytes((10, 0, 0, 1))]
    judged = verdict(forth, 8300)
    assert judged.judgement == "unknown"
    assert judged.missing_bytes == len(server)


def test_the_kinds_of_findings_are_bounded_whatever_peers_send() -> None:
    frames = []
    for number in range(MAX_FINDINGS + 50):
        client = Address("10.0.0.1", 30000 + number)
        frames += conversation(client, HTTP, ("<", b"HTTP/1.1 %03d x\r\n\r\n" % number))
    judged = verdict(frames, 8500)
    assert len(judged.findings) == MAX_FINDINGS + 1
    assert sum(judged.findings.values()) == MAX_FINDINGS + 50


def test_a_canary_too_short_to_mean_anything_is_refused() -> None:
    with pytest.raises(ConfigError, match="found by chance"):
        judge([], [8301], ["abc"], Keyring())
