from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.watch.plan import TYPES, parse_plan


@pytest.mark.parametrize(
    ("parameters", "path", "query"),
    [
        ({"type": "key", "key": "a b/c?d"}, "/v1/kv/a%20b/c%3Fd", ()),
        ({"type": "keyprefix", "prefix": "a/"}, "/v1/kv/a/", (("recurse", ""),)),
        ({"type": "services"}, "/v1/catalog/services", ()),
        ({"type": "nodes", "datacenter": "dc2", "stale": True}, "/v1/catalog/nodes", (("dc", "dc2"), ("stale", ""))),
        (
            {"type": "service", "service": "web/x", "tag": "v1", "passingonly": True},
            "/v1/health/service/web%2Fx",
            (("tag", "v1"), ("passing", "1")),
        ),
        ({"type": "service", "service": "web", "passingonly": False}, "/v1/health/service/web", ()),
        ({"type": "checks"}, "/v1/health/state/any", ()),
        ({"type": "checks", "state": "critical"}, "/v1/health/state/critical", ()),
        ({"type": "checks", "service": "web"}, "/v1/health/checks/web", ()),
        ({"type": "event"}, "/v1/event/list", ()),
        ({"type": "event", "name": "deploy", "stale": True}, "/v1/event/list", (("name", "deploy"),)),
        ({"type": "connect_roots"}, "/v1/agent/connect/ca/roots", ()),
        ({"type": "connect_leaf", "service": "web"}, "/v1/agent/connect/ca/leaf/web", ()),
        ({"type": "connect_proxy_config", "proxy_service_id": "p"}, "/v1/agent/connect/proxy/p", ()),
        ({"type": "agent_service", "service_id": "web-1", "token": "t"}, "/v1/agent/service/web-1", ()),
    ],
)  # fmt: skip
def test_what_is_asked(parameters: dict[str, Any], path: str, query: tuple[tuple[str, str], ...]) -> None:
    plan = parse_plan(parameters)
    assert (plan.path, plan.query) == (path, query)


def test_only_proxies_and_services_of_the_agent_are_watched_by_hash() -> None:
    subjects = {"key": "k", "prefix": "p", "service": "s", "proxy_service_id": "x", "service_id": "i"}

    def plan(name: str) -> Any:
        for count in range(len(subjects) + 1):
            for subject in [{}, *({key: value} for key, value in subjects.items())][: count + 1]:
                try:
                    return parse_plan({"type": name, **subject})
                except ConfigError:
                    continue
        raise AssertionError(name)

    assert {name for name in TYPES if plan(name).by_hash} == {"connect_proxy_config", "agent_service"}
    assert {name for name in TYPES if plan(name).missing_is_null} == {"key", "keyprefix"}


@pytest.mark.parametrize(
    ("parameters", "key", "words"),
    [
        ({}, "type", "a watch needs one"),
        ({"type": "servces"}, "type", "did you mean services?"),
        ({"type": 5}, "type", "there is no watch of type 5"),
        ({"type": "key"}, "key", "must specify a single key to watch"),
        ({"type": "keyprefix", "key": "a"}, "prefix", "must specify a single prefix"),
        ({"type": "service"}, "service", "must specify a single service"),
        ({"type": "key", "key": "a", "tag": "x"}, "tag", "does not take it"),
        ({"type": "key", "key": 5}, "key", "5 is not a text"),
        ({"type": "checks", "service": "a", "state": "any"}, "state", "Cannot specify service and state"),
    ],
)
def test_a_fault_names_the_parameter(parameters: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_plan(parameters)
    assert raised.value.key == key
    assert words in str(raised.value)


def test_an_entry_has_the_fields_of_consuls_client_in_their_order() -> None:
    entry = {"LockIndex": 1, "Key": "a", "Flags": 2, "Value": "eA==", "CreateIndex": 3, "ModifyIndex": 4}
    wanted = {
        "Key": "a",
        "CreateIndex": 3,
        "ModifyIndex": 4,
        "LockIndex": 1,
        "Flags": 2,
        "Value": "eA==",
        "Session": "",
    }
    body = json.dumps([entry]).encode()
    assert json.dumps(parse_plan({"type": "key", "key": "a"}).payload(body)) == json.dumps(wanted)
    held = json.dumps([entry | {"Session": "s"}]).encode()
    assert parse_plan({"type": "keyprefix", "prefix": "a"}).payload(held) == [wanted | {"Session": "s"}]
    assert parse_plan({"type": "key", "key": "a"}).payload(b"", missing=True) is None


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_any_body_is_a_payload_or_an_error(body: bytes) -> None:
    for parameters in ({"type": "key", "key": "a"}, {"type": "keyprefix", "prefix": "a"}, {"type": "nodes"}):
        plan = parse_plan(parameters)
        try:
            payload = plan.payload(body)
        except RemoteProtocolError:
            continue
        # Only nodes are handed on as they come; an entry of that shape is not among what is drawn here.
        assert plan.type == "nodes" or payload == []
