"""``Catalog.*`` and ``Health.*`` as other servers and agents call them."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.catalog.model import Check, Node, Service
from meshnode.catalog.store import Registration
from meshnode.config_entries.store import CONFIG_ENTRIES
from meshnode.control import watch
from meshnode.control.command import Deregister, Register
from meshnode.control.endpoints.table import METHODS
from meshnode.control.machine import StateMachine
from meshnode.control.method import Moment, ReadMethod, WriteMethod
from meshnode.rpc.method import RpcError

NOW = Moment(7.0, lambda: "id")


def read(state: StateMachine, name: str, body: dict[str, Any]) -> dict[str, Any]:
    method = METHODS[name]
    assert isinstance(method, ReadMethod)
    return method.read(state, body, ALLOW_ALL)[1]


def watches(name: str, body: dict[str, Any]) -> set[tuple[str, ...]]:
    method = METHODS[name]
    assert isinstance(method, ReadMethod)
    return set(method.watches(body))


def state() -> StateMachine:
    machine = StateMachine()
    service = Service("web", "w", tags=("A", "b"), native=True)
    machine.apply(1, Register(Registration(Node("n1", "10.0.0.1"), service, (Check("n1", "c"),)), 0.0))
    return machine


@pytest.mark.parametrize(
    ("fields", "found"),
    [({}, True), ({"ServiceTag": "x"}, True), ({"TagFilter": True}, True),
     ({"TagFilter": True, "ServiceTag": "a"}, True), ({"TagFilter": True, "ServiceTag": "x"}, False),
     ({"TagFilter": True, "ServiceTags": ["B", "a"]}, True), ({"TagFilter": True, "ServiceTags": ["a", "x"]}, False),
     ({"TagFilter": True, "ServiceTag": "x", "ServiceTags": ["a"]}, True), ({"Connect": True}, True),
     ({"NodeMetaFilters": {"a": "b"}}, False)],
)  # fmt: skip
def test_tags_count_when_the_filter_is_on(fields: dict[str, Any], found: bool) -> None:
    body = {"ServiceName": "web", **fields}
    assert bool(read(state(), "Catalog.ServiceNodes", body)["ServiceNodes"]) == found
    assert bool(read(state(), "Health.ServiceNodes", body)["Nodes"]) == found


@pytest.mark.parametrize(
    ("name", "field"),
    [("Catalog.ServiceNodes", "service name"), ("Health.ServiceNodes", "service name"),
     ("Health.ServiceChecks", "service name"), ("Catalog.NodeServices", "node"), ("Health.NodeChecks", "node"),
     ("Internal.NodeInfo", "node")],
)  # fmt: skip
def test_a_read_of_nothing_is_refused_before_it_waits(name: str, field: str) -> None:
    with pytest.raises(RpcError, match=rf"^Must provide {field}$"):
        read(state(), name, {})
    with pytest.raises(RpcError, match=rf"^Must provide {field}$"):
        watches(name, {})


@pytest.mark.parametrize(
    ("name", "body", "keys"),
    [
        ("Catalog.ListNodes", {}, {watch.NODES}),
        ("Catalog.ListServices", {}, {watch.SERVICES}),
        ("Catalog.ListServices", {"NodeMetaFilters": {"a": "b"}}, {watch.SERVICES, watch.NODES}),
        ("Catalog.ServiceNodes", {"ServiceName": "Web"}, {watch.service("web")}),
        (
            "Health.ServiceNodes",
            {"ServiceName": "web", "Connect": True},
            {watch.connect("web"), CONFIG_ENTRIES, watch.GATEWAYS},
        ),
        ("Catalog.NodeServices", {"Node": "web-1"}, {watch.node("web-1")}),
        ("Catalog.NodeServices", {"Node": "40e4a748"}, {watch.node("40e4a748"), watch.NODES, watch.SERVICES}),
        ("Health.ChecksInState", {"State": "any"}, {watch.check_state("any")}),
    ],
)
def test_a_read_waits_for_what_it_shows(name: str, body: dict[str, Any], keys: set[tuple[str, ...]]) -> None:
    assert watches(name, body) == keys


def test_a_write_carries_the_leaders_time() -> None:
    register, deregister = METHODS["Catalog.Register"], METHODS["Catalog.Deregister"]
    assert isinstance(register, WriteMethod)
    assert isinstance(deregister, WriteMethod)
    command = register.plan(state(), {"Node": "n2", "Address": "a"}, ALLOW_ALL, NOW)
    assert command == Register(Registration(Node("n2", "a")), 7.0)
    command = deregister.plan(state(), {"Node": "n1", "ServiceID": "w", "CheckID": "c"}, ALLOW_ALL, NOW)
    assert command == Deregister("n1", "w", "c", 7.0)
    assert register.reply(state(), True) == {}
    with pytest.raises(RpcError, match=r"^Must provide node$"):
        deregister.plan(state(), {}, ALLOW_ALL, NOW)
