"""Index and wait, and the headers of an index."""

from __future__ import annotations

import random

import pytest

from meshnode.http.blocking import index_headers, parse_blocking, refuse_conflicting_consistency
from meshnode.http.errors import HttpError
from meshnode.http.message import Request


@pytest.mark.parametrize(
    ("query", "index", "wait"),
    [
        ("", 0, 300.0),
        ("index=7", 7, 300.0),
        ("index=18446744073709551615&wait=10s", 2**64 - 1, 10.0),
        ("wait=1m30s", 0, 90.0),
        ("wait=0", 0, 300.0),
        ("wait=-5s", 0, 300.0),
        ("wait=10m", 0, 600.0),
        ("wait=10m1ns", 0, 600.0),
        ("wait=1h", 0, 600.0),
        ("index=&wait=", 0, 300.0),
    ],
)
def test_index_and_wait_are_read_with_their_bounds(query: str, index: int, wait: float) -> None:
    found = parse_blocking(Request("GET", "/", query))
    assert (found.index, found.wait) == (index, wait)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        *[
            (f"index={bad}", "Invalid index")
            for bad in ("x", "-1", "1.5", "+1", "18446744073709551616", "9" * 4000, "٣")
        ],
        *[(f"wait={bad}", "Invalid wait time") for bad in ("x", "10", "5 s", "1d", "s")],
    ],
)
def test_bad_values_are_refused_in_consuls_words(query: str, text: str) -> None:
    with pytest.raises(HttpError) as caught:
        parse_blocking(Request("GET", "/", query))
    assert (caught.value.status, str(caught.value)) == (400, text)


def test_the_wait_is_lengthened_by_a_sixteenth_at_most() -> None:
    query = parse_blocking(Request("GET", "/", "wait=160s"))
    rng = random.Random(3)
    waits = [query.timeout(rng) for _ in range(1000)]
    assert 160 <= min(waits) < 161
    assert 169 < max(waits) < 170


def test_the_index_header_is_never_zero() -> None:
    assert index_headers(0) == (("X-Consul-Index", "1"),)
    assert dict(index_headers(9, known_leader=True, last_contact=0.0316)) == {
        "X-Consul-Index": "9", "X-Consul-KnownLeader": "true", "X-Consul-LastContact": "32"}  # fmt: skip


def test_stale_and_consistent_exclude_each_other() -> None:
    refuse_conflicting_consistency(Request("GET", "/", "stale"))
    with pytest.raises(HttpError, match="conflicting semantics"):
        refuse_conflicting_consistency(Request("GET", "/", "stale&consistent"))
