"""What a stream is does not depend on how it is cut, and what can't be told is unknown."""

from __future__ import annotations

import os
import random
import ssl

import msgpack
import pytest

from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.stream import encode_push_pull, seal_stream
from meshnode.prove.budget import Budget
from meshnode.prove.recognise import (
    MAX_GOSSIP_STREAM_BYTES,
    Finding,
    StreamRecogniser,
    recognise_datagram,
)
from tests.support.handshake import handshake

KEY = bytes(range(32))
RING = Keyring([KEY])
CLIENT, SERVER = handshake(ssl.TLSVersion.TLSv1_3)
#: A server that chooses a suite which only authenticates (ECDHE-ECDSA-NULL-SHA), then data that is no text.
NULL_HELLO = b"\x02\x00\x00\x26\x03\x03" + bytes(32) + b"\x00\xc0\x06\x00"
NULL_SUITE = b"\x16\x03\x03\x00\x2a" + NULL_HELLO + b"\x17\x03\x03\x00\x20" + bytes(range(128, 160))
YAMUX = bytes((0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0))
PUSH_PULL = encode_push_pull(False, (), b"state")
CASES = {
    "tls client": (CLIENT, "tls"),
    "tls server": (SERVER, "tls"),
    "tls behind the selector": (b"\x03" + CLIENT, "tls"),
    "tls behind the selector of auto encryption": (b"\x07" + CLIENT, "tls"),
    "tls behind another byte": (b"\x09" + CLIENT, "unknown"),
    "tls that turns into text": (CLIENT + b"and now in clear, for everybody", "unknown"),
    "text in tls records": (CLIENT + b"\x17\x03\x03\x00\x20" + b"a" * 32, "plaintext"),
    "application data first": (b"\x17\x03\x03\x00\x20" + bytes(32), "unknown"),
    "tls with a suite that does not encrypt": (NULL_SUITE, "plaintext"),
    "http request": (b"PUT /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n", "plaintext"),
    "http answer": (b"HTTP/1.1 404 Not Found\r\n\r\n\x1f\x8b" + bytes(40), "plaintext"),
    "http/2 in clear": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30), "plaintext"),
    "yamux": (YAMUX, "plaintext"),
    "yamux behind the selector": (b"\x04" + YAMUX, "plaintext"),
    "rpc": (b"\x00" + msgpack.packb({"ServiceMethod": "Status.Leader", "Seq": 0}), "plaintext"),
    "sealed gossip": (seal_stream(PUSH_PULL, RING, bytes(12), b""), "sealed"),
    "gossip under another key": (seal_stream(PUSH_PULL, Keyring([bytes(16)]), bytes(12), b""), "unknown"),
    "plain gossip": (PUSH_PULL, "plaintext"),
    "ssh": (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "unknown"),
    "starttls": (b"EHLO me\r\nSTARTTLS\r\n" + CLIENT, "plaintext"),
    "http/2 settings": (b"\x00\x00\x06\x04" + bytes(5) + b"\x00\x03\x00\x00\x00\x80", "plaintext"),
    "redis": (b"PING\r\n", "plaintext"),
    "dns": (b"\x00\x18\xab\xcd\x01\x00\x00\x01" + bytes(6) + b"\x06consul\x00\x00\x01\x00\x01", "plaintext"),
    "random": (random.Random(1).randbytes(3000), "unknown"),
    "one byte": (b"\x00", "unknown"),
}


def recognise(
    data: bytes, size: int = 1 << 30, *, opening: bool = True, budget: Budget | None = None
) -> Finding:
    shared = budget or Budget()
    left = shared.left
    recogniser = StreamRecogniser(opening=opening, keyring=RING, labels=(), budget=shared)
    for start in range(0, len(data), size):
        recogniser.feed(data[start : start + size])
    assert recogniser.sample == data[:96]
    finding = recogniser.finish()
    assert shared.left == left
    return finding


@pytest.mark.parametrize("size", [1, 3, 16, 1400, 1 << 30])
@pytest.mark.parametrize("case", CASES)
def test_each_protocol_is_what_it_is_in_pieces_of_any_size(case: str, size: int) -> None:
    data, kind = CASES[case]
    assert recognise(data, size).kind == kind


