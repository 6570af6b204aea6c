"""``/v1/kv/?recurse`` where it is long: rendered in slices, and the same answer as in one piece."""

from __future__ import annotations

import gzip
import json
import random

import pytest

from meshnode.control.endpoints.kv import entry_fields
from meshnode.http.effects import Pieces
from meshnode.http.kv_routes import MAX_WHOLE_BYTES, SLICE_BYTES, entry_as_json
from meshnode.http.message import Request, Response, StreamResponse
from meshnode.http.render import to_json
from tests.support.state_api import StateApi, json_of

VALUE_BYTES = 10_000


@pytest.fixture
def api() -> StateApi:
    return StateApi()


def fill(api: StateApi, count: int, value: bytes = b"v" * VALUE_BYTES) -> None:
    for number in range(count):
        assert api.put(f"/v1/kv/big/{number:03}", value).status == 200


def ask(api: StateApi, query: str = "recurse", headers: tuple[tuple[bytes, bytes], ...] = ()) -> object:
    return api.api.handle(Request("GET", "/v1/kv/big/", query, headers))


def long_one(answer: object) -> tuple[StreamResponse, Pieces]:
    assert isinstance(answer, StreamResponse)
    assert isinstance(answer.source, Pieces)
    return answer, answer.source


@pytest.mark.parametrize("query", ["recurse", "recurse&pretty"])
def test_slices_join_to_the_answer_in_one_piece_and_each_is_short(api: StateApi, query: str) -> None:
    fill(api, 100, random.Random(1).randbytes(VALUE_BYTES))
    answer, source = long_one(ask(api, query))
    pieces = [*source.pieces]
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert {"X-Consul-Index", "X-Consul-KnownLeader", "Vary"} <= dict(answer.headers).keys()
    _, entries = api.machine.kv.under("big/")
    assert b"".join(pieces) == to_json(
        [entry_as_json(entry_fields(entry)) for entry in entries], pretty="pretty" in query
    )
    assert len(pieces) > 5
    assert max(map(len, pieces)) < SLICE_BYTES + 2 * VALUE_BYTES


def test_what_is_written_meanwhile_is_not_in_the_answer(api: StateApi) -> None:
    fill(api, 60)
    _, source = long_one(ask(api))
    first = next(source.pieces)
    api.delete("/v1/kv/big/059")
    api.put("/v1/kv/big/058", b"new")
    entries = json.loads(first + b"".join(source.pieces))
    assert [entry["Key"] for entry in entries] == [f"big/{number:03}" for number in range(60)]
    assert len({entry["Value"] for entry in entries}) == 1


def test_a_long_answer_begins_just_past_the_limit(api: StateApi) -> None:
    # A value of 9 504 bytes counts as 128 + 12 672 = 12 800 bytes: 20 of them are 256 000, 21 are 268 800.
    fill(api, 20, b"v" * 9504)
    assert 20 * 12_800 < MAX_WHOLE_BYTES < 21 * 12_800
    assert isinstance(ask(api), Response)
    api.put("/v1/kv/big/020", b"v" * 9504)
    assert isinstance(ask(api), Response), "the entry that crosses the limit is the last"
    api.put("/v1/kv/big/021", b"v")
    long_one(ask(api))


def test_one_long_value_keys_and_raw_stay_in_one_piece(api: StateApi) -> None:
    api.put("/v1/kv/big/", b"v" * 400_000)
    for query in ("recurse", "", "raw", "keys"):
        assert isinstance(ask(api, query), Response), query
    assert len(json_of(api.get("/v1/kv/big/?recurse"))) == 1


def test_a_long_answer_is_compressed_for_who_takes_it(api: StateApi) -> None:
    fill(api, 60)
    answer, source = long_one(ask(api, headers=((b"accept-encoding", b"gzip"),)))
    assert ("Content-Encoding", "gzip") in answer.headers
    assert len(json.loads(gzip.decompress(b"".join(source.pieces)))) == 60


def test_who_waited_gets_the_long_answer_too(api: StateApi) -> None:
    fill(api, 60)
    index = dict(long_one(ask(api))[0].headers)["X-Consul-Index"]
    blocked = api.blocked(f"/v1/kv/big/?recurse&index={index}")
    api.put("/v1/kv/big/x", b"1")
    assert blocked.answer is not None
    assert len(json_of(blocked.answer)) == 61
