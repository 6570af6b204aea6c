"""One document for the same captures wherever it is made, void without a control, in memory that does not grow."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import tracemalloc
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import msgpack
import pytest

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.conclusion import Conclusion, Outcome, with_control
from meshnode.prove.evidence import (
    EXIT_CODES,
    MAX_DIFFERENCES,
    SCHEMA,
    Question,
    differences,
    document,
    encode,
    judge_files,
)
from tests.support.frames import ACK, SYN, pcap, tcp, udp

A, B = Address("10.0.0.1", 8301), Address("10.0.0.2", 8301)
RPC = (Address("10.0.0.1", 40000), Address("10.0.0.2", 8300))
KEY = bytes(range(32))
RING = Keyring([KEY])
CANARY = "canary4f1c9a77b2"
EVENT = b"\x08\x03" + msgpack.packb({"LTime": 1, "Name": "deploy", "Payload": CANARY}, use_bin_type=False)
SEALED, CLEAR = udp(A, B, RING.seal(EVENT, bytes(12), b"")), udp(A, B, EVENT)
QUESTION = Question((8300, 8301), canaries=(CANARY,), nodes={"10.0.0.1": "server1"}, configs={"a": "00"})


def concluded(mesh: bytes, control: bytes | None, **more: Any) -> tuple[dict[str, Any], Conclusion]:
    first = judge_files([("mesh", pcap([mesh]))], QUESTION, RING)
    second = judge_files([("control", pcap([control]))], QUESTION, RING) if control else None
    content, conclusion = document(QUESTION, first, second, RING, **more)
    return json.loads(encode(content)), conclusion


@pytest.mark.parametrize(
    ("mesh", "control", "outcome", "reason"),
    [
        (SEALED, CLEAR, "proved", "the control finds every canary in clear, on port 8301"),
        (SEALED, SEALED, "void", "the control does not show what it has to: 1 canary of 1 not found"),
        (SEALED, None, "void", "there is no control"),
        (CLEAR, CLEAR, "failed", "port 8301 shows 1 canary in clear"),
        (CLEAR, None, "failed", "port 8301 shows 1 canary in clear"),
    ],
)
def test_nothing_is_proved_without_a_control_that_finds_every_canary(
    mesh: bytes, control: bytes | None, outcome: str, reason: str
) -> None:
    content, conclusion = concluded(mesh, control)
    assert (content["outcome"], content["exit"]) == (outcome, EXIT_CODES[conclusion.outcome])
    assert any(text.startswith(reason) for text in content["reasons"]), content["reasons"]


def test_a_control_that_is_judged_elsewhere_is_not_missed() -> None:
    assert concluded(SEALED, None, needs_control=False)[1].outcome is Outcome.PROVED


def test_a_void_mesh_keeps_its_reasons_beside_those_of_the_control() -> None:
    void = Conclusion(Outcome.VOID, ("silent",))
    assert with_control(void, Conclusion(Outcome.PROVED, ("found",))) == void
    assert with_control(void, None).reasons[0] == "silent"
    assert len(with_control(void, void).reasons) == 2


def test_the_document_says_what_was_asked_and_what_was_found() -> None:
    content, _ = concluded(SEALED, CLEAR)
    assert content["schema"] == SCHEMA
    assert content["gossip_keys"] == [gossip_key_fingerprint(KEY)]
    assert KEY.hex() not in json.dumps(content)
    assert Question.from_dict(content["question"], "x") == QUESTION
    (flow,) = content["verdicts"][1]["flows"]
    assert (flow["source"], flow["destination"], flow["level"]) == (
        "10.0.0.1", "10.0.0.2", "encrypted and authenticated"
    )  # fmt: skip
    assert content["control"]["verdicts"][1]["flows"][0]["level"] == "plaintext"
    assert content["timeline"]["ports"] == {"8301": [len(SEALED) - 42]}


def test_the_same_captures_make_the_same_document() -> None:
    first, second = (concluded(SEALED, CLEAR)[0] for _ in range(2))
    assert differences(first, second) == []


def test_a_difference_is_named_by_its_place() -> None:
    first, second = concluded(SEALED, CLEAR)[0], concluded(SEALED, CLEAR)[0]
    second["verdicts"][1]["packets"] = 7
    second["question"]["nodes"] = {}
    assert differences(first, second) == ["question.nodes.10.0.0.1", "verdicts[1].packets"]
    assert differences({"a": 1}, {"a": True}) == ["a"]
    assert differences([1], [1, 2]) == ["the whole"]
    many = {str(number): number for number in range(MAX_DIFFERENCES + 5)}
    assert len(differences(many, {})) == MAX_DIFFERENCES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ports": [0]}, "here: ports is not"),
        ({"ports": [True]}, "here: ports is not"),
        ({"ports": None}, "here: ports is not"),
        ({"canaries": ["x"]}, "here: canaries is not"),
        ({"nodes": {"a": 1}}, "here: nodes is not"),
        ({"configs": []}, "here: configs is not"),
    ],
)
def test_a_question_that_no_bundle_has_is_refused_by_its_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Question.from_dict({**QUESTION.as_dict(), **change}, "here")
    with pytest.raises(ConfigError, match="here is no JSON object"):
        Question.from_dict([], "here")


def test_a_file_that_is_no_capture_is_named() -> None:
    with pytest.raises(
        MeshError, match=r"x\.pcap is not a pcap or pcapng capture: it starts with 0x61626364"
    ):
        judge_files([("x.pcap", io.BytesIO(b"abcdef"))], QUESTION, RING)


class Generated:
    """A capture of ``size`` bytes that is made while it is read: no file, and never in memory as a whole."""

    def __init__(self, size: int) -> None:
        self._pieces = self._make(size)
        self._left = bytearray()

    def read(self, count: int) -> bytes:
        while len(self._left) < count and (piece := next(self._pieces, b"")):
            self._left += piece
        found = bytes(self._left[:count])
        del self._left[:count]
        return found

    def _make(self, size: int) -> Iterator[bytes]:
        rng = random.Random(1)
        yield pcap([]).getvalue()
        yield self._record(tcp(*RPC, b"", 999, SYN | ACK))
        hello = b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03" + bytes(32) + b"\x00\x13\x02\x00"
        body = b"\x17\x03\x03\x10\x00" + rng.randbytes(4096)
        sent, sequence, waiting = 0, 1000, hello
        while sent < size:
            waiting += body * 16
            for start in range(0, len(waiting), 1400):
                frame = tcp(*RPC, waiting[start : start + 1400], sequence + start)
                yield self._record(frame)
                sent += len(frame)
            sequence += len(waiting)
            waiting = b""
            yield self._record(SEALED)

    def _record(self, frame: bytes) -> bytes:
        return struct.pack("<IIII", 1, 0, len(frame), len(frame)) + frame


def test_a_long_capture_is_judged_in_memory_that_does_not_grow_with_it() -> None:
    # A drill reads more: MESH_PROVE_MEGABYTES=2048. The memory that may be used stays the same.
    megabytes = int(os.environ.get("MESH_PROVE_MEGABYTES", "20"))
    file = cast(BinaryIO, Generated(megabytes * 1_000_000))
    tracemalloc.start()
    try:
        judged = judge_files([("long", file)], QUESTION, RING)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [verdict.judgement for verdict in judged.verdicts] == ["encrypted", "encrypted"]
    assert judged.verdicts[0].payload_bytes > megabytes * 900_000
    assert peak < 4_000_000, f"{peak} bytes for {megabytes} MB"
