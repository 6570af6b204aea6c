"""The summary of a verdict: short whatever the mesh, the worst rows first, and nothing secret in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from meshnode.base.address import Address
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.evidence import Question, document, encode, judge_files
from meshnode.prove.summary import (
    MAX_PORTS,
    MAX_REASONS,
    MAX_ROWS,
    MAX_SUMMARY_BYTES,
    MAX_TEXT,
    SCHEMA,
    encode_summary,
    summarise,
)
from tests.support.frames import pcap, udp

A, B = Address("10.0.0.1", 8301), Address("10.0.0.2", 8301)
KEY = bytes(range(32))
RING = Keyring([KEY])
CANARY = "canary4f1c9a77b2"
CLEAR = udp(A, B, b"\x08" + CANARY.encode() * 3)
SEALED = udp(B, A, RING.seal(b"\x08" + CANARY.encode(), bytes(12), b""))
AT = datetime(2026, 11, 21, 13, 0, 5, 999, tzinfo=UTC)


def verdict(*frames: bytes, control: bool = True) -> dict[str, Any]:
    question = Question((8301, 8300), canaries=(CANARY,), nodes={"10.0.0.1": "server1", "10.0.0.9": "idle"})
    mesh = judge_files([("mesh", pcap(list(frames)))], question, RING)
    twin = judge_files([("control", pcap([CLEAR]))], question, RING) if control else None
    content: dict[str, Any] = json.loads(encode(document(question, mesh, twin, RING)[0]))
    return content


def test_it_says_how_it_ended_with_the_worst_rows_first() -> None:
    found = summarise(verdict(CLEAR, SEALED), judged_at=AT, bundle="evidence.tar.gz", manifest_sha256="ab")
    assert (found["schema"], found["outcome"], found["canaries"]) == (SCHEMA, "failed", 1)
    assert found["judged_at"] == "2026-11-21T13:00:05+00:00"
    assert found["bundle"] == {"file": "evidence.tar.gz", "manifest_sha256": "ab"}
    assert [(row["source"], row["level"], row["canaries"]) for row in found["rows"]] == [
        ("10.0.0.1", "plaintext", 1),
        ("10.0.0.2", "encrypted and authenticated", 0),
    ]
    assert found["nodes"] == {"10.0.0.1": "server1"}
    assert [(one["port"], one["level"], one["control_canaries"]) for one in found["ports"]] == [
        (8300, "silent", 0),
        (8301, "plaintext", 1),
    ]
    assert found["control"]["outcome"] == "proved"
    assert found["rows_left_out"] == 0


def test_without_bundle_and_control_it_says_so() -> None:
    found = summarise(verdict(SEALED, control=False), judged_at=AT)
    assert (found["outcome"], found["bundle"], found["control"]) == ("void", None, None)
    assert [one["control_canaries"] for one in found["ports"]] == [None, None]


def test_neither_canaries_nor_keys_nor_bytes_of_the_captures_are_in_it() -> None:
    text = encode_summary(summarise(verdict(CLEAR, SEALED), judged_at=AT)).decode()
    assert CANARY not in text
    assert CANARY.encode().hex() not in text.replace(" ", "")
    assert "dump" not in text
    assert RING.fingerprints[0] in text


def flow(number: int, level: str = "encrypted", name: str = "") -> dict[str, Any]:
    return {
        "source": name or f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        "destination": "10.0.0.1",
        "direction": "to",
        "level": level,
        "packets": 1,
        "payload_bytes": 1,
        "missing_bytes": 0,
        "canaries": [],
    }


@pytest.mark.parametrize("count", [MAX_ROWS, MAX_ROWS + 1])
def test_rows_up_to_the_limit_are_kept_and_then_the_worst(count: int) -> None:
    content = verdict(SEALED)
    content["verdicts"][0]["flows"] = [*map(flow, range(count - 1)), flow(count, "plaintext")]
    found = summarise(content, judged_at=AT)
    assert (len(found["rows"]), found["rows_left_out"]) == (MAX_ROWS, count - MAX_ROWS)
    assert found["rows"][0]["level"] == "plaintext"


def test_it_never_grows_over_its_limit_whatever_the_document_holds() -> None:
    content = verdict(SEALED)
    long = "\u2603" * 2000
    one = content["verdicts"][0]
    one["findings"] = [{"kind": "tls", "detail": long, "count": 1}] * 300
    one["flows"] = [flow(0, name=f"{number}{long}") for number in range(MAX_ROWS)]
    content["verdicts"] = [dict(one, port=port) for port in range(1, MAX_PORTS + 2)]
    content["reasons"] = [long] * (MAX_REASONS + 1)
    content["question"]["nodes"] = {row["source"]: long for row in one["flows"]}
    found = summarise(content, judged_at=AT)
    assert len(encode_summary(found)) <= MAX_SUMMARY_BYTES
    assert found["reasons"][-1] == "and 1 reasons more"
    assert len(found["reasons"][0]) == MAX_TEXT
    assert len(found["ports"]) <= MAX_PORTS
    assert found["rows_left_out"] == MAX_ROWS * (MAX_PORTS + 1) - len(found["rows"])
