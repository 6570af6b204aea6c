"""DNS is recognised by a walk over the whole message, as dig and dnspython's peers write it, and nothing else is."""

from __future__ import annotations

import os
import random

import pytest

from meshnode.prove.dns_shape import dns_message, dns_stream

QUESTION = bytes.fromhex("abcd01000001000000000000") + b"\x06Consul\x07service\x02dc\x00\x00\x01\x00\x01"
#: The same with an EDNS record, as dig sends it.
EDNS = QUESTION[:11] + b"\x01" + QUESTION[12:] + bytes.fromhex("0000291000000000000000")
ANSWER = (
    bytes.fromhex("abcd85800001000100000000")
    + QUESTION[12:]
    + bytes.fromhex("c00c000100010000000000047f000001")
)


@pytest.mark.parametrize(("data", "answer"), [(QUESTION, False), (EDNS, False), (ANSWER, True)])
def test_a_whole_message_is_dns_with_the_name_asked_for(data: bytes, answer: bool) -> None:
    shape = dns_message(data)
    assert shape is not None
    assert (shape.answer, shape.name) == (answer, b"consul.service.dc")
    assert dns_stream(len(data).to_bytes(2, "big") + data + b"more") == shape


@pytest.mark.parametrize("data", [QUESTION, EDNS, ANSWER])
def test_a_byte_less_or_more_is_no_message(data: bytes) -> None:
    assert [size for size in range(len(data)) if dns_message(data[:size])] == []
    assert dns_message(data + b"\0") is None
    assert dns_stream((len(data) + 1).to_bytes(2, "big") + data) is None


def test_a_pointer_leads_back_or_it_is_no_message() -> None:
    at = ANSWER.index(b"\xc0\x0c")
    assert dns_message(ANSWER[:at] + b"\xc0" + bytes((at,)) + ANSWER[at + 2 :]) is None
    assert dns_message(ANSWER[:at] + b"\xff\xff" + ANSWER[at + 2 :]) is None


def test_random_bytes_are_no_message() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "12"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "3000"))):
        data = bytearray(rng.randbytes(rng.randint(0, 80)))
        assert dns_message(bytes(data)) is None
        mutated = bytearray(rng.choice((QUESTION, EDNS, ANSWER)))
        mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        dns_message(bytes(mutated))
