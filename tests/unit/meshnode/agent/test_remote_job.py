from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.agent.remote_job import (
    CHUNK_BYTES,
    FLUSH_INTERVAL,
    MAX_OUTPUT_BYTES,
    Invitation,
    Job,
    OutputChunks,
    parse_invitation,
    parse_job,
    serialize_invitation,
    serialize_job,
)
from meshnode.base.errors import RemoteProtocolError


def test_where_a_job_and_its_answers_are() -> None:
    invitation = parse_invitation(b'{"Prefix":"_rexec","Session":"s1"}')
    assert invitation == Invitation("_rexec", "s1")
    assert invitation.job_key == "_rexec/s1/job"
    assert invitation.node_key("n1", "out/00000") == "_rexec/s1/n1/out/00000"
    assert parse_invitation(serialize_invitation(invitation)) == invitation


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b"{}", b'{"Prefix":"","Session":"s"}', b'{"Prefix":"p","Session":5}',
     b'{"Prefix":"p","Session":"a\\nb"}', json.dumps({"Prefix": "p", "Session": "s" * 65}).encode(),
     json.dumps({"Prefix": "p" * 257, "Session": "s"}).encode(), b"[" * 9000],
)  # fmt: skip
def test_a_payload_that_names_no_job_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_invitation(payload)


def test_the_longest_names_are_taken() -> None:
    payload = json.dumps({"Prefix": "p" * 256, "Session": "s" * 64}).encode()
    assert len(parse_invitation(payload).session) == 64


def test_a_job_as_consul_writes_it() -> None:
    assert parse_job(b'{"Command":"uptime","Wait":2000000000}') == Job("uptime", wait=2.0)
    assert parse_job(b'{"Args":["ls","-l"],"Script":null,"Wait":1}').args == ("ls", "-l")
    assert parse_job(b'{"Script":"IyEvYmluL3NoCg==","Wait":500000000}') == Job(
        script=b"#!/bin/sh\n", wait=0.5
    )


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", b"{}", b'{"Wait":1}', b'{"Command":5}', b'{"Command":"a","Wait":"2s"}', b'{"Args":"ls"}',
     b'{"Args":[1]}', b'{"Args":["a\\u0000"]}', b'{"Script":"!!"}', b'{"Script":5}'],
)  # fmt: skip
def test_a_job_that_can_not_be_run_is_refused(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_job(value)


_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@given(_text.filter(bool), st.lists(_text, max_size=3), st.binary(max_size=8), st.integers(1, 10**12))
def test_what_is_serialized_is_parsed_the_same(
    command: str, args: list[str], script: bytes, wait: int
) -> None:
    job = Job(command, tuple(args), script, wait / 1e9)
    assert parse_job(serialize_job(job)) == job


@given(st.binary(max_size=80))
def test_any_bytes_end_in_a_job_or_a_protocol_error(data: bytes) -> None:
    for parse in (parse_job, parse_invitation):
        try:
            parse(data)
        except RemoteProtocolError:
            continue


def test_full_chunks_are_sent_at_once_and_the_rest_after_half_a_second() -> None:
    chunks = OutputChunks(2.0, now=0.0)
    assert chunks.deadline == 2.0
    assert [len(chunk) for chunk in chunks.handle_output(b"x" * (2 * CHUNK_BYTES + 1), 1.0)] == [
        CHUNK_BYTES
    ] * 2
    assert chunks.deadline == 1.0 + FLUSH_INTERVAL
    assert chunks.handle_output(b"y", 1.4) == []
    assert chunks.handle_timer(1.49) == []
    assert chunks.handle_timer(1.5) == [b"xy"]
    assert chunks.handle_output(b"z", 2.0) == []
    assert chunks.finish() == [b"z"]
    assert chunks.finish() == []


def test_silence_is_filled_with_heart_beats() -> None:
    chunks = OutputChunks(2.0, now=0.0)
    assert chunks.handle_timer(1.9) == []
    assert chunks.handle_timer(2.0) == [b""]
    assert chunks.deadline == 4.0
    chunks.handle_output(b"x", 3.0)
    assert chunks.handle_timer(3.5) == [b"x"]
    assert chunks.deadline == 5.5


def test_output_past_the_bound_is_dropped_and_that_is_said_while_the_heart_beats_on() -> None:
    chunks = OutputChunks(2.0, now=0.0)
    sent = chunks.handle_output(b"x" * (MAX_OUTPUT_BYTES - 1), 0.0)
    sent += (
        chunks.handle_output(b"yz", 0.0) + chunks.handle_output(b"dropped", 0.1) + chunks.handle_timer(1.0)
    )
    text = b"".join(sent)
    assert text == b"x" * (MAX_OUTPUT_BYTES - 1) + b"y\n[output is cut after 16777216 bytes]\n"
    assert chunks.handle_output(b"dropped", 2.9) == []
    assert chunks.handle_timer(3.0) == [b""]
    assert chunks.finish() == []


@given(st.lists(st.tuples(st.binary(max_size=CHUNK_BYTES * 2), st.floats(0, 1))))
def test_nothing_is_lost_and_no_chunk_is_too_long(pieces: list[tuple[bytes, float]]) -> None:
    chunks, now, sent = OutputChunks(0.7, 0.0), 0.0, []
    for data, pause in pieces:
        now += pause
        sent += chunks.handle_output(data, now) + chunks.handle_timer(now)
    sent += chunks.finish()
    assert b"".join(sent) == b"".join(data for data, _ in pieces)
    assert all(len(chunk) <= CHUNK_BYTES for chunk in sent)


@pytest.mark.parametrize(("wait", "interval"), [(2.0, 2.0), (0.0, 0.2), (1e9, 60.0)])
def test_heart_beats_are_bounded_since_they_are_writes_to_the_log(wait: float, interval: float) -> None:
    assert Job("x", wait=wait).heartbeat_interval == interval
