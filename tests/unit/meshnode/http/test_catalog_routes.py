"""``/v1/catalog``: shapes byte for byte, what is refused, who may, and when a waiting reader hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL
from tests.support.state_api import Grants, StateApi, json_of

NODE_ID = "40e4a748-2192-161a-0510-9bf59fe950b5"
FULL: dict[str, Any] = {
    "ID": NODE_ID,
    "Node": "n1",
    "Address": "10.0.0.1",
    "TaggedAddresses": {"wan": "198.51.100.1", "lan": "10.0.0.1"},
    "NodeMeta": {"rack": "r1"},
    "Service": {
        "ID": "web1", "Service": "web", "Tags": ["v1", "Blue"], "Address": "10.9.9.9", "Port": 8000,
        "Meta": {"version": "4"}, "Weights": {"Passing": 10, "Warning": 2}, "EnableTagOverride": True,
    },
    "Check": {
        "CheckID": "c1", "Name": "web up", "Status": "passing", "Notes": "n", "Output": "o", "ServiceID": "web1",
        "Definition": {"HTTP": "http://x/", "Interval": "5s", "Timeout": 1_500_000_000, "TLSSkipVerify": True,
                       "Header": {"X-A": ["1", "2"]}, "Method": "POST", "TCP": "x:1",
                       "DeregisterCriticalServiceAfter": "90m"},
    },
}  # fmt: skip
NODE_JSON = (
    f'{{"ID":"{NODE_ID}","Node":"n1","Address":"10.0.0.1","Datacenter":"dc1",'
    '"TaggedAddresses":{"lan":"10.0.0.1","wan":"198.51.100.1"},"Meta":{"rack":"r1"},'
    '"CreateIndex":1,"ModifyIndex":1}'
)
SERVICE_JSON = (
    '{"ID":"web1","Service":"web","Tags":["v1","Blue"],"Address":"10.9.9.9","Meta":{"version":"4"},"Port":8000,'
    '"Weights":{"Passing":10,"Warning":2},"EnableTagOverride":true,"ProxyDestination":"",'
    '"Connect":{"Native":false,"Proxy":null},"CreateIndex":1,"ModifyIndex":1}'
)


@pytest.fixture(params=[False, True], ids=["server", "client"])
def api(request: pytest.FixtureRequest) -> StateApi:
    api = StateApi(client=request.param)
    assert api.put("/v1/catalog/register", FULL).body == b"true"
    return api


def service(name: str, node: str = "n1", **fields: Any) -> dict[str, Any]:
    return {
        "Node": node,
        "Address": "10.0.0.1",
        "SkipNodeUpdate": True,
        "Service": {"Service": name, **fields},
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nodes", f"[{NODE_JSON}]"),
        ("nodes?node-meta=rack:r1&node-meta=x:", "[]"),
        ("nodes?near=_agent", f"[{NODE_JSON}]"),
        ("services", '{"web":["Blue","v1"]}'),
        ("services?node-meta=rack:r2", "{}"),
        ("service/nothing", "[]"),
        ("connect/web", "[]"),
        ("node/n1", f'{{"Node":{NODE_JSON},"Services":{{"web1":{SERVICE_JSON}}}}}'),
        (f"node/{NODE_ID[:8]}", f'{{"Node":{NODE_JSON},"Services":{{"web1":{SERVICE_JSON}}}}}'),
        ("node/nobody", "null"),
        ("node-services/n1", f'{{"Node":{NODE_JSON},"Services":[{SERVICE_JSON}]}}'),
        ("node-services/nobody", '{"Node":null,"Services":[]}'),
    ],
)
def test_an_answer_has_consuls_names_order_and_types(api: StateApi, path: str, expected: str) -> None:
    response = api.get(f"/v1/catalog/{path}")
    assert (response.status, response.body.decode()) == (200, expected)
    headers = dict(response.headers)
    assert int(headers["X-Consul-Index"]) >= 1
    assert (headers["X-Consul-KnownLeader"], headers["X-Consul-LastContact"]) == ("true", "0")


def test_an_instance_of_a_service_is_one_flat_object(api: StateApi) -> None:
    assert api.get("/v1/catalog/service/web").body.decode() == (
        f'[{{"ID":"{NODE_ID}","Node":"n1","Address":"10.0.0.1","Datacenter":"dc1",'
        '"TaggedAddresses":{"lan":"10.0.0.1","wan":"198.51.100.1"},"NodeMeta":{"rack":"r1"},"ServiceKind":"",'
        '"ServiceID":"web1","ServiceName":"web","ServiceTags":["v1","Blue"],"ServiceAddress":"10.9.9.9",'
        '"ServiceWeights":{"Passing":10,"Warning":2},"ServiceMeta":{"version":"4"},"ServicePort":8000,'
        '"ServiceEnableTagOverride":true,"ServiceProxyDestination":"",'
        '"ServiceConnect":{"Native":false,"Proxy":null},"CreateIndex":1,"ModifyIndex":1}]'
    )


def test_what_was_left_out_is_an_empty_list_or_object_and_no_tagged_addresses_are_null() -> None:
    api = StateApi()
    api.put("/v1/catalog/register", {"Node": "n1", "Address": "10.0.0.1", "Service": {"Service": "web"}})
    node, row = api.json("/v1/catalog/nodes")[0], api.json("/v1/catalog/service/web")[0]
    assert (node["TaggedAddresses"], node["Meta"]) == (None, {})
    assert (row["ServiceTags"], row["ServiceMeta"], row["ServiceID"]) == ([], {}, "web")
    assert row["ServiceWeights"] == {"Passing": 1, "Warning": 1}
    assert api.json("/v1/catalog/services") == {"web": []}


def test_a_proxy_and_a_native_service_are_endpoints_for_connect_and_show_their_kind() -> None:
    api = StateApi()
    api.put("/v1/catalog/register", service("db-proxy", Kind="connect-proxy", ProxyDestination="db", Port=1))
    modern = {"DestinationServiceName": "db", "LocalServicePort": 5, "Config": {"a": [1]}, "Unknown": 1}
    api.put("/v1/catalog/register", service("db-sidecar", Kind="connect-proxy", Port=2, Proxy=modern))
    api.put("/v1/catalog/register", service("db", Connect={"native": True}))
    api.put("/v1/catalog/register", service("x", Connect={"Proxy": {"ExecMode": "daemon", "Command": ["p"]}}))
    rows = {row["ServiceName"]: row for row in api.json("/v1/catalog/connect/db")}
    assert set(rows) == {"db-proxy", "db-sidecar", "db"}
    assert (rows["db-proxy"]["ServiceKind"], rows["db-proxy"]["ServiceProxyDestination"]) == (
        "connect-proxy",
        "db",
    )
    assert "ServiceProxy" not in rows["db-proxy"]
    shown = {"DestinationServiceName": "db", "LocalServicePort": 5, "Config": {"a": [1]}}
    assert (rows["db-sidecar"]["ServiceProxyDestination"], rows["db-sidecar"]["ServiceProxy"]) == (
        "db",
        shown,
    )
    assert rows["db"]["ServiceConnect"] == {"Native": True, "Proxy": None}
    services = api.json("/v1/catalog/node/n1")["Services"]
    assert next(iter(services["db-proxy"].items())) == ("Kind", "connect-proxy")
    assert services["db-sidecar"]["Proxy"] == shown
    assert services["x"]["Connect"]["Proxy"] == {"Command": ["p"], "ExecMode": "daemon"}


@pytest.mark.parametrize(
    ("query", "ids"),
    [("", ["a", "b", "c"]), ("?tag=v1", ["a", "b"]), ("?tag=V1", ["a", "b"]), ("?tag=v1&tag=blue", ["b"]),
     ("?tag=v1&tag=red", []), ("?tag=", ["a", "b", "c"]), ("?node-meta=rack:r1", ["a", "b"]),
     ('?filter=ServiceTags+contains+"blue"', ["b"]), ("?filter=ServicePort==3&tag=v1", [])],
)  # fmt: skip
def test_tags_metadata_and_a_filter_choose_instances(query: str, ids: list[str]) -> None:
    api = StateApi()
    node = {"Node": "n1", "Address": "10.0.0.1", "NodeMeta": {"rack": "r1"}}
    api.put("/v1/catalog/register", {**node, "Service": {"ID": "a", "Service": "web", "Tags": ["v1"]}})
    api.put(
        "/v1/catalog/register", {**node, "Service": {"ID": "b", "Service": "web", "Tags": ["v1", "blue"]}}
    )
    api.put("/v1/catalog/register", service("web", "n2", ID="c", Port=3))
    assert [row["ServiceID"] for row in api.json(f"/v1/catalog/service/web{query}")] == ids


@pytest.mark.parametrize("path", ["nodes", "service/web", "node/n1", "node-services/n1"])
def test_a_filter_that_cannot_be_read_is_a_bad_request(api: StateApi, path: str) -> None:
    response = api.get(f"/v1/catalog/{path}?filter=Nonsense==1")
    assert (response.status, response.body.startswith(b"Invalid filter: ")) == (400, True)


def test_a_filter_leaves_services_of_a_node(api: StateApi) -> None:
    api.put("/v1/catalog/register", service("db"))
    assert list(api.json("/v1/catalog/node/n1?filter=Service==db")["Services"]) == ["db"]
    assert api.json("/v1/catalog/node-services/n1?filter=Service==none")["Services"] == []


def test_nodes_near_a_node_come_first() -> None:
    api = StateApi()
    for name, x in (("n1", 9.0), ("n2", 0.2), ("n3", 0.1), ("node1", 0.0)):
        api.put("/v1/catalog/register", {"Node": name, "Address": "10.0.0.1", "Service": {"Service": "web"}})
        coord = {"Vec": [x, 0, 0, 0, 0, 0, 0, 0], "Error": 1, "Height": 0.0001}
        api.put("/v1/coordinate/update", {"Node": name, "Coord": coord})
    nearest = ["node1", "n3", "n2", "n1"]
    for path in ("nodes?near=_agent", "nodes?near=node1", "service/web?near=_agent"):
        assert [row["Node"] for row in api.json(f"/v1/catalog/{path}")] == nearest, path
    assert [row["Node"] for row in api.json("/v1/catalog/nodes?near=n1")] == nearest[::-1]


def test_the_check_of_a_registration_is_shown_as_it_was_written(api: StateApi) -> None:
    assert api.get("/v1/health/node/n1").body.decode() == (
        '[{"Node":"n1","CheckID":"c1","Name":"web up","Status":"passing","Notes":"n","Output":"o",'
        '"ServiceID":"web1","ServiceName":"web","ServiceTags":["v1","Blue"],"Definition":{"HTTP":"http://x/",'
        '"TLSSkipVerify":true,"Header":{"X-A":["1","2"]},"Method":"POST","TCP":"x:1","Interval":"5s",'
        '"Timeout":"1.5s","DeregisterCriticalServiceAfter":"1h30m0s"},"CreateIndex":1,"ModifyIndex":1}]'
    )


def test_names_of_fields_may_be_written_in_any_case() -> None:
    api = StateApi()
    body = {
        "node": "n1",
        "ADDRESS": "10.0.0.1",
        "service": {"service": "web", "port": 1},
        "checks": [{"name": "c"}],
    }
    assert api.put("/v1/catalog/register", body).status == 200
    assert api.json("/v1/catalog/service/web")[0]["ServicePort"] == 1
    assert api.json("/v1/health/node/n1")[0]["Status"] == "critical"


def test_deregistering_takes_a_service_else_a_check_else_the_node(api: StateApi) -> None:
    assert api.put("/v1/catalog/deregister", {"node": "n1", "CheckID": "c1"}).body == b"true"
    assert api.json("/v1/health/node/n1") == []
    assert api.put("/v1/catalog/deregister", {"Node": "n1", "ServiceID": "web1"}).body == b"true"
    assert api.json("/v1/catalog/services") == {}
    assert api.put("/v1/catalog/deregister", {"Node": "n1"}).body == b"true"
    assert api.json("/v1/catalog/nodes") == []
    assert api.put("/v1/catalog/deregister", {"Node": "n1"}).body == b"true"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"Address": "10.0.0.1"}, "Must provide node"),
        ({"Node": "n9"}, "Must provide address if SkipNodeUpdate is not set"),
        ({"Node": "n9", "Address": "a", "ID": "x"}, 'Bad node ID: "x" is not a UUID'),
        ({"Node": "n9", "Address": "a", "Service": {"ID": "x"}}, "Must provide service name with ID"),
        ({"Node": "n9", "Address": "a", "Check": {"Name": "c", "Status": "fine"}}, 'Invalid check status "fine"'),
        ({"Node": "n9", "Address": "a", "Check": {"Name": "c", "ServiceID": "w"}}, "Missing service registration"),
        ({"Node": "n9", "Address": "a", "Check": {"Name": "c", "Node": "n8"}}, "does not match node"),
    ],
)  # fmt: skip
def test_a_registration_that_makes_no_sense_is_refused_whole(
    api: StateApi, body: dict[str, Any], sentence: str
) -> None:
    response = api.put("/v1/catalog/register", body)
    text = response.body.decode()
    assert (response.status, text.startswith("rpc error making call: "), sentence in text) == (
        500,
        True,
        True,
    ), text
    assert [node["Node"] for node in api.json("/v1/catalog/nodes")] == ["n1"]


def test_the_datacenter_is_the_one_in_the_body(api: StateApi) -> None:
    other = api.put("/v1/catalog/register?dc=dc9", {**FULL, "Datacenter": "dc2"})
    assert (other.status, b"dc2" in other.body) == (500, True)
    assert api.calls[-1].datacenter == "dc2"
    api.put("/v1/catalog/register", {**FULL, "Datacenter": "dc1"})
    assert api.json("/v1/catalog/nodes")[0]["Datacenter"] == "dc1"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("service/", "Missing service name"), ("connect/", "Missing service name"), ("node/", "Missing node name"),
     ("node-services/", "Missing node name"), ("service/\udcff", "The service name in the path is not UTF-8"),
     ("nodes?index=x", "Invalid index"), ("nodes?wait=x&index=1", "Invalid wait time"),
     ("nodes?stale&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics.")],
)  # fmt: skip
def test_a_bad_request_says_what_is_wrong(api: StateApi, path: str, sentence: str) -> None:
    response = api.get(f"/v1/catalog/{path}")
    assert (response.status, response.body.decode()) == (400, sentence)


def test_a_waiting_reader_is_woken_by_what_it_reads_and_by_nothing_else() -> None:
    api = StateApi()
    api.put("/v1/catalog/register", service("web"))
    waiting = {
        path: api.blocked(f"/v1/catalog/{path}?index={api.machine.last_index}")
        for path in ("nodes", "services", "service/web", "service/db", "connect/db", "node/n1", "node/n2")
    }

    def woken(body: dict[str, Any]) -> set[str]:
        api.put("/v1/catalog/register", body)
        answered = {path for path, read in waiting.items() if read.answer is not None}
        for path in answered:
            del waiting[path]
        return answered

    assert woken({**service("web"), "Check": {"Name": "c"}}) == {"service/web"}
    assert woken(service("db")) == {"services", "service/db", "node/n1"}
    assert woken({"Node": "n2", "Address": "10.0.0.2"}) == {"nodes", "node/n2"}
    assert woken(service("p", "n2", Kind="connect-proxy", ProxyDestination="db", Port=1)) == {"connect/db"}


def test_a_wait_that_is_over_answers_with_what_there_is() -> None:
    api = StateApi()
    api.put("/v1/catalog/register", service("web"))
    waiting = api.blocked("/v1/catalog/nodes?index=1&wait=1s")
    assert 1.0 <= waiting.query.body["MaxQueryTime"] / 1e9 <= 1.0625  # type: ignore[operator]
    assert json_of(waiting.timed_out()) == api.json("/v1/catalog/nodes")


def test_an_answer_is_shown_again_until_it_changes() -> None:
    api = StateApi()
    api.put("/v1/catalog/register", service("web"))
    for path in ("nodes", "services", "service/web", "node/n1"):
        assert api.get(f"/v1/catalog/{path}") is api.get(f"/v1/catalog/{path}"), path
    before = api.get("/v1/catalog/services")
    api.put("/v1/catalog/register", service("db"))
    assert api.get("/v1/catalog/services") is not before
    assert api.json("/v1/catalog/services") == {"db": [], "web": []}


# Who may

READS = ("nodes", "services", "service/web", "connect/db", "node/n1", "node-services/n1")
NOTHING: dict[str, Any] = {
    "nodes": [], "services": {}, "service/web": [], "connect/db": [], "node/n1": None,
    "node-services/n1": {"Node": None, "Services": []},
}  # fmt: skip


@pytest.fixture
def guarded() -> StateApi:
    api = StateApi()
    api.put("/v1/catalog/register", service("web"))
    api.put("/v1/catalog/register", service("db", Connect={"Native": True}))
    api.tokens = {"": Grants(), "all": ALLOW_ALL, "read": Grants.of("node:*:read", "service:*:read"),
                  "node": Grants.of("node:*:read"), "web": Grants.of("node:n1:read", "service:web:read")}  # fmt: skip
    return api


@pytest.mark.parametrize("path", READS)
def test_who_may_read_nothing_sees_empty_lists_and_who_may_sees_all(guarded: StateApi, path: str) -> None:
    assert guarded.json(f"/v1/catalog/{path}") == NOTHING[path]
    assert guarded.json(f"/v1/catalog/{path}", token="read") == guarded.json(
        f"/v1/catalog/{path}", token="all"
    )
    assert guarded.json(f"/v1/catalog/{path}", token="all") != NOTHING[path]
    refused = guarded.get(f"/v1/catalog/{path}", token="wrong")
    assert (refused.status, refused.body) == (403, b"ACL not found")


def test_a_list_leaves_out_what_may_not_be_read(guarded: StateApi) -> None:
    assert guarded.json("/v1/catalog/services", token="web") == {"web": []}
    assert list(guarded.json("/v1/catalog/node/n1", token="web")["Services"]) == ["web"]
    assert guarded.json("/v1/catalog/connect/db", token="web") == []
    assert guarded.json("/v1/catalog/node/n1", token="node")["Services"] == {}
    assert guarded.json("/v1/catalog/service/web", token="node") == []
