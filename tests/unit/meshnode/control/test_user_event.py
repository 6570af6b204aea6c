"""User events travel as Consul's map and nothing that a peer sends can break the reader."""

from __future__ import annotations

import os
import random

import msgpack
import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.control.user_event import (
    MAX_EVENT_BYTES,
    UserEvent,
    parse_event,
    serialize_event,
)

EVENT = UserEvent("4b3a", "deploy", b"v1.2\x00\xff", "web.*", "api", "blue", ltime=7)


def test_an_event_survives_the_round_trip_with_its_lamport_time() -> None:
    assert parse_event(serialize_event(EVENT), 7) == EVENT


def test_the_bytes_are_those_that_consul_agents_send() -> None:
    golden = bytes.fromhex("84a24944a4346233 61a16ea3626f6fa17601a170a26869".replace(" ", ""))
    fields = msgpack.unpackb(golden, raw=False)
    assert fields == {"ID": "4b3a", "n": "boo", "v": 1, "p": "hi"}
    assert serialize_event(UserEvent("4b3a", "boo", b"hi")) == golden


def test_a_binary_payload_keeps_the_old_msgpack_types() -> None:
    packed = serialize_event(UserEvent("1", "n", b"\xff" * 300))
    assert b"\xda\x01\x2c" in packed, "raw16, since go-msgpack of that age knows no bin types"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        msgpack.packb({"v": 2}),
        msgpack.packb({"v": "1"}),
        msgpack.packb({"v": 1, "n": 3}),
        msgpack.packb({"v": 1, "p": 3}),
        msgpack.packb({"v": 1, "n": b"\xff"}),
        b"\x81" * 2000,
        b"\xc1" * (MAX_EVENT_BYTES + 1),
    ],
)
def test_malformed_events_are_the_peers_fault(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_event(data, 1)


def test_mutated_events_end_in_an_event_or_a_protocol_error() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "20261121"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    golden = serialize_event(EVENT)
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "5000"))):
        data = bytearray(golden)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            assert isinstance(parse_event(bytes(data), 1), UserEvent)
        except RemoteProtocolError:
            continue
