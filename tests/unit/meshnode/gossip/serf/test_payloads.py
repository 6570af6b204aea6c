"""Payloads of internal queries."""

from __future__ import annotations

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.serf.payloads import (
    KeyAnswer,
    parse_conflict_answer,
    parse_key_answer,
    parse_key_request,
    serialize_conflict_answer,
    serialize_key_answer,
    serialize_key_request,
)


def test_a_listing_is_the_request_that_serf_sends() -> None:
    assert serialize_key_request(None) == bytes.fromhex("0781a34b6579a0")
    assert parse_key_request(bytes.fromhex("0781a34b6579a0")) == b""


def test_key_requests_and_answers_survive_the_round_trip() -> None:
    assert parse_key_request(serialize_key_request(b"k" * 32)) == b"k" * 32
    for answer in (
        KeyAnswer(True),
        KeyAnswer(False, "no"),
        KeyAnswer(True, "some", ("a", "b"), "a"),
    ):
        assert parse_key_answer(serialize_key_answer(answer)) == answer


def test_an_answer_without_primary_key_is_one_of_an_older_serf() -> None:
    assert parse_key_answer(b"\x08\x82\xa4Keys\x91\xa1a\xa6Result\xc3") == KeyAnswer(True, "", ("a",), "")


def test_a_conflict_answer_says_where_the_name_is_or_that_it_is_unknown() -> None:
    versions = (1, 5, 2, 2, 5, 5)
    for address in (Address("10.0.0.1", 8301), Address("2001:db8::1", 1)):
        assert (
            parse_conflict_answer(serialize_conflict_answer("a", address, {"k": "v"}, 1, versions)) == address
        )
    assert serialize_conflict_answer("a", None, {}, 0, versions) == b"\x06\xc0"
    assert parse_conflict_answer(b"\x06\xc0") is None


@pytest.mark.parametrize(
    "payload", [b"", b"\x07", b"\x05\x80", b"\x08", b"\x06", b"\x06\x80", b"\x08\x81\xa4Keys\xc3"]
)
def test_payloads_of_another_kind_or_shape_are_refused(payload: bytes) -> None:
    readers = [parse_key_request, parse_key_answer, parse_conflict_answer]
    refused = 0
    for reader in readers:
        try:
            reader(payload)
        except RemoteProtocolError:
            refused += 1
    assert refused == len(readers)
