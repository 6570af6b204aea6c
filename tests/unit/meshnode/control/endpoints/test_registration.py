"""Registrations: bodies of Consul's structs as values, and the table of who may ask for them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, PermissionDeniedError
from meshnode.catalog.model import Check, CheckDefinition, Node, Service, Weights
from meshnode.catalog.store import Registration
from meshnode.control.command import Register
from meshnode.control.endpoints.registration import (
    MAX_CONFIG_DEPTH,
    config_fault,
    duration,
    parse_check,
    parse_registration,
    parse_service,
    vet_deregistration,
    vet_registration,
)
from meshnode.control.machine import StateMachine
from meshnode.rpc.method import RpcError
from tests.support.state_api import Grants

ID1, ID2 = "40e4a748-2192-161a-0510-9bf59fe950b5", "8f246b77-f3e1-ff88-5b48-8ec93abf3e05"


def test_a_whole_body_becomes_a_whole_registration() -> None:
    body = {
        "Datacenter": "dc1", "ID": ID1, "Node": "n1", "Address": "10.0.0.1", "TaggedAddresses": {"lan": "a"},
        "NodeMeta": {"k": "v"}, "SkipNodeUpdate": True,
        "Service": {"Service": "web", "Tags": ["t"], "Weights": {"Passing": 3, "Warning": 0}},
        "Checks": [{"Name": "one"}], "Check": {"CheckID": "two", "Name": "Two", "Status": "passing"},
    }  # fmt: skip
    assert parse_registration(body) == Registration(
        Node("n1", "10.0.0.1", ID1, "dc1", {"lan": "a"}, {"k": "v"}),
        Service("web", "web", tags=("t",), weights=Weights(3, 0)),
        (Check("n1", "one", "one"), Check("n1", "two", "Two", "passing")),
        skip_node_update=True,
    )


def test_nil_is_as_good_as_missing() -> None:
    body = {
        "Node": "n1",
        "Service": None,
        "Check": None,
        "Checks": None,
        "NodeMeta": None,
        "SkipNodeUpdate": None,
    }
    assert parse_registration(body) == Registration(Node("n1"))


def test_a_proxy_keeps_the_fields_that_there_are_and_no_others() -> None:
    upstream = {"DestinationName": "db", "LocalBindPort": 9191, "Config": {"x": 1}, "Value": "y"}
    proxy = {
        "DestinationServiceName": "web",
        "Upstreams": [upstream],
        "Value": "y",
        "LocalServiceAddress": "",
    }
    service = parse_service({"Service": "p", "Kind": "connect-proxy", "Proxy": proxy})
    assert service.proxy_destination == "web"
    assert service.proxy == {
        "DestinationServiceName": "web",
        "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191, "Config": {"x": 1}}],
    }
    older = parse_service(
        {"Service": "p", "ProxyDestination": "db", "Connect": {"Native": True, "Proxy": {}}}
    )
    assert (older.proxy, older.proxy_destination, older.native, older.managed_proxy) == (None, "db", True, {})


def test_the_definition_of_a_check_has_its_durations_in_seconds() -> None:
    definition = {"HTTP": "h", "TLSSkipVerify": True, "Header": {"A": ["b", "c"]}, "Method": "m", "TCP": "t",
                  "Interval": 1_500_000_000, "Timeout": "10s", "DeregisterCriticalServiceAfter": b"1m"}  # fmt: skip
    check = parse_check(
        {"Node": "n1", "CheckID": "c", "Notes": "n", "ServiceID": "s", "Definition": definition}
    )
    assert check.definition == CheckDefinition("h", True, {"A": ("b", "c")}, "m", "t", 1.5, 10.0, 60.0)
    assert (check.status, check.notes, check.service_id) == ("critical", "n", "s")


@pytest.mark.parametrize("wrong", ["soon", True, [], 1.5])
def test_a_duration_that_is_none_names_its_field(wrong: Any) -> None:
    with pytest.raises(RpcError, match=r"^Interval"):
        duration({"Interval": wrong}, "Interval")


@pytest.mark.parametrize(
    ("body", "named"),
    [({"Node": 1}, "Node"), ({"Node": "n", "Service": 1}, "Service"), ({"Node": "n", "Checks": [1]}, "Checks"),
     ({"Node": "n", "NodeMeta": {"a": 1}}, "NodeMeta"), ({"Node": b"\xff"}, "Node is not UTF-8"),
     ({"Node": "n", "Service": {"Port": "1"}}, "Port"), ({"Node": "n", "Service": {"Tags": "a"}}, "Tags"),
     ({"Node": "n", "Check": {"Definition": {"Header": {"A": "b"}}}}, "A must be a list")],
)  # fmt: skip
def test_a_body_of_another_shape_is_refused_with_the_field(body: Any, named: str) -> None:
    with pytest.raises(RpcError, match=rf"^{named}"):
        parse_registration(body)


@pytest.mark.parametrize(
    ("config", "fault"),
    [({}, ""), ({"a": [1, -(2**63), 2**64 - 1, 0.5, None, True, "x", {"b": []}]}, ""),
     ({"a": [{"b": math.inf}]}, "holds a number that is too large"), ({"a": math.nan}, "holds a number that is too"),
     ({"a": 2**64}, "holds a whole number of more than 64 bits"), ({"a": -(2**63) - 1}, "holds a whole number of"),
     ({"a": b"x"}, "holds what JSON doesn't have")],
)  # fmt: skip
def test_the_configuration_of_a_proxy_must_be_fit_for_json(config: dict[str, Any], fault: str) -> None:
    assert config_fault(config).startswith(fault)
    assert bool(config_fault(config)) == bool(fault)
    for fields in ({"Proxy": {"Config": config}}, {"Proxy": {"Upstreams": [{"Config": config}]}},
                   {"Connect": {"Proxy": {"Config": config}}}):  # fmt: skip
        if fault:
            with pytest.raises(RpcError, match=rf"^Config {fault}"):
                parse_service({"Service": "p", **fields})
        else:
            assert parse_service({"Service": "p", **fields}).name == "p"


def test_the_configuration_of_a_proxy_is_nested_so_deep_and_no_deeper() -> None:
    config: dict[str, Any] = {}
    for _ in range(MAX_CONFIG_DEPTH):
        config = {"a": config}
    assert config_fault(config) == ""
    assert config_fault({"a": config}) == "is nested more than 32 deep"


# Who may


def state() -> StateMachine:
    machine = StateMachine()
    web, db = Service("web", "w1"), Service("db", "d1")
    checks = (Check("n1", "node-check"), Check("n1", "web-check", service_id="w1"))
    machine.apply(1, Register(Registration(Node("n1", "10.0.0.1", ID1), web, checks), 0.0))
    machine.apply(2, Register(Registration(Node("n1", "10.0.0.1", ID1), db), 0.0))
    machine.apply(3, Register(Registration(Node("n2", "10.0.0.2", ID2)), 0.0))
    return machine


SAME: dict[str, Any] = {"Node": "n1", "Address": "10.0.0.1"}
#: What is registered -> the rights that it takes, all of them.
REGISTER: list[tuple[dict[str, Any], list[str]]] = [
    (SAME, []),
    ({**SAME, "ID": ID1}, []),
    ({**SAME, "Node": "N1"}, ["node:N1:write", "node:n1:write"]),
    ({**SAME, "Address": "10.0.0.9"}, ["node:n1:write"]),
    ({**SAME, "NodeMeta": {"a": "b"}}, ["node:n1:write"]),
    ({"Node": "n1", "SkipNodeUpdate": True}, []),
    ({"Node": "n9", "SkipNodeUpdate": True, "Address": "x"}, ["node:n9:write"]),
    ({"Node": "n9", "Address": "x"}, ["node:n9:write"]),
    ({"Node": "n9", "Address": "x", "ID": ID2}, ["node:n9:write", "node:n2:write"]),
    ({**SAME, "ID": ID2}, ["node:n1:write", "node:n2:write"]),
    ({**SAME, "Service": {"Service": "new"}}, ["service:new:write"]),
    ({**SAME, "Service": {"Service": "web", "ID": "w1"}}, ["service:web:write"]),
    ({**SAME, "Service": {"Service": "new", "ID": "W1"}}, ["service:new:write", "service:web:write"]),
    ({**SAME, "Check": {"Name": "c"}}, ["node:n1:write"]),
    ({**SAME, "Check": {"Name": "c", "ServiceID": "w1"}}, ["service:web:write"]),
    ({**SAME, "Check": {"Name": "node-check", "ServiceID": "w1"}}, ["service:web:write", "node:n1:write"]),
    ({**SAME, "Check": {"Name": "web-check", "ServiceID": "d1"}}, ["service:db:write", "service:web:write"]),
    ({**SAME, "Check": {"Name": "web-check"}}, ["service:web:write", "node:n1:write"]),
    ({**SAME, "Service": {"Service": "new"}, "Check": {"Name": "c", "ServiceID": "new"}}, ["service:new:write"]),
    ({**SAME, "Service": {"Service": "new"}, "Check": {"Name": "c", "ServiceID": "d1"}},
     ["service:new:write", "service:db:write"]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "needed"), REGISTER, ids=str)
def test_a_registration_takes_exactly_these_rights(body: dict[str, Any], needed: list[str]) -> None:
    tables, wanted = state().catalog.tables, parse_registration(body)
    vet_registration(tables, wanted, ALLOW_ALL)
    vet_registration(tables, wanted, Grants.of(*needed))
    for missing in needed:
        others = [right for right in needed if right != missing]
        weaker = missing.replace(":write", ":read")
        with pytest.raises(PermissionDeniedError, match="Permission denied: "):
            vet_registration(tables, wanted, Grants.of(*others, weaker))


@pytest.mark.parametrize(
    ("check", "sentence"),
    [({"Name": "c", "Node": "n2"}, "Node 'n2' for check 'c' doesn't match register request node 'n1'"),
     ({"Name": "c", "ServiceID": "gone"}, "Unknown service 'gone' for check 'c'")],
)  # fmt: skip
def test_a_check_that_belongs_nowhere_is_refused(check: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RpcError, match=rf"^{sentence}$"):
        vet_registration(
            state().catalog.tables, parse_registration({**SAME, "Check": check}), Grants.of("node:*:write")
        )


@pytest.mark.parametrize(
    ("target", "rights", "allowed"),
    [
        (("n1", "", ""), [], False),
        (("n1", "", ""), ["service:*:write", "node:n2:write", "node:n1:read"], False),
        (("n1", "", ""), ["node:n1:write"], True),
        (("n1", "w1", ""), ["node:n1:write"], True),
        (("n1", "W1", ""), ["service:web:write"], True),
        (("n1", "w1", ""), ["service:w1:write", "service:web:read"], False),
        (("n1", "", "web-check"), ["service:web:write"], True),
        (("n1", "", "web-check"), ["service:db:write"], False),
        (("n1", "", "node-check"), ["service:*:write"], False),
        (("n1", "", "node-check"), ["node:n1:write"], True),
        (("N1", "", ""), ["node:N1:write"], False),
        (("N1", "", "node-check"), ["node:N1:write"], False),
        (("N1", "", "node-check"), ["node:n1:write"], True),
        (("N1", "", ""), ["node:N1:write", "node:n1:write"], True),
    ],
)
def test_a_deregistration_takes_these_rights(
    target: tuple[str, str, str], rights: list[str], allowed: bool
) -> None:
    tables = state().catalog.tables
    vet_deregistration(tables, *target, ALLOW_ALL)
    if allowed:
        vet_deregistration(tables, *target, Grants.of(*rights))
        return
    with pytest.raises(PermissionDeniedError, match="Permission denied: "):
        vet_deregistration(tables, *target, Grants.of(*rights))


@pytest.mark.parametrize("node", ["n1", "nobody"])
def test_what_is_not_there_is_unknown_to_who_may_not_write_the_node(node: str) -> None:
    tables = state().catalog.tables
    with pytest.raises(RpcError, match=r"^Unknown service 'gone'$"):
        vet_deregistration(tables, node, "gone", "", Grants())
    with pytest.raises(RpcError, match=r"^Unknown check 'gone'$"):
        vet_deregistration(tables, node, "", "gone", Grants())
    vet_deregistration(tables, node, "gone", "", Grants.of(f"node:{node}:write"))
