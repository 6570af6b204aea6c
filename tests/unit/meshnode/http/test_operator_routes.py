"""``/v1/operator/keyring`` and ``/v1/status``."""

from __future__ import annotations

import json

import pytest

from meshnode.http.effects import KeyOperation, KeyVerb, ReadServer
from meshnode.http.errors import ServerCallError
from meshnode.http.message import Request
from tests.support.http_agent import FakeView, api_of, keyring, run

KEY = "cg8StVXbQJ0gPvMd9o7yrg=="
PATH = "/v1/operator/keyring"


def test_the_list_has_consuls_shape() -> None:
    pools = (keyring(wan=True), keyring(messages={"node2": "odd"}))
    response, effects = run(api_of(), Request("GET", PATH, "relay-factor=3&token=t"), pools)
    assert effects == [KeyOperation(KeyVerb.LIST, "", 3, "t")]
    assert json.loads(response.body) == [
        {"WAN": True, "Datacenter": "dc1", "Segment": "", "Keys": {"a2V5": 3}, "NumNodes": 3},
        {"WAN": False, "Datacenter": "dc1", "Segment": "", "Messages": {"node2": "odd"}, "Keys": {"a2V5": 3},
         "NumNodes": 3},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "verb"), [("POST", KeyVerb.INSTALL), ("PUT", KeyVerb.USE), ("DELETE", KeyVerb.REMOVE)]
)
def test_each_method_is_its_operation(method: str, verb: KeyVerb) -> None:
    request = Request(method, PATH, body=json.dumps({"kEy": KEY, "Other": 1}).encode())
    response, effects = run(api_of(), request, (keyring(),))
    assert effects == [KeyOperation(verb, KEY, 0)]
    assert (response.status, response.body) == (200, b"")


def test_a_node_that_failed_is_500_with_its_message() -> None:
    pools = (
        keyring(error="1/3 nodes reported failure", messages={"node2": "not installed"}),
        keyring(wan=True),
    )
    response, _ = run(api_of(), Request("PUT", PATH, body=b'{"Key":"k"}'), pools)
    assert response.status == 500
    text = response.body.decode()
    assert text.startswith("2 errors occurred:")
    assert "dc1 (LAN) error: 1/3 nodes reported failure" in text
    assert "node2: not installed" in text


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_only_a_server_runs_keyring_operations(method: str) -> None:
    response, effects = run(api_of(FakeView(is_server=False)), Request(method, PATH, body=b'{"Key":"k"}'))
    assert (response.status, effects) == (500, [])
    assert response.body == b"keyring operations must run against a server node"


@pytest.mark.parametrize(
    ("query", "wan"), [("pool=wan", True), ("pool=lan", False), ("pool=", None), ("", None)]
)
@pytest.mark.parametrize(("method", "verb"), [("GET", KeyVerb.LIST), ("PUT", KeyVerb.USE)])
def test_one_pool_can_be_meant_and_without_it_both_are(
    method: str, verb: KeyVerb, query: str, wan: bool | None
) -> None:
    body = b"" if method == "GET" else b'{"Key":"k"}'
    response, effects = run(api_of(), Request(method, PATH, query, body=body), (keyring(wan=bool(wan)),))
    assert response.status == 200
    assert effects == [KeyOperation(verb, "" if method == "GET" else "k", 0, wan=wan)]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_a_pool_that_is_none_changes_nothing(method: str) -> None:
    response, effects = run(api_of(), Request(method, PATH, "pool=dc2", body=b'{"Key":"k"}'))
    assert (response.status, effects) == (400, [])
    assert (
        response.body
        == b"Invalid pool: 'dc2' is not a gossip pool: write lan or wan, or leave it out for both"
    )


@pytest.mark.parametrize("factor", ["6", "-1", "x", "1.0", "9" * 5000])
def test_a_relay_factor_is_from_0_to_5(factor: str) -> None:
    response, effects = run(api_of(), Request("GET", PATH, f"relay-factor={factor}"))
    assert (response.status, effects) == (400, [])


@pytest.mark.parametrize(
    "body", [b"", b"secret", b"[]", b"{}", b'{"Key":""}', b'{"Key":5}', b'{"Key":"a","key":"b"}', b"[" * 9999]
)
def test_a_body_without_a_key_is_refused_and_not_repeated(body: bytes) -> None:
    response, effects = run(api_of(), Request("PUT", PATH, body=body))
    assert (response.status, effects) == (400, [])
    assert b"secret" not in response.body


def test_a_server_tells_leader_and_peers_from_memory() -> None:
    for path, body in (("leader", b'"10.0.0.1:8300"'), ("peers", b'["10.0.0.1:8300"]')):
        response, effects = run(api_of(), Request("GET", f"/v1/status/{path}"))
        assert (response.body, effects) == (body, [])
    view = FakeView(leader_address="")
    assert run(api_of(view), Request("GET", "/v1/status/leader"))[0].body == b'""'


def test_a_client_and_another_datacenter_ask_a_server() -> None:
    response, effects = run(
        api_of(FakeView(is_server=False)), Request("GET", "/v1/status/leader"), "10.0.0.3:8300"
    )
    assert (response.body, effects) == (b'"10.0.0.3:8300"', [ReadServer("Status.Leader", {})])
    response, effects = run(api_of(), Request("GET", "/v1/status/peers", "dc=dc2"), None)
    assert (response.body, effects) == (b"[]", [ReadServer("Status.Peers", {}, "dc2")])


def test_a_failed_call_has_consuls_prefix() -> None:
    view = FakeView(is_server=False)
    response, _ = run(api_of(view), Request("GET", "/v1/status/leader"), ServerCallError("No cluster leader"))
    assert (response.status, response.body) == (500, b"rpc error making call: No cluster leader")
