"""``/v1/health``: shapes, ``?passing``, who may, and blocking."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.http.view import HttpSettings
from tests.support.state_api import Grants, StateApi, json_of

NODE = (
    '{"ID":"","Node":"n1","Address":"10.0.0.1","Datacenter":"dc1","TaggedAddresses":null,"Meta":{},'
    '"CreateIndex":1,"ModifyIndex":1}'
)
SERVICE = (
    '{"ID":"web","Service":"web","Tags":["v1"],"Address":"","Meta":{},"Port":80,'
    '"Weights":{"Passing":1,"Warning":1},"EnableTagOverride":false,"ProxyDestination":"",'
    '"Connect":{"Native":true,"Proxy":null},"CreateIndex":1,"ModifyIndex":1}'
)
NODE_CHECK = (
    '{"Node":"n1","CheckID":"serfHealth","Name":"","Status":"passing","Notes":"","Output":"","ServiceID":"",'
    '"ServiceName":"","ServiceTags":[],"Definition":{},"CreateIndex":1,"ModifyIndex":1}'
)
WEB_CHECK = (
    '{"Node":"n1","CheckID":"w","Name":"","Status":"warning","Notes":"","Output":"","ServiceID":"web",'
    '"ServiceName":"web","ServiceTags":["v1"],"Definition":{},"CreateIndex":1,"ModifyIndex":1}'
)
WHOLE = f'[{{"Node":{NODE},"Service":{SERVICE},"Checks":[{NODE_CHECK},{WEB_CHECK}]}}]'


def register(api: StateApi, node: str = "n1", status: str = "warning") -> None:
    body = {
        "Node": node,
        "Address": "10.0.0.1",
        "Service": {"Service": "web", "Tags": ["v1"], "Port": 80, "Connect": {"Native": True}},
        "Checks": [
            {"CheckID": "serfHealth", "Status": "passing"},
            {"CheckID": "w", "Status": status, "ServiceID": "web"},
        ],
    }
    assert api.put("/v1/catalog/register", body).status == 200


@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize(
    ("path", "stale", "most"),
    [
        ("/v1/health/service/web", True, 3_000_000_000),
        ("/v1/catalog/nodes", True, 3_000_000_000),
        ("/v1/health/service/web?leader", False, None),
        ("/v1/kv/a", False, None),
    ],
)
def test_discovery_may_be_as_old_as_the_configuration_says(
    client: bool, path: str, stale: bool, most: int | None
) -> None:
    api = StateApi(client=client, cached=False)
    register(api)
    asked: list[Any] = []
    answer = api.view.read_now

    def recorded(query: Any) -> Any:
        asked.append(query.body)
        return answer(query)

    api.view.settings = HttpSettings(discovery_max_stale=3.0)
    api.view.read_now = recorded  # type: ignore[method-assign]
    api.get(path)
    assert (asked[0].get("AllowStale", False), asked[0].get("MaxStaleDuration")) == (stale, most)


@pytest.fixture(params=[False, True], ids=["server", "client"])
def api(request: pytest.FixtureRequest) -> StateApi:
    api = StateApi(client=request.param)
    register(api)
    return api


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("node/n1", f"[{NODE_CHECK},{WEB_CHECK}]"),
        ("node/N1", f"[{NODE_CHECK},{WEB_CHECK}]"),
        ("node/nobody", "[]"),
        ("checks/web", f"[{WEB_CHECK}]"),
        ("checks/nothing", "[]"),
        ("checks/web?node-meta=a:b", "[]"),
        ("state/any", f"[{NODE_CHECK},{WEB_CHECK}]"),
        ("state/passing", f"[{NODE_CHECK}]"),
        ("state/warning", f"[{WEB_CHECK}]"),
        ("state/critical", "[]"),
        ("state/any?node-meta=a:b", "[]"),
        ("state/any?filter=Status==warning", f"[{WEB_CHECK}]"),
        ("service/web", WHOLE),
        ("service/nothing", "[]"),
        ("connect/web", WHOLE),
        ("connect/nothing", "[]"),
        ("service/web?tag=v1&near=_agent", WHOLE),
        ("service/web?tag=v2", "[]"),
        ("service/web?passing", "[]"),
        ("connect/web?passing=1", "[]"),
        ("service/web?passing=false", WHOLE),
        ("service/web?filter=Checks.Status==warning", WHOLE),
        ("service/web?filter=Service.Port==81", "[]"),
    ],
)
def test_an_answer_has_consuls_names_order_and_types(api: StateApi, path: str, expected: str) -> None:
    response = api.get(f"/v1/health/{path}")
    assert (response.status, response.body.decode()) == (200, expected)
    assert int(dict(response.headers)["X-Consul-Index"]) >= 1


def test_passing_leaves_the_instances_whose_every_check_passes(api: StateApi) -> None:
    register(api, "n2", "passing")
    register(api, "n3", "critical")
    for query in ("passing", "passing=", "passing=true", "passing=1"):
        assert [row["Node"]["Node"] for row in api.json(f"/v1/health/service/web?{query}")] == ["n2"], query
    assert len(api.json("/v1/health/service/web?passing=0")) == 3


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("node/", "Missing node name"), ("checks/", "Missing service name"), ("service/", "Missing service name"),
     ("connect/", "Missing service name"), ("state/", "Missing check state"),
     ("service/web?passing=perhaps", "Invalid value for ?passing: 'perhaps' is neither true nor false"),
     ("state/\udcff", "The check state in the path is not UTF-8"), ("state/any?index=-1", "Invalid index")],
)  # fmt: skip
def test_a_bad_request_says_what_is_wrong(api: StateApi, path: str, sentence: str) -> None:
    response = api.get(f"/v1/health/{path}")
    assert (response.status, response.body.decode()) == (400, sentence)


@pytest.mark.parametrize("path", ["node/n1", "checks/web", "state/any", "service/web", "connect/web"])
def test_a_filter_that_cannot_be_read_is_a_bad_request(api: StateApi, path: str) -> None:
    response = api.get(f"/v1/health/{path}?filter=Node+is+nonsense")
    assert (response.status, response.body.startswith(b"Invalid filter: ")) == (400, True)


def test_a_reader_of_passing_instances_hears_of_one_that_fails() -> None:
    api = StateApi()
    register(api, status="passing")
    waiting = api.blocked("/v1/health/service/web?passing&index=1")
    register(api, status="critical")
    assert waiting.answer is not None
    assert json_of(waiting.answer) == []
    assert dict(waiting.answer.headers)["X-Consul-Index"] == "2"


def test_a_waiting_reader_is_woken_by_what_it_reads_and_by_nothing_else() -> None:
    api = StateApi()
    register(api, status="passing")
    paths = ("node/n1", "node/n2", "checks/web", "checks/db", "state/any", "state/warning", "state/critical",
             "service/web", "service/db", "connect/web", "state/critical?node-meta=a:b")  # fmt: skip
    waiting = {path: api.blocked(f"/v1/health/{path}{'&' if '?' in path else '?'}index=1") for path in paths}

    def woken(body: dict[str, Any]) -> set[str]:
        api.put("/v1/catalog/register", body)
        answered = {path for path, read in waiting.items() if read.answer is not None}
        for path in answered:
            del waiting[path]
        return answered

    warns = {"CheckID": "w", "Status": "warning", "ServiceID": "web"}
    assert woken({"Node": "n1", "Address": "10.0.0.1", "Check": warns}) == {
        "node/n1", "checks/web", "state/any", "state/warning", "service/web", "connect/web"}  # fmt: skip
    # The index of a node's checks is that of all checks, which has moved: whoever wakes it gets its answer.
    assert woken({"Node": "n2", "Address": "10.0.0.2"}) == {"node/n2", "state/critical?node-meta=a:b"}
    db = {"Node": "n2", "Address": "10.0.0.2", "Service": {"Service": "db"}}
    assert woken(db) == {"service/db", "checks/db"}
    assert woken({"Node": "n2", "Address": "10.0.0.2", "Check": {"Name": "c"}}) == {"state/critical"}


# Who may

READS = ("node/n1", "checks/web", "state/any", "service/web", "connect/web")


@pytest.fixture
def guarded() -> StateApi:
    api = StateApi()
    register(api)
    api.tokens = {"": Grants(), "all": ALLOW_ALL, "read": Grants.of("node:*:read", "service:*:read"),
                  "node": Grants.of("node:n1:read"), "service": Grants.of("service:web:read")}  # fmt: skip
    return api


@pytest.mark.parametrize("path", READS)
def test_who_may_read_nothing_sees_empty_lists_and_who_may_sees_all(guarded: StateApi, path: str) -> None:
    assert guarded.json(f"/v1/health/{path}") == []
    assert guarded.json(f"/v1/health/{path}", token="service") == []
    whole = guarded.json(f"/v1/health/{path}", token="all")
    assert whole
    assert guarded.json(f"/v1/health/{path}", token="read") == whole
    refused = guarded.get(f"/v1/health/{path}", token="wrong")
    assert (refused.status, refused.body) == (403, b"ACL not found")


def test_who_may_read_a_node_only_sees_its_own_checks(guarded: StateApi) -> None:
    for path in ("node/n1", "state/any"):
        assert [row["CheckID"] for row in guarded.json(f"/v1/health/{path}", token="node")] == ["serfHealth"]
    for path in ("checks/web", "service/web", "connect/web"):
        assert guarded.json(f"/v1/health/{path}", token="node") == []
