"""``/v1/connect/intentions`` on a state in memory: shapes, statuses, blocking."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.control.endpoints.intention import intention_methods
from meshnode.control.endpoints.table import METHODS
from meshnode.intentions.decide import default_decision
from meshnode.intentions.model import NO_TOKENS
from tests.support.state_api import Grants, StateApi, json_of

BASE = "/v1/connect/intentions"
ENDS = "source=web&destination=db"
WEB_DB = {"sourcename": "web", "DESTINATIONNAME": "db", "Action": "deny", "unknown": 1}
EXACT = f"{BASE}/exact?source=web&destination=db"
NO_SUCH = f"{BASE}/aaaaaaaa-0000-4000-8000-000000000001"


@pytest.fixture(params=[False, True], ids=["server", "client"])
def api(request: pytest.FixtureRequest) -> StateApi:
    return StateApi(client=request.param)


def created(api: StateApi, **fields: Any) -> str:
    response = api.post(BASE, {**WEB_DB, **fields})
    assert response.status == 200, response.body
    made = json_of(response)
    assert list(made) == ["ID"]
    return str(made["ID"])


def pairs(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{row['SourceName']} => {row['DestinationName']} ({row['Action']})" for row in rows]


def test_an_empty_list_is_a_list(api: StateApi) -> None:
    assert api.get(BASE).body == b"[]"


def test_an_intention_is_created_read_changed_and_deleted(api: StateApi) -> None:
    intention_id = created(api)
    expected = {
        "ID": intention_id, "Description": "", "SourceNS": "default", "SourceName": "web", "DestinationNS": "default",
        "DestinationName": "db", "SourceType": "consul", "Action": "deny", "DefaultAddr": "", "DefaultPort": 0,
        "Meta": {}, "Precedence": 9, "CreatedAt": "1970-01-01T00:16:41Z", "UpdatedAt": "1970-01-01T00:16:41Z",
        "CreateIndex": 1, "ModifyIndex": 1,
    }  # fmt: skip
    assert api.json(BASE) == [expected]
    assert api.json(f"{BASE}/{intention_id}") == api.json(EXACT) == expected
    changed = api.put(f"{BASE}/{intention_id}", {**WEB_DB, "Action": "allow", "ID": "another"})
    assert json_of(changed) == {"ID": intention_id}
    assert pairs(api.json(BASE)) == ["web => db (allow)"]
    assert api.delete(f"{BASE}/{intention_id}").body == b"true"
    assert api.json(BASE) == []


def test_by_name_it_is_added_or_changed_and_gone_is_gone(api: StateApi) -> None:
    for action in ("allow", "deny"):
        assert api.put(EXACT, {"Action": action, "SourceName": "web"}).body == b"true"
        assert pairs(api.json(BASE)) == [f"web => db ({action})"]
    assert api.json(EXACT)["CreateIndex"] == 1
    for _ in range(2):
        assert api.delete(EXACT).body == b"true"
    assert api.json(BASE) == []


def test_names_may_have_a_namespace(api: StateApi) -> None:
    assert api.put(f"{BASE}/exact?source=a/web&destination=default/db", {"Action": "deny"}).status == 200
    found = api.json(f"{BASE}/exact?source=a/web&destination=db")
    assert (found["SourceNS"], found["DestinationNS"]) == ("a", "default")
    assert api.json(f"{BASE}/check?source=a/web&destination=db") == {"Allowed": False}


@pytest.mark.parametrize("path", [NO_SUCH, EXACT])
def test_one_that_is_not_there_is_404(api: StateApi, path: str) -> None:
    response = api.get(path)
    assert (response.status, response.body) == (404, b"Intention not found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_is_no_uuid_is_400(api: StateApi, method: str) -> None:
    response = api.request(method, f"{BASE}/web", WEB_DB if method == "PUT" else None)
    assert response.status == 400
    assert b"UUID must be 36 characters" in response.body


@pytest.mark.parametrize(("method", "body"), [("PUT", WEB_DB), ("DELETE", None)])
def test_changing_one_that_is_not_there_is_500_as_in_consul(api: StateApi, method: str, body: Any) -> None:
    response = api.request(method, NO_SUCH, body)
    assert response.status == 500
    assert b"Cannot modify non-existent intention: 'aaaaaaaa-0000-4000-8000-000000000001'" in response.body


def test_two_about_the_same_are_500_with_consuls_sentence(api: StateApi) -> None:
    intention_id = created(api)
    response = api.post(BASE, {**WEB_DB, "Action": "allow"})
    sentence = (
        f"duplicate intention found: DENY default/web => default/db (ID: {intention_id}, Precedence: 9)"
    )
    assert (response.status, response.body.decode()) == (500, f"rpc error making call: {sentence}")


def test_a_list_is_in_the_order_of_evaluation(api: StateApi) -> None:
    for source, destination in (("*", "*"), ("web", "*"), ("*", "db"), ("web", "db"), ("api", "db")):
        created(api, sourcename=source, DESTINATIONNAME=destination)
    assert [pair.removesuffix(" (deny)") for pair in pairs(api.json(BASE))] == [
        "api => db", "web => db", "* => db", "web => *", "* => *",
    ]  # fmt: skip
    matched = api.json(f"{BASE}/match?by=destination&name=db&name=default/x")
    assert list(matched) == ["db", "default/x"]
    assert [len(rows) for rows in matched.values()] == [5, 2]
    assert len(api.json(f"{BASE}/match?by=source&name=web")["web"]) == 4


READS = [
    BASE,
    f"{BASE}/match?by=destination&name=db",
    f"{BASE}/check?{ENDS}",
    f"{BASE}/explain?{ENDS}",
    EXACT,
]


@pytest.mark.parametrize("path", READS)
def test_every_read_sends_its_index_and_waits_for_a_change(api: StateApi, path: str) -> None:
    created(api)
    assert dict(api.get(path).headers)["X-Consul-Index"] == "1"
    blocked = api.blocked(path + ("&" if "?" in path else "?") + "index=1")
    api.put(EXACT, {"Action": "allow"})
    assert blocked.answer is not None
    assert dict(blocked.answer.headers)["X-Consul-Index"] == "2"


def test_who_waits_for_one_service_sleeps_through_the_others(api: StateApi) -> None:
    created(api)
    blocked = api.blocked(f"{BASE}/match?by=destination&name=db&index=1")
    created(api, DESTINATIONNAME="api")
    assert blocked.answer is None
    assert blocked.woken_for_nothing == 0
    created(api, DESTINATIONNAME="*")
    assert blocked.answer is not None


def test_a_check_is_consuls_and_an_explanation_says_why(api: StateApi) -> None:
    assert api.get(f"{BASE}/check?source=web&destination=db&source-type=consul").body == b'{"Allowed":true}'
    intention_id = created(api)
    assert api.json(f"{BASE}/check?source=web&destination=db") == {"Allowed": False}
    explained = api.json(f"{BASE}/explain?source=web&destination=db")
    assert (explained["Allowed"], explained["IntentionID"]) == (False, intention_id)
    assert explained["Default"] == {"Allowed": True, "Reason": "ACLs disabled, access is allowed by default"}
    assert pairs(explained["Candidates"]) == ["web => db (deny)"]


def test_a_server_is_told_what_holds_where_no_intention_does() -> None:
    default = default_decision(acls_enabled=True, acls_allow=False)
    api = StateApi(methods={**METHODS, **intention_methods(lambda: default)})
    assert api.json(f"{BASE}/check?{ENDS}") == {"Allowed": False}
    assert api.json(f"{BASE}/explain?{ENDS}")["Reason"] == "Default behavior configured by ACLs"
    created(api, Action="allow")
    assert api.json(f"{BASE}/check?{ENDS}") == {"Allowed": True}


def test_an_explanation_may_be_about_a_request(api: StateApi) -> None:
    permission = {
        "Action": "deny",
        "HTTP": {"PathPrefix": "/a", "Methods": ["PUT"], "Header": [{"Name": "k", "Exact": "v"}]},
    }
    assert api.put("/v1/config", {"Kind": "service-defaults", "Name": "db", "Protocol": "http"}).status == 200
    created(api, Action="", Permissions=[permission, {"Action": "allow", "HTTP": {"PathPrefix": "/"}}])
    path = f"{BASE}/explain?source=web&destination=db"
    assert api.json(f"{path}&path=/a&method=put&header=K:%20v")["Permission"] == 0
    assert api.json(f"{path}&path=/a&method=put")["Permission"] == 1
    assert api.json(f"{path}&method=GET")["Permission"] == 1
    assert api.json(path)["Permission"] is None
    assert api.json(BASE)[0]["Permissions"][0] == permission


@pytest.mark.parametrize(
    ("path", "because"),
    [
        ("/match?name=a", "required query parameter 'by' not set"),
        ("/match?by=both&name=a", "'by' parameter must be one of 'source' or 'destination', not 'both'"),
        ("/match?by=source", "required query parameter 'name' not set"),
        ("/match?by=source&name=", "required query parameter 'name' not set"),
        ("/match?by=source&name=a/b/c", "'name' is 'a/b/c': write a name, or namespace/name"),
        ("/match?by=source" + "&name=a" * 129, "129 names are too many: give at most 128"),
        ("/check?destination=a", "required query parameter 'source' not set"),
        ("/check?source=a", "required query parameter 'destination' not set"),
        ("/check?source=a&source=b&destination=c", "query parameter 'source' is given 2 times: give it once"),
        ("/check?source=a&destination=b&source-type=x", "'source-type' parameter must be 'consul'"),
        ("/explain?source=a", "required query parameter 'destination' not set"),
        ("/exact?source=a", "required query parameter 'destination' not set"),
        ("/exact?source=a/&destination=b", "'source' is 'a/': write a name, or namespace/name"),
    ],
)
def test_a_question_that_lacks_something_is_400(api: StateApi, path: str, because: str) -> None:
    response = api.get(BASE + path)
    assert (response.status, response.body.decode()) == (400, because)


@pytest.mark.parametrize(
    ("body", "because"),
    [
        (b"", "Request decode failed: the body is empty, send JSON"),
        (b"[]", "Request decode failed: expected object, got list"),
        (b'{"Action": 1}', "Request decode failed: Action: expected string, got number"),
        (b'{"Permissions": [{"HTTP": {"Methods": "GET"}}]}',
         "Request decode failed: Permissions[0].HTTP.Methods: expected list, got string"),
        (b'{"JWT": {}}', f"Request decode failed: JWT: {NO_TOKENS}"),
        (b'{"Permissions": [{"JWT": {}}]}', f"Request decode failed: Permissions[0].JWT: {NO_TOKENS}"),
        (b'{"SourceName": "a", "DestinationName": "b"}', "Invalid intention: Action must be set to 'allow' or 'deny'"),
        (b'{"SourceName": "a", "DestinationName": "b*", "Action": "deny", "SourceType": "x"}',
         "Invalid intention: DestinationName: wildcard character '*' cannot be used with partial values; "
         "SourceType must be set to 'consul'"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_intention_is_400(api: StateApi, body: bytes, because: str) -> None:
    response = api.post(BASE, body)
    assert (response.status, response.body.decode()) == (400, because)


def test_a_body_that_names_others_than_the_query_is_400(api: StateApi) -> None:
    response = api.put(EXACT, {"Action": "deny", "SourceName": "other"})
    assert (response.status, response.body.decode()) == (
        400,
        "SourceName of the body is 'other', of the query 'web'",
    )


def test_denials_are_403(api: StateApi) -> None:
    created(api)
    api.tokens |= {"": Grants(), "r": Grants.of("intention:db:read"), "w": Grants.of("intention:db:write")}
    assert api.json(BASE) == []
    assert api.get(EXACT).status == api.get(f"{BASE}/check?source=web&destination=db").status == 403
    assert api.get(f"{BASE}/match?by=destination&name=db").status == 403
    assert len(api.json(BASE, token="r")) == 1
    assert api.put(EXACT, {"Action": "allow"}, token="r").status == 403
    assert api.put(EXACT, {"Action": "allow"}, token="w").status == 200
    assert api.post(BASE, {**WEB_DB, "DESTINATIONNAME": "api"}, token="w").status == 403


_FIELDS = (
    *("SourceName", "DestinationName", "Action", "Permissions", "HTTP", "Header", "Name", "Methods", "Meta"),
    *("PathRegex", "PathExact", "DefaultPort", "ID"),
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9**20) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(_FIELDS),
        inner, max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip


@given(_json)
def test_any_json_ends_in_an_intention_or_a_400(value: Any) -> None:
    api = StateApi()
    response = api.post(BASE, json.dumps(value).encode())
    assert response.status in {200, 400} or b"ID must be empty" in response.body, response.body
