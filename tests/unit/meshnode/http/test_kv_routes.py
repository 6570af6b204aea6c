"""``/v1/kv``: shapes, flags, bounds, who may, and what wakes who waits."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.support.state_api import Grants, StateApi, json_of

TREE = ("app", "app/", "app/a", "app/a/x", "app/a/y", "app/b", "apple")


@pytest.fixture(params=[False, True], ids=["server", "client"])
def api(request: pytest.FixtureRequest) -> StateApi:
    return StateApi(client=request.param)


def put(api: StateApi, key: str, value: bytes = b"v", query: str = "", token: str = "") -> Any:
    response = api.request("PUT", f"/v1/kv/{key}?{query}" if query else f"/v1/kv/{key}", value, token=token)
    assert response.status == 200, response.body
    return json_of(response)


def test_an_entry_has_consuls_fields_in_consuls_order(api: StateApi) -> None:
    assert put(api, "a/b", b"\x00\xff", "flags=42") is True
    response = api.get("/v1/kv/a/b")
    index = json_of(response)[0]["ModifyIndex"]
    assert response.body.decode() == (
        f'[{{"LockIndex":0,"Key":"a/b","Flags":42,"Value":"AP8=","CreateIndex":{index},"ModifyIndex":{index}}}]'
    )
    headers = dict(response.headers)
    assert (headers["X-Consul-Index"], headers["X-Consul-KnownLeader"]) == (str(index), "true")


def test_an_empty_value_is_null_and_raw_gives_the_bytes(api: StateApi) -> None:
    put(api, "empty", b"")
    assert json_of(api.get("/v1/kv/empty"))[0]["Value"] is None
    put(api, "raw", b"\x00<b>")
    response = api.get("/v1/kv/raw?raw")
    assert (response.body, response.content_type) == (b"\x00<b>", "application/octet-stream")


@pytest.mark.parametrize("path", ["/v1/kv/no", "/v1/kv/no?raw", "/v1/kv/no?recurse", "/v1/kv/no?keys"])
def test_nothing_is_404_with_an_index_to_wait_on(api: StateApi, path: str) -> None:
    put(api, "yes")
    response = api.get(path)
    assert (response.status, response.body) == (404, b"")
    assert int(dict(response.headers)["X-Consul-Index"]) > 0


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/v1/kv/?keys", list(TREE)),
        ("/v1/kv/app/?keys", ["app/", "app/a", "app/a/x", "app/a/y", "app/b"]),
        ("/v1/kv/app/?keys&separator=/", ["app/", "app/a", "app/a/", "app/b"]),
        ("/v1/kv/app/?keys&seperator=/", ["app/", "app/a", "app/a/", "app/b"]),
        ("/v1/kv/?keys&separator=/", ["app", "app/", "apple"]),
    ],
)
def test_keys_are_listed_and_cut_at_the_separator(api: StateApi, path: str, keys: list[str]) -> None:
    for key in TREE:
        put(api, key)
    assert json_of(api.get(path)) == keys


def test_recurse_lists_values_under_a_prefix(api: StateApi) -> None:
    for key in TREE:
        put(api, key, key.encode())
    found = {
        e["Key"]: base64.b64decode(e["Value"]).decode() for e in json_of(api.get("/v1/kv/app/a?recurse"))
    }
    assert found == {key: key for key in ("app/a", "app/a/x", "app/a/y")}


def test_check_and_set_writes_only_over_the_index_that_was_seen(api: StateApi) -> None:
    assert put(api, "k", b"1", "cas=0") is True
    assert put(api, "k", b"2", "cas=0") is False
    index = json_of(api.get("/v1/kv/k"))[0]["ModifyIndex"]
    assert put(api, "k", b"2", f"cas={index}") is True
    assert put(api, "k", b"3", f"cas={index}") is False
    assert json_of(api.delete(f"/v1/kv/k?cas={index}")) is False
    assert json_of(api.delete(f"/v1/kv/k?cas={index + 2}")) in (True, False)


def test_delete_takes_one_key_and_recurse_all_under_it(api: StateApi) -> None:
    for key in TREE:
        put(api, key)
    assert json_of(api.delete("/v1/kv/app")) is True
    assert json_of(api.delete("/v1/kv/app/a?recurse")) is True
    assert json_of(api.get("/v1/kv/?keys")) == ["app/", "app/b", "apple"]
    assert json_of(api.delete("/v1/kv/?recurse")) is True
    assert api.get("/v1/kv/?keys").status == 404


def test_a_session_locks_a_key_and_gives_it_back(api: StateApi) -> None:
    body = {"Node": "node1", "Address": "10.0.0.1", "Check": {"CheckID": "serfHealth", "Status": "passing"}}
    assert api.put("/v1/catalog/register", body).status == 200
    first, second = (json_of(api.put("/v1/session/create"))["ID"] for _ in range(2))
    assert put(api, "lock", b"a", f"acquire={first}") is True
    assert put(api, "lock", b"b", f"acquire={second}") is False
    assert put(api, "lock", b"b", f"release={second}") is False
    entry = json_of(api.get("/v1/kv/lock"))[0]
    assert (entry["Session"], entry["LockIndex"]) == (first, 1)
    assert put(api, "lock", b"c", f"release={first}") is True
    assert "Session" not in json_of(api.get("/v1/kv/lock"))[0]


@pytest.mark.parametrize(
    ("method", "path", "sentence"),
    [
        ("GET", "/v1/kv/", "Missing key name"),
        ("PUT", "/v1/kv/", "Missing key name"),
        ("DELETE", "/v1/kv/", "Missing key name"),
        ("PUT", "/v1/kv/k?cas=1&acquire=x", "Conflicting flags: cas, acquire"),
        ("PUT", "/v1/kv/k?acquire=x&release=x", "Conflicting flags: acquire, release"),
        ("DELETE", "/v1/kv/k?recurse&cas=1", "Conflicting flags: recurse, cas"),
        ("PUT", "/v1/kv/k?flags=-1", "Invalid flags '-1'"),
        ("PUT", "/v1/kv/k?flags=18446744073709551616", "Invalid flags"),
        ("PUT", "/v1/kv/k?cas=x", "Invalid cas 'x'"),
        ("PUT", "/v1/kv/k?cas", "Invalid cas ''"),
        ("GET", "/v1/kv/k?index=x", "Invalid index"),
        ("GET", "/v1/kv/k?index=1&wait=soon", "Invalid wait time"),
        ("GET", "/v1/kv/k?stale&consistent", "Cannot specify ?stale with ?consistent"),
        ("GET", "/v1/kv/k?max_stale=soon", "Invalid max_stale value 'soon'"),
        ("PUT", "/v1/kv/a%FFb", "The key is not UTF-8"),
    ],
)
def test_a_mistake_is_400_with_a_sentence(api: StateApi, method: str, path: str, sentence: str) -> None:
    response = api.request(method, path.replace("%FF", "\udcff"), b"v" if method == "PUT" else b"")
    assert response.status == 400
    assert sentence in response.body.decode()


@pytest.mark.parametrize("flags", ["flags=18446744073709551615", "flags="])
def test_flags_have_64_bits(api: StateApi, flags: str) -> None:
    if flags == "flags=":
        assert api.request("PUT", f"/v1/kv/k?{flags}", b"v").status == 400
    else:
        put(api, "k", b"v", flags)
        assert json_of(api.get("/v1/kv/k"))[0]["Flags"] == 2**64 - 1


def test_unknown_sessions_are_refused_with_consuls_sentence(api: StateApi) -> None:
    response = api.request("PUT", "/v1/kv/k?acquire=nobody", b"v")
    assert response.status == 500
    assert response.body.decode().endswith('invalid session "nobody"')


# Who waits


def test_a_write_wakes_who_waits_for_the_key_and_who_waits_for_the_list() -> None:
    api = StateApi()
    put(api, "app/a")
    index = json_of(api.get("/v1/kv/app/a"))[0]["ModifyIndex"]
    one, tree = api.blocked(f"/v1/kv/app/a?index={index}"), api.blocked(f"/v1/kv/app/?recurse&index={index}")
    other = api.blocked(f"/v1/kv/else?index={index}")
    put(api, "app/b")
    assert (one.answer, other.answer) == (None, None)
    assert tree.answer is not None
    put(api, "app/a", b"2")
    assert one.answer is not None
    assert int(dict(one.answer.headers)["X-Consul-Index"]) > index


# Who may

RULES = [
    ("GET", "/v1/kv/app/a", b"", "key:app/a:read"),
    ("GET", "/v1/kv/app/a?raw", b"", "key:app/a:read"),
    ("PUT", "/v1/kv/app/a", b"v", "key:app/a:write"),
    ("DELETE", "/v1/kv/app/a", b"", "key:app/a:write"),
    ("DELETE", "/v1/kv/app/?recurse", b"", "key:app/:write"),
    ("GET", "/v1/kv/app/?recurse", b"", "key:app/:list"),
    ("GET", "/v1/kv/app/?keys", b"", "key:app/:list"),
]


@pytest.mark.parametrize(("method", "path", "body", "rule"), RULES)
def test_no_token_and_a_wrong_one_are_refused_and_the_right_one_is_not(
    method: str, path: str, body: bytes, rule: str
) -> None:
    wrong = Grants.of(rule.replace("app/", "else/"))
    api = StateApi(
        tokens={
            "root": Grants(unrestricted=True), "right": Grants.of(rule, "key:app/a:read"), "wrong": wrong,
            "": Grants(),
        }
    )  # fmt: skip
    put(api, "app/a", token="root")
    for token, status in (("", 403), ("wrong", 403), ("right", 200)):
        response = api.request(method, path, body, token=token)
        assert response.status == status, (token, response.body)
        assert status == 200 or b"Permission denied" in response.body


def test_lists_leave_out_what_may_not_be_read() -> None:
    api = StateApi(
        tokens={"root": Grants(unrestricted=True), "some": Grants.of("key:app/:list", "key:app/b:read")}
    )
    for key in TREE:
        put(api, key, token="root")
    assert json_of(api.get("/v1/kv/app/?keys", token="some")) == ["app/", "app/b"]
    found = json_of(api.get("/v1/kv/app/?recurse", token="some"))
    assert [entry["Key"] for entry in found] == ["app/", "app/b"]
