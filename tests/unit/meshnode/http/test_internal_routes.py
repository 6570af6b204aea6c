"""``/v1/internal/ui``: shapes, the summary of services, and what happens without a leader."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.http.internal_routes import summarize
from tests.support.state_api import Grants, StateApi

NODE = (
    '{"ID":"","Node":"n1","Address":"10.0.0.1","TaggedAddresses":null,"Meta":{},"Services":[{"ID":"web",'
    '"Service":"web","Tags":["b","a"],"Address":"","Meta":{"external-source":"k8s"},"Port":0,'
    '"Weights":{"Passing":1,"Warning":1},"EnableTagOverride":false,"ProxyDestination":"",'
    '"Connect":{"Native":false,"Proxy":null},"CreateIndex":1,"ModifyIndex":1}],"Checks":[{"Node":"n1",'
    '"CheckID":"serfHealth","Name":"","Status":"passing","Notes":"","Output":"","ServiceID":"","ServiceName":"",'
    '"ServiceTags":[],"Definition":{},"CreateIndex":1,"ModifyIndex":1},{"Node":"n1","CheckID":"w","Name":"",'
    '"Status":"critical","Notes":"","Output":"","ServiceID":"web","ServiceName":"web","ServiceTags":["b","a"],'
    '"Definition":{},"CreateIndex":1,"ModifyIndex":1}]}'
)
SUMMARY = (
    '{"Name":"web","Tags":["a","b"],"Nodes":["n1"],"ChecksPassing":1,"ChecksWarning":0,"ChecksCritical":1,'
    '"ExternalSources":["k8s"]}'
)
BODY: dict[str, Any] = {
    "Node": "n1",
    "Address": "10.0.0.1",
    "Service": {"Service": "web", "Tags": ["b", "a"], "Meta": {"external-source": "k8s"}},
    "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "w", "ServiceID": "web"}],
}


@pytest.fixture(params=[False, True], ids=["server", "client"])
def api(request: pytest.FixtureRequest) -> StateApi:
    api = StateApi(client=request.param)
    assert api.put("/v1/catalog/register", BODY).status == 200
    return api


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [("nodes", 200, f"[{NODE}]"), ("node/n1", 200, NODE), ("services", 200, f"[{SUMMARY}]"), ("node/x", 404, ""),
     ("node/", 400, "Missing node name")],
)  # fmt: skip
def test_an_answer_has_consuls_names_order_and_types(
    api: StateApi, path: str, status: int, expected: str
) -> None:
    response = api.get(f"/v1/internal/ui/{path}")
    assert (response.status, response.body.decode()) == (status, expected)


def test_a_bare_node_has_empty_lists(api: StateApi) -> None:
    api.put("/v1/catalog/register", {"Node": "n2", "Address": "10.0.0.2"})
    node = api.json("/v1/internal/ui/node/n2")
    assert (node["Services"], node["Checks"]) == ([], [])


def test_a_summary_counts_the_checks_of_a_node_for_each_instance_on_it() -> None:
    def row(
        node: str, services: list[tuple[str, list[str]]], checks: list[tuple[str, str]]
    ) -> dict[str, Any]:
        return {
            "Node": node,
            "Services": [{"Service": name, "Tags": tags, "Meta": {}} for name, tags in services],
            "Checks": [{"ServiceName": name, "Status": status} for name, status in checks],
        }

    dump = [
        row("n2", [("web", ["b"]), ("web", ["a"]), ("db", [])], [("", "passing"), ("web", "warning")]),
        row("n1", [("web", ["b"])], [("", "critical"), ("gone", "passing"), ("web", "unheard-of")]),
        row("n3", [], [("", "passing")]),
    ]
    assert summarize(dump) == [
        {"Name": "db", "Tags": [], "Nodes": ["n2"], "ChecksPassing": 1, "ChecksWarning": 0, "ChecksCritical": 0,
         "ExternalSources": None},
        {"Name": "web", "Tags": ["a", "b"], "Nodes": ["n1", "n2", "n2"], "ChecksPassing": 2, "ChecksWarning": 1,
         "ChecksCritical": 1, "ExternalSources": None},
    ]  # fmt: skip


def test_a_summary_names_the_kind_of_a_proxy(api: StateApi) -> None:
    proxy = {"Service": "p", "Kind": "connect-proxy", "ProxyDestination": "web", "Port": 1}
    api.put("/v1/catalog/register", {**BODY, "Service": proxy, "Checks": []})
    assert list(api.json("/v1/internal/ui/services")[0].items())[:2] == [
        ("Kind", "connect-proxy"),
        ("Name", "p"),
    ]


def test_without_a_leader_a_stale_answer_is_shown() -> None:
    api = StateApi(client=True)
    api.put("/v1/catalog/register", BODY)
    api.has_leader = False
    for path in ("nodes", "services"):
        response = api.get(f"/v1/internal/ui/{path}?pretty")
        headers = dict(response.headers)
        assert (response.status, headers["X-Consul-KnownLeader"]) == (200, "false")
        assert headers["X-Consul-Effective-Consistency"] == "stale"
        assert response.body.startswith(b"[\n")
    for path in ("node/n1", "nodes?consistent"):
        response = api.get(f"/v1/internal/ui/{path}")
        assert (response.status, response.body) == (500, b"rpc error making call: No cluster leader")


def test_another_failure_is_not_asked_about_again() -> None:
    api = StateApi(client=True)
    response = api.get("/v1/internal/ui/nodes?dc=elsewhere")
    assert (response.status, len(api.calls)) == (500, 1)


def test_a_waiting_reader_hears_of_every_change() -> None:
    api = StateApi()
    api.put("/v1/catalog/register", BODY)
    for path in ("nodes", "services", "node/n1"):
        for change in (
            {"CheckID": "w", "Status": "passing", "ServiceID": "web"},
            {"CheckID": "w", "ServiceID": "web"},
        ):
            waiting = api.blocked(f"/v1/internal/ui/{path}?index={api.machine.last_index}")
            api.put("/v1/catalog/register", {**BODY, "Checks": [change]})
            assert waiting.answer is not None, (path, change)


@pytest.mark.parametrize(
    ("token", "services", "checks"),
    [("", None, []), ("node", [], ["serfHealth"]), ("both", ["web"], ["serfHealth", "w"]),
     ("all", ["web"], ["serfHealth", "w"]), ("service", None, [])],
)  # fmt: skip
def test_who_may_see_what(api: StateApi, token: str, services: list[str] | None, checks: list[str]) -> None:
    api.tokens = {"": Grants(), "node": Grants.of("node:n1:read"), "service": Grants.of("service:web:read"),
                  "both": Grants.of("node:n1:read", "service:web:read"), "all": ALLOW_ALL}  # fmt: skip
    nodes = api.json("/v1/internal/ui/nodes", token=token)
    response = api.get("/v1/internal/ui/node/n1", token=token)
    summary = api.json("/v1/internal/ui/services", token=token)
    assert [row["Name"] for row in summary] == (services or [])
    if services is None:
        assert (nodes, response.status) == ([], 404)
    else:
        assert [row["Service"] for row in nodes[0]["Services"]] == services
        assert [row["CheckID"] for row in nodes[0]["Checks"]] == checks
