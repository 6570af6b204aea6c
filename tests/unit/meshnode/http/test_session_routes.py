"""``/v1/session``: shapes, defaults, bounds, who may."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.acl.authorizer import ALLOW_ALL
from tests.support.state_api import Grants, StateApi, json_of

SECOND = 1_000_000_000
MISSING = "99999999-9999-4999-8999-999999999999"


def with_nodes(*, client: bool = False) -> StateApi:
    api = StateApi(client=client)
    for node in ("node1", "n2"):
        checks = [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "bad", "Status": "critical"}]
        body = {"Node": node, "Address": "10.0.0.1", "Checks": checks}
        assert api.put("/v1/catalog/register", body).status == 200
    return api


@pytest.fixture(params=[False, True], ids=["server", "client"])
def api(request: pytest.FixtureRequest) -> StateApi:
    return with_nodes(client=request.param)


def created(api: StateApi, body: Any = None) -> str:
    response = api.put("/v1/session/create", body)
    assert response.status == 200, response.body
    session_id = json_of(response)["ID"]
    assert response.body.decode() == f'{{"ID":"{session_id}"}}'
    return str(session_id)


def test_a_session_without_a_body_has_consuls_defaults(api: StateApi) -> None:
    session_id = created(api)
    expected = (
        f'[{{"ID":"{session_id}","Name":"","Node":"node1","Checks":["serfHealth"],"LockDelay":15000000000,'
        '"Behavior":"release","TTL":"","CreateIndex":3,"ModifyIndex":3}]'
    )
    for path in (f"info/{session_id}", "list", "node/node1"):
        response = api.get(f"/v1/session/{path}")
        assert (response.status, response.body.decode()) == (200, expected), path
    assert api.json("/v1/session/node/n2") == []


def test_what_a_body_says_counts(api: StateApi) -> None:
    body = {
        "name": "lock",
        "NODE": "n2",
        "Checks": [],
        "LockDelay": "30s",
        "Behavior": "delete",
        "TTL": "90s",
    }
    session = api.json(f"/v1/session/info/{created(api, body)}")[0]
    assert {name: session[name] for name in ("Name", "Node", "Checks", "LockDelay", "Behavior", "TTL")} == {
        "Name": "lock", "Node": "n2", "Checks": [], "LockDelay": 30 * SECOND, "Behavior": "delete", "TTL": "90s",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "nanoseconds"),
    [(5, 5 * SECOND), (0, 0), (999, 999 * SECOND), (1000, 1000), (20 * SECOND, 20 * SECOND), ("15s", 15 * SECOND),
     ("0s", 0), ("250ms", SECOND // 4), (None, 15 * SECOND), (1.5, SECOND * 3 // 2)],
)  # fmt: skip
def test_a_small_lock_delay_is_in_seconds(api: StateApi, written: Any, nanoseconds: int) -> None:
    session_id = created(api, {"LockDelay": written})
    assert api.json(f"/v1/session/info/{session_id}")[0]["LockDelay"] == nanoseconds


@pytest.mark.parametrize("body", [b"", b"  ", b"{}", b"null"])
def test_an_empty_body_is_no_wish(api: StateApi, body: bytes) -> None:
    assert api.put("/v1/session/create", body).status == 200


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"Node": "nobody"}, "Missing node registration"),
        ({"Checks": ["nothing"]}, "Missing check 'nothing' registration"),
        ({"Checks": ["bad"]}, "Check 'bad' is in critical state"),
        ({"Behavior": "keep"}, "Invalid Behavior setting 'keep': must be one of release, delete"),
        ({"TTL": "5s"}, "Invalid Session TTL '5s', must be between [10s=24h0m0s]"),
        ({"TTL": "25h"}, "Invalid Session TTL '25h', must be between [10s=24h0m0s]"),
        ({"TTL": "soon"}, "Session TTL 'soon' invalid: "),
    ],
)
def test_a_session_that_cannot_be_is_refused(api: StateApi, body: Any, sentence: str) -> None:
    response = api.put("/v1/session/create", body)
    text = response.body.decode()
    assert (response.status, text.startswith(f"rpc error making call: {sentence}")) == (500, True), text
    assert api.json("/v1/session/list") == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [*((name, wrong) for name in ("Name", "Node", "Behavior", "TTL") for wrong in (1, True, [], {})),
     *(("Checks", wrong) for wrong in (1, "serfHealth", {}, [1])),
     *(("LockDelay", wrong) for wrong in (True, [], {}, "5", -1, "-3s", 1e300))],
)  # fmt: skip
def test_a_field_of_a_wrong_type_is_named(api: StateApi, name: str, wrong: Any) -> None:
    response = api.put("/v1/session/create", {name: wrong})
    assert (response.status, response.body.decode().startswith(f"Request decode failed: {name}")) == (
        400,
        True,
    )


@pytest.mark.parametrize("body", [b"[]", b"x", b'"a"'])
def test_what_is_no_object_is_a_bad_request(api: StateApi, body: bytes) -> None:
    assert api.put("/v1/session/create", body).status == 400


def test_a_session_is_destroyed_once_or_again(api: StateApi) -> None:
    session_id = created(api)
    for _ in range(2):
        response = api.put(f"/v1/session/destroy/{session_id}")
        assert (response.status, response.body) == (200, b"true")
        assert api.json(f"/v1/session/info/{session_id}") == []


@pytest.mark.parametrize(
    ("method", "path", "sentence"),
    [("PUT", "destroy/", "Missing session"), ("PUT", "renew/", "Missing session"),
     ("GET", "info/", "Missing session"), ("GET", "node/", "Missing node name"),
     ("GET", "info/\udcff", "The session in the path is not UTF-8")],
)  # fmt: skip
def test_a_missing_name_is_a_bad_request(api: StateApi, method: str, path: str, sentence: str) -> None:
    response = api.request(method, f"/v1/session/{path}")
    assert (response.status, response.body.decode()) == (400, sentence)


def test_renewing_shows_the_session_or_says_that_there_is_none(api: StateApi) -> None:
    session_id = created(api, {"TTL": "10s"})
    shown = api.json(f"/v1/session/info/{session_id}")
    api.leader_methods["Session.Renew"] = lambda body: {
        "Sessions": shown if body["Session"] == session_id else []
    }
    assert json_of(api.put(f"/v1/session/renew/{session_id}")) == shown
    response = api.put(f"/v1/session/renew/{MISSING}")
    assert (response.status, response.body.decode()) == (404, f"Session id '{MISSING}' not found")


def test_the_session_of_a_check_that_fails_ends_and_its_reader_hears_of_it() -> None:
    api = with_nodes()
    session_id = created(api)
    waiting = api.blocked(f"/v1/session/info/{session_id}?index=3")
    others = [api.blocked(f"/v1/session/{path}?index=3") for path in ("list", "node/node1")]
    stays = api.blocked("/v1/session/node/n2?index=3")
    fails = {"Node": "node1", "Address": "10.0.0.1", "Check": {"CheckID": "serfHealth", "Status": "critical"}}
    api.put("/v1/catalog/register", fails)
    for read in (waiting, *others):
        assert read.answer is not None
        assert json_of(read.answer) == []
    assert stays.answer is None


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["Name", "Checks", "LockDelay", "Behavior", "TTL"]), _values))
def test_any_json_makes_a_session_or_is_refused(body: dict[str, Any]) -> None:
    api = with_nodes()
    response = api.put("/v1/session/create", body)
    assert response.status in {200, 400, 500}, response.body
    assert (response.status == 200) == bool(api.json("/v1/session/list"))


# Who may


@pytest.mark.parametrize(
    ("token", "status"), [("", 403), ("read", 403), ("n2", 403), ("write", 200), ("all", 200), ("wrong", 403)]
)
def test_creating_and_destroying_take_session_write_on_the_node(token: str, status: int) -> None:
    api = with_nodes()
    existing = created(api)
    api.tokens = {"": Grants(), "read": Grants.of("session:*:read"), "n2": Grants.of("session:n2:write"),
                  "write": Grants.of("session:node1:write"), "all": ALLOW_ALL}  # fmt: skip
    assert api.put("/v1/session/create", token=token).status == status
    response = api.put(f"/v1/session/destroy/{existing}", token=token)
    assert response.status == status
    if status == 403 and token != "wrong":
        assert response.body.startswith(b"Permission denied: session ")
    assert (len(api.machine.sessions.every()[1]) == 1) == (status in {200, 403})


def test_the_name_of_a_node_in_other_letters_takes_the_same_right() -> None:
    api = with_nodes()
    api.tokens = {
        "": Grants.of("session:NODE1:write"),
        "both": Grants.of("session:NODE1:write", "session:node1:write"),
    }
    assert api.put("/v1/session/create", {"Node": "NODE1"}).status == 403
    assert api.put("/v1/session/create", {"Node": "NODE1"}, token="both").status == 200


def test_a_session_that_is_not_there_is_unknown_to_who_may_not_do_everything() -> None:
    api = with_nodes()
    api.tokens = {"write": Grants.of("session:*:write")}
    response = api.put(f"/v1/session/destroy/{MISSING}", token="write")
    assert (response.status, response.body.decode()) == (
        500,
        f'rpc error making call: Unknown session "{MISSING}"',
    )


@pytest.mark.parametrize(("token", "nodes"), [("", []), ("n2", ["n2"]), ("all", ["n2", "node1"])])
def test_lists_show_the_sessions_of_nodes_that_may_be_read(token: str, nodes: list[str]) -> None:
    api = with_nodes()
    ids = {node: created(api, {"Node": node}) for node in ("node1", "n2")}
    api.tokens = {"": Grants(), "n2": Grants.of("session:n2:read"), "all": ALLOW_ALL}
    assert sorted(row["Node"] for row in api.json("/v1/session/list", token=token)) == nodes
    for node, session_id in ids.items():
        for path in (f"info/{session_id}", f"node/{node}"):
            assert bool(api.json(f"/v1/session/{path}", token=token)) == (node in nodes)
