from __future__ import annotations

import pytest

from meshnode.lock.calls import LockError, Pair, Reply, kv_path, parse_pairs


def test_a_key_keeps_its_slashes_in_the_path() -> None:
    assert kv_path("a b/c?d/") == "/v1/kv/a%20b/c%3Fd/"


def test_no_entry_is_no_pair_and_any_other_status_an_error() -> None:
    assert parse_pairs(Reply(0.0, 404), "x") == []
    for status in (0, 403, 500):
        with pytest.raises(LockError, match="failed to read: why"):
            parse_pairs(Reply(0.0, status, reason="why"), "failed to read")


def test_an_entry_without_value_and_session_is_empty_there() -> None:
    body = b'[{"Key":"a","Value":null,"Flags":18446744073709551615,"ModifyIndex":3}]'
    assert parse_pairs(Reply(0.0, 200, body=body), "x") == [Pair("a", b"", 2**64 - 1, "", 3)]


@pytest.mark.parametrize(
    ("status", "passing"),
    [(0, True), (429, True), (500, True), (503, True), (200, False), (403, False), (404, False)],
)
def test_what_may_pass_is_told_from_what_will_not(status: int, passing: bool) -> None:
    assert Reply(0.0, status).is_passing_trouble is passing
