"""``/v1/config`` and ``/v1/discovery-chain`` on a state in memory: shapes, statuses, conditions, blocking."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from meshnode.connect.model import CaState
from meshnode.connect.settings import parse_ca_settings
from meshnode.control.command import ConnectCaSet
from tests.support.state_api import Grants, StateApi, json_of

BASE = "/v1/config"
HTTP = {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}


@pytest.fixture(params=[False, True], ids=["server", "client"])
def api(request: pytest.FixtureRequest) -> StateApi:
    return StateApi(client=request.param)


def test_an_entry_is_written_read_listed_and_deleted(api: StateApi) -> None:
    assert api.json(f"{BASE}/service-defaults") == []
    assert api.put(BASE, HTTP).body == b"true"
    expected = {**HTTP, "CreateIndex": 1, "ModifyIndex": 1}
    assert api.json(f"{BASE}/service-defaults/web") == expected
    assert api.json(f"{BASE}/service-defaults") == [expected]
    assert json_of(api.delete(f"{BASE}/service-defaults/web")) == {}
    assert json_of(api.delete(f"{BASE}/service-defaults/web")) == {}
    gone = api.get(f"{BASE}/service-defaults/web")
    assert (gone.status, gone.body) == (404, b'Config entry not found for "service-defaults" / "web"')
    assert dict(gone.headers)["X-Consul-Index"] == "2"


def test_a_list_may_be_filtered(api: StateApi) -> None:
    for name, protocol in (("web", "http"), ("api", "grpc")):
        api.put(BASE, {**HTTP, "Name": name, "Protocol": protocol, "Meta": {"team": name}})
    for expression in ("Protocol == grpc", "Name != web", "Meta.team == api", "ModifyIndex == 2"):
        found = api.json(f"{BASE}/service-defaults?filter={quote(expression)}")
        assert [entry["Name"] for entry in found] == ["api"]
    wrong = api.get(f"{BASE}/service-defaults?filter={quote('Protcol == grpc')}")
    assert (wrong.status, b"did you mean Protocol?" in wrong.body) == (400, True)


def test_either_spelling_is_taken_and_consuls_is_given(api: StateApi) -> None:
    body = {
        "kind": "service-resolver",
        "name": "web",
        "connect_timeout": "3s",
        "subsets": {"v1": {"only_passing": True}},
    }
    assert api.put(BASE, body).body == b"true"
    found = api.json(f"{BASE}/service-resolver/web")
    assert (found["ConnectTimeout"], found["Subsets"]) == ("3s", {"v1": {"OnlyPassing": True}})


def test_a_condition_on_the_index_is_true_or_false(api: StateApi) -> None:
    assert api.put(f"{BASE}?cas=5", HTTP).body == b"false"
    assert api.put(f"{BASE}?cas=0", HTTP).body == b"true"
    assert api.put(f"{BASE}?cas=0", HTTP).body == b"false"
    index = api.json(f"{BASE}/service-defaults/web")["ModifyIndex"]
    assert api.put(f"{BASE}?cas={index}", {**HTTP, "Protocol": "grpc"}).body == b"true"
    assert api.delete(f"{BASE}/service-defaults/web?cas={index}").body == b"false"
    assert api.delete(f"{BASE}/service-defaults/web?cas=0").body == b"false"
    index = api.json(f"{BASE}/service-defaults/web")["ModifyIndex"]
    assert api.delete(f"{BASE}/service-defaults/web?cas={index}").body == b"true"
    assert api.json(f"{BASE}/service-defaults") == []


@pytest.mark.parametrize("value", ["", "x", "-1", "1" * 21, str(2**63), "%C2%B2"])
def test_an_index_that_is_none_is_400(api: StateApi, value: str) -> None:
    for response in (
        api.put(f"{BASE}?cas={value}", HTTP),
        api.delete(f"{BASE}/service-defaults/web?cas={value}"),
    ):
        assert response.status == 400
        assert b"Invalid cas" in response.body


@pytest.mark.parametrize(
    ("body", "because"),
    [
        (b"", "Request decode failed: the body is empty, send JSON"),
        (b"[]", "Request decode failed: expected object, got list"),
        (b"{}", "Request decode failed: Kind is required: one of service-defaults, proxy-defaults"),
        (b'{"Kind": "service-split"}', 'Request decode failed: invalid config entry kind "service-split": did you'),
        (b'{"Kind": "service-defaults", "Name": "web", "Protcol": "http"}',
         'Request decode failed: invalid config key "Protcol": did you mean Protocol?'),
        (b'{"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 99}]}',
         "Request decode failed: the sum of all split weights must be 100, not 99"),
        (b'{"Kind": "service-resolver", "Name": "web", "Subsets": {"v1": {"Filter": "Service.Meta.v = 1"}}}',
         "Request decode failed: Subsets[v1].Filter: Invalid filter: character 16 is '='"),
        (b'{"Kind": "service-resolver", "Name": "web", "Subsets": {"v1": {"Filter": "Servce.Meta.v == 1"}}}',
         "Request decode failed: Subsets[v1].Filter: "),
    ],
)  # fmt: skip
def test_a_body_that_is_no_entry_is_400(api: StateApi, body: bytes, because: str) -> None:
    response = api.request("PUT", BASE, body)
    assert response.status == 400
    assert response.body.decode().startswith(because)


def test_an_entry_that_does_not_fit_to_the_others_is_500_with_the_reason(api: StateApi) -> None:
    response = api.put(BASE, {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100}]})
    assert response.status == 500
    assert response.body == (
        b'rpc error making call: discovery chain "web" uses a protocol "tcp" that does not permit advanced routing or '
        b"splitting behavior"
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "because"),
    [
        ("GET", "/", 404, "Must provide either a kind or both kind and name"),
        ("DELETE", "/", 404, "Must provide both a kind and name to delete"),
        ("DELETE", "/service-defaults", 404, "Must provide both a kind and name to delete"),
        (
            "GET",
            "/service-default",
            400,
            'invalid config entry kind "service-default": did you mean service-defaults?',
        ),
        ("GET", "/mesh/mesh", 400, 'config entry kind "mesh" is not supported'),
        ("DELETE", "/x/y", 400, 'invalid config entry kind "x": use one of service-defaults'),
        ("GET", "/service-defaults/web?ns=x", 400, "ns='x': namespaces are of Consul Enterprise"),
    ],
)
def test_a_path_that_names_nothing(api: StateApi, method: str, path: str, status: int, because: str) -> None:
    response = api.request(method, BASE + path)
    assert response.status == status
    assert response.body.decode().startswith(because)


def test_intentions_are_seen_both_ways(api: StateApi) -> None:
    exact = "/v1/connect/intentions/exact?source=web&destination=db"
    assert api.put(exact, {"Action": "allow"}).status == 200
    entry = api.json(f"{BASE}/service-intentions/db")
    assert [(each["Name"], each["Action"]) for each in entry["Sources"]] == [("web", "allow")]
    entry["Sources"].append({"Name": "*", "Action": "deny"})
    assert api.put(f"{BASE}?cas={entry['ModifyIndex']}", entry).body == b"true"
    assert api.json("/v1/connect/intentions/check?source=api&destination=db") == {"Allowed": False}
    assert api.json(exact)["ID"] == entry["Sources"][0]["LegacyID"]
    assert json_of(api.delete(f"{BASE}/service-intentions/db")) == {}
    assert api.json("/v1/connect/intentions") == []


def test_intentions_about_requests_want_a_destination_that_speaks_http(api: StateApi) -> None:
    permissions = [{"Action": "allow", "HTTP": {"PathPrefix": "/v2", "Methods": ["get"]}}]
    entry = {
        "Kind": "service-intentions",
        "Name": "web",
        "Sources": [{"Name": "api", "Permissions": permissions}],
    }
    response = api.put(BASE, entry)
    assert response.status == 500
    assert (
        b'service "web" has protocol "tcp", which is incompatible with L7 intentions permissions'
        in response.body
    )
    assert api.put(BASE, HTTP).body == api.put(BASE, entry).body == b"true"
    assert api.json("/v1/connect/intentions")[0]["Permissions"][0]["HTTP"]["Methods"] == ["GET"]
    assert api.put(BASE, {**HTTP, "Protocol": "tcp"}).status == 500


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (f"{BASE}/service-defaults/web", HTTP),
        (f"{BASE}/service-defaults", HTTP),
        ("/v1/discovery-chain/web", HTTP),
        (f"{BASE}/service-intentions/db",
         {"Kind": "service-intentions", "Name": "db", "Sources": [{"Name": "*", "Action": "deny"}]}),
    ],
)  # fmt: skip
def test_a_read_that_waits_is_woken_by_a_change(api: StateApi, path: str, change: dict[str, Any]) -> None:
    api.put(BASE, {"Kind": "service-resolver", "Name": "other"})
    api.put("/v1/connect/intentions/exact?source=a&destination=b", {"Action": "deny"})
    index = dict(api.get(path).headers)["X-Consul-Index"]
    waiting = api.blocked(f"{path}?index={index}&wait=10s")
    assert not waiting.answer
    api.put(BASE, change)
    assert waiting.answer
    assert waiting.answer.status == 200


def test_a_read_of_one_entry_sleeps_while_another_changes(api: StateApi) -> None:
    api.put(BASE, HTTP)
    waiting = api.blocked(f"{BASE}/service-defaults/web?index=1&wait=10s")
    api.put(BASE, {**HTTP, "Name": "api"})
    assert (waiting.answer, waiting.woken_for_nothing) == (None, 0)
    assert waiting.timed_out().status == 200


def test_who_may_not_see_an_entry_is_told_so_or_sees_none(api: StateApi) -> None:
    api.put(BASE, HTTP)
    api.tokens |= {"": Grants(), "r": Grants.of("service:web:read"), "w": Grants.of("service:web:write")}
    assert api.get(f"{BASE}/service-defaults/web").status == api.get("/v1/discovery-chain/web").status == 403
    assert api.json(f"{BASE}/service-defaults") == []
    assert len(api.json(f"{BASE}/service-defaults", token="r")) == 1
    assert (
        api.put(BASE, HTTP, token="r").status
        == api.delete(f"{BASE}/service-defaults/web", token="r").status
        == 403
    )
    assert api.put(BASE, HTTP, token="w").status == 200
    assert api.put(BASE, {"Kind": "proxy-defaults"}, token="w").status == 403
    assert api.delete(f"{BASE}/service-defaults/web", token="w").status == 200


def test_the_chain_of_a_service(api: StateApi) -> None:
    chain = api.json("/v1/discovery-chain/web")["Chain"]
    assert (chain["ServiceName"], chain["Datacenter"], chain["StartNode"]) == (
        "web",
        "dc1",
        "resolver:web.default.dc1",
    )
    assert (
        api.json("/v1/discovery-chain/web?compile-dc=dc2")["Chain"]["StartNode"] == "resolver:web.default.dc2"
    )
    assert api.get("/v1/discovery-chain/").status == api.get("/v1/discovery-chain/a/b").status == 400


def test_a_chain_that_was_asked_for_before_there_was_a_ca_gets_its_trust_domain(api: StateApi) -> None:
    assert (
        api.json("/v1/discovery-chain/web")["Chain"]["Targets"]["web.default.dc1"]["SNI"] == "web.default.dc1"
    )
    config = parse_ca_settings("consul", {}).config("11111111-2222-3333-4444-555555555555")
    api.apply(ConnectCaSet(CaState(config), 0))
    target = api.json("/v1/discovery-chain/web")["Chain"]["Targets"]["web.default.dc1"]
    assert target["SNI"] == target["Name"] == f"web.default.dc1.internal.{config.trust_domain}"


def test_a_chain_with_overrides(api: StateApi) -> None:
    overrides = {
        "OverrideConnectTimeout": "7s",
        "overrideprotocol": "grpc",
        "OverrideMeshGateway": {"Mode": "remote"},
    }
    chain = json_of(api.post("/v1/discovery-chain/web", overrides))["Chain"]
    assert (chain["Protocol"], chain["Targets"]["web.default.dc1"]["MeshGateway"]) == (
        "grpc",
        {"Mode": "remote"},
    )
    assert chain["Nodes"]["resolver:web.default.dc1"]["Resolver"]["ConnectTimeout"] == "7s"


@pytest.mark.parametrize(
    ("overrides", "because"),
    [
        ({"OverrideProtocol": "udp"}, "OverrideProtocol: use one of tcp, http, http2, grpc"),
        ({"OverrideConnectTimeout": "-1s"}, "OverrideConnectTimeout: must be >= 0"),
        (
            {"OverrideMeshGateway": {"Mode": "far"}},
            "OverrideMeshGateway.Mode: use one of none, local, remote",
        ),
        ({"OverrideMeshGateway": 1}, "OverrideMeshGateway: expected object, got number"),
    ],
)
def test_overrides_that_are_none_are_400(api: StateApi, overrides: dict[str, Any], because: str) -> None:
    response = api.post("/v1/discovery-chain/web", json.loads(json.dumps(overrides)))
    assert (response.status, response.body.decode()) == (400, f"Request decode failed: {because}")