@pytest.mark.parametrize("start", [1, 7, 100])
def test_tls_joined_in_the_middle_is_tls(start: int) -> None:
    rng = random.Random(2)
    data = b"".join(b"\x17\x03\x03" + (500).to_bytes(2, "big") + rng.randbytes(500) for _ in range(100))
    assert recognise(data[start:], 1400, opening=False).kind == "tls"
    assert recognise(data[start:] + b"in clear" * 9, 1400, opening=False).kind == "unknown"


@pytest.mark.parametrize("case", ["http request", "plain gossip", "random", "ssh"])
def test_nothing_is_encrypted_because_it_was_joined_in_the_middle(case: str) -> None:
    data, _ = CASES[case]
    for start in range(0, len(data), 5):
        assert recognise(data[start:], opening=False).kind in {"plaintext", "unknown"}


def test_a_gossip_stream_is_opened_up_to_the_limit() -> None:
    room = MAX_GOSSIP_STREAM_BYTES - 5 - 29
    for size, kind in ((room, "sealed"), (room + 1, "unknown")):
        assert recognise(seal_stream(bytes(size), RING, bytes(12), b""), 1 << 16).kind == kind


def test_a_stream_that_the_budget_has_no_room_for_is_unknown() -> None:
    stream = seal_stream(bytes(5000), RING, bytes(12), b"")
    assert recognise(stream, 1000, budget=Budget(4000)).kind == "unknown"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"syslog: this is a line of text, readable", "plaintext"),
        (b"\x12\x34\x01\x00\x00\x01" + bytes(20), "unknown"),
        (b"\0", "unknown"),
    ],
)
def test_datagrams_of_other_protocols_are_never_encrypted(data: bytes, kind: str) -> None:
    assert recognise_datagram(data, RING).kind == kind


def test_text_with_the_shape_of_a_sealed_frame_is_text() -> None:
    assert (
        recognise_datagram(b"\x01" + b"a line of text that is long enough" * 2, Keyring()).kind == "plaintext"
    )


def test_any_bytes_end_in_a_finding_and_random_ones_are_never_encrypted() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "10"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "1000"))):
        data = rng.randbytes(rng.randint(1, 300))
        assert recognise(data, rng.randint(1, 50), opening=rng.random() < 0.5).kind in {
            "plaintext",
            "unknown",
        }
        assert recognise_datagram(data, RING).kind in {"plaintext", "unknown"}
        known = bytearray(CASES[rng.choice(list(CASES))][0])
        known[rng.randrange(len(known))] = rng.randrange(256)
        recognise(bytes(known), rng.randint(1, 50), opening=rng.random() < 0.5)


@pytest.mark.parametrize(
    ("call", "detail"),
    [
        (bytes.fromhex("60a924882d9dcb6571ffaa"), "HTTP/2 in clear: etcd"),
        (b"/etcdserverpb.KV/Range", "HTTP/2 in clear: etcd"),
        (bytes.fromhex("60b5773fa5d05b3b98"), "HTTP/2 in clear: xDS"),
        (b"type.googleapis.com/envoy.config.listener.v3.Listener", "HTTP/2 in clear: xDS"),
        (b"/grpc.health.v1.Health/Check", "HTTP/2 in clear"),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 30])
def test_calls_of_grpc_in_clear_are_named(call: bytes, detail: str, size: int) -> None:
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(27) + call + bytes(3000)
    finding = recognise(data, size)
    assert (finding.kind, finding.detail) == ("plaintext", detail)


def test_a_call_is_looked_for_at_the_start_of_a_connection_only() -> None:
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(2048 - 24)
    assert recognise(data + b"/etcdserverpb.").detail == "HTTP/2 in clear"
    assert recognise(data[:-14] + b"/etcdserverpb.").detail == "HTTP/2 in clear: etcd"


def test_a_datagram_of_dns_is_readable_and_its_name_is_searched_in_lower_case() -> None:
    data = b"\xab\xcd\x01\x00\x00\x01" + bytes(6) + b"\x06CoNsUl\x00\x00\x01\x00\x01"
    finding = recognise_datagram(data, RING)
    assert (finding.kind, finding.detail, finding.content) == ("plaintext", "DNS question", (b"consul",))
