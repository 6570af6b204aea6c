"""``/v1/txn``: shapes, all or none, bounds, who may."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.http.routes import MAX_TXN_BODY_BYTES
from meshnode.http.txn_routes import MAX_OPERATIONS, MAX_VALUE_BYTES
from meshnode.kv.txn import VERBS
from tests.support.state_api import Grants, StateApi, json_of


def op(verb: str, key: str, value: bytes | None = None, **fields: Any) -> dict[str, Any]:
    encoded = {} if value is None else {"Value": b64encode(value).decode()}
    return {"KV": {"Verb": verb, "Key": key, **encoded, **fields}}


@pytest.fixture(params=[False, True], ids=["server", "client"])
def api(request: pytest.FixtureRequest) -> StateApi:
    api = StateApi(client=request.param)
    assert api.put("/v1/txn", [op("set", "a", b"1\xff", Flags=2**64 - 1), op("set", "b", b"2")]).status == 200
    return api


def test_what_was_written_is_shown_without_its_value(api: StateApi) -> None:
    response = api.put("/v1/txn", [op("set", "c", b"3", Flags=7), op("delete", "b")])
    assert (response.status, response.body.decode()) == (
        200,
        '{"Results":[{"KV":{"LockIndex":0,"Key":"c","Flags":7,"Value":null,"CreateIndex":2,"ModifyIndex":2}}],'
        '"Errors":null}',
    )


def test_what_was_read_is_shown_with_its_value_and_the_headers_of_a_read(api: StateApi) -> None:
    commands = len(api.commands)
    response = api.put("/v1/txn", [op("get", "a"), op("get-tree", "b"), op("check-not-exists", "x")])
    assert response.body.decode() == (
        '{"Results":[{"KV":{"LockIndex":0,"Key":"a","Flags":18446744073709551615,"Value":"Mf8=","CreateIndex":1,'
        '"ModifyIndex":1}},{"KV":{"LockIndex":0,"Key":"b","Flags":0,"Value":"Mg==","CreateIndex":1,'
        '"ModifyIndex":1}}],"Errors":null}'
    )
    assert dict(response.headers)["X-Consul-Index"] == "1"
    assert len(api.commands) == commands, "a read is no entry of the log"


def test_a_read_is_never_answered_with_the_answer_to_another(api: StateApi) -> None:
    first = api.put("/v1/txn", [op("get", "a")])
    assert json_of(api.put("/v1/txn", [op("get", "b")])) != json_of(first)


@pytest.mark.parametrize(("query", "method"), [("stale", "AllowStale"), ("consistent", "RequireConsistent")])
def test_a_read_may_be_stale_or_consistent(api: StateApi, query: str, method: str) -> None:
    assert api.put(f"/v1/txn?{query}", [op("get", "a")]).status == 200
    assert api.calls[-1].body[method] is True
    assert api.put("/v1/txn?stale&consistent", [op("get", "a")]).status == 400


def test_a_conflict_changes_nothing_and_is_told_with_every_error(api: StateApi) -> None:
    before = api.json("/v1/kv/a")
    response = api.put("/v1/txn", [op("set", "a", b"9"), op("cas", "b", b"9", Index=9), op("get", "x")])
    assert (response.status, response.body.decode()) == (
        409,
        '{"Results":null,"Errors":[{"OpIndex":1,"What":"failed to set key \\"b\\", index is stale"},'
        '{"OpIndex":2,"What":"key \\"x\\" doesn\'t exist"}]}',
    )
    assert api.json("/v1/kv/a") == before


def test_a_failed_check_of_reads_is_a_conflict_too(api: StateApi) -> None:
    response = api.put("/v1/txn", [op("check-index", "a", Index=5)])
    assert (response.status, json_of(response)["Errors"][0]["OpIndex"]) == (409, 0)


def test_an_unknown_verb_is_told_with_the_known_ones(api: StateApi) -> None:
    response = api.put("/v1/txn", [op("put", "a")])
    assert response.status == 409
    assert 'unknown KV verb "put": use one of cas, check-index' in json_of(response)["Errors"][0]["What"]


def test_locks_are_taken_and_given_back(api: StateApi) -> None:
    check = {"CheckID": "serfHealth", "Status": "passing"}
    api.put("/v1/catalog/register", {"Node": "node1", "Address": "10.0.0.1", "Check": check})
    session = json_of(api.put("/v1/session/create"))["ID"]
    locked = json_of(api.put("/v1/txn", [op("lock", "l", b"x", Session=session)]))["Results"][0]["KV"]
    assert (locked["LockIndex"], locked["Session"]) == (1, session)
    assert list(locked) == ["LockIndex", "Key", "Flags", "Value", "Session", "CreateIndex", "ModifyIndex"]
    assert api.put("/v1/txn", [op("check-session", "l", Session=session)]).status == 200
    assert api.put("/v1/txn", [op("unlock", "l", Session=session)]).status == 200


def test_names_of_fields_may_be_written_in_any_case(api: StateApi) -> None:
    assert api.put("/v1/txn", [{"kv": {"verb": "set", "KEY": "z", "value": "eg=="}}]).status == 200
    assert api.get("/v1/kv/z?raw").body == b"z"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "expected list of operations, got object"),
        ([{}], 'Ops[0].KV: is missing: an operation is {"KV": {"Verb": "get", "Key": "app/x"}}'),
        ([op("get", "a"), {"Node": {"Verb": "set"}}], "Ops[1].Node: came with a later version than Consul 1.2.3"),
        ([{"Service": {}}], "Ops[0].Service: came with a later version"),
        ([{"Check": {}}], "Ops[0].Check: came with a later version"),
        ([{"Session": {}}], "Ops[0].Session: came with a later version"),
        ([1], "Ops[0]: expected object, got number"),
        ([{"KV": 1}], "Ops[0].KV: expected object, got number"),
        ([{"KV": {"Key": "a"}}], "Ops[0].KV.Verb: is missing"),
        ([op("set", "a", Value="?")], "Ops[0].KV.Value: is not base64"),
        ([op("set", "a", Value="é")], "Ops[0].KV.Value: is not base64"),
        *(([op("set", "a", **{n: w})], f"Ops[0].KV.{n}: expected string, got ")
          for n in ("Verb", "Key", "Value", "Session") for w in (1, True, [], {})),
        *(([op("set", "a", **{n: w})], f"Ops[0].KV.{n}: ")
          for n in ("Flags", "Index") for w in ("1", True, [], {}, -1, 2**64, 1.5)),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_bad_request_that_names_the_place(
    api: StateApi, body: Any, sentence: str
) -> None:
    calls = len(api.calls)
    response = api.put("/v1/txn", body)
    text = response.body.decode()
    assert (response.status, text.startswith(f"Request decode failed: {sentence}")) == (400, True), text
    assert len(api.calls) == calls


@pytest.mark.parametrize("body", [b"", b"x", b"null", b"[{]"])
def test_what_is_no_list_is_a_bad_request(api: StateApi, body: bytes) -> None:
    assert api.put("/v1/txn", body).status == 400


def test_operations_and_values_are_bounded(api: StateApi) -> None:
    assert api.put("/v1/txn", [op("get", "a")] * MAX_OPERATIONS).status == 200
    response = api.put("/v1/txn", [op("get", "a")] * (MAX_OPERATIONS + 1))
    assert (response.status, response.body) == (413, b"Transaction contains too many operations (65 > 64)")
    half = b"x" * (MAX_VALUE_BYTES // 2)
    largest = [op("set", "a", half), op("set", "b", half)]
    assert api.put("/v1/txn", largest).status == 200
    response = api.put("/v1/txn", [*largest, op("set", "c", b"x")])
    assert (response.status, response.body.startswith(b"Cumulative size of key data is too large (")) == (
        413,
        True,
    )
    response = api.put("/v1/txn", [op("set", "a", b"x" * (MAX_VALUE_BYTES + 1))])
    assert (response.status, response.body.startswith(b'Value for key "a" is too large (')) == (413, True)
    assert api.api.max_body_bytes("/v1/txn") == MAX_TXN_BODY_BYTES > MAX_VALUE_BYTES * 4 / 3


def test_no_operation_at_all_does_nothing(api: StateApi) -> None:
    response = api.put("/v1/txn", [])
    assert (response.status, response.body) == (200, b'{"Results":null,"Errors":null}')


_names = st.sampled_from(["KV", "Verb", "Key", "Value", "Flags", "Index", "Session"])
_words = st.sampled_from([*sorted(VERBS), "a", "YQ=="])
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=6),
    max_leaves=10,
)
_operations = st.fixed_dictionaries({"KV": st.dictionaries(_names, _words | st.integers(0, 9), max_size=6)})


@settings(max_examples=300, deadline=None)
@given(st.lists(_operations | _values, max_size=4) | _values)
def test_any_json_is_carried_out_or_refused(body: Any) -> None:
    api = StateApi()
    response = api.put("/v1/txn", body)
    assert response.status in {200, 400, 409}, response.body
    if response.status != 400:
        assert list(json_of(response)) == ["Results", "Errors"]
        assert bool(json_of(response)["Errors"]) == (response.status == 409)


# Who may


@pytest.mark.parametrize(
    ("operation", "reader", "writer"),
    [
        (op("get", "a"), 200, 200), (op("check-index", "a", Index=1), 200, 200),
        (op("check-session", "a"), 200, 200), (op("check-not-exists", "x"), 200, 200),
        (op("set", "a", b"2"), 403, 200), (op("cas", "a", b"2", Index=1), 403, 200), (op("delete", "a"), 403, 200),
        (op("delete-cas", "a", Index=1), 403, 200), (op("delete-tree", "a"), 403, 200),
    ],
)  # fmt: skip
def test_an_operation_takes_its_right_on_its_key(operation: Any, reader: int, writer: int) -> None:
    expected = {"": 403, "r": reader, "w": writer, "all": 200, "other": 403, "wrong": 403}
    for token, status in expected.items():
        api = StateApi()
        api.put("/v1/kv/a", b"1")
        api.tokens = {"": Grants(), "r": Grants.of("key:a:read", "key:x:read"), "all": ALLOW_ALL,
                      "w": Grants.of("key:a:write", "key:x:write"), "other": Grants.of("key:b:write")}  # fmt: skip
        before = len(api.commands)
        response = api.put("/v1/txn", [operation], token=token)
        assert response.status == status, (token, response.body)
        if status == 403:
            assert len(api.commands) == before
            assert response.body.startswith(
                b"ACL" if token == "wrong" else b"Permission denied: operation 0, "
            )


def test_a_tree_shows_what_may_be_read() -> None:
    api = StateApi()
    for key in ("t/a", "t/b"):
        api.put(f"/v1/kv/{key}", b"1")
    api.tokens = {"": Grants.of("key:t/a:read")}
    assert [row["KV"]["Key"] for row in json_of(api.put("/v1/txn", [op("get-tree", "t/")]))["Results"]] == [
        "t/a"
    ]
