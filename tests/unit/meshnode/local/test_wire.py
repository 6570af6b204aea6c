"""Replies of servers: Consul's structs are read, nulls included, and anything else is refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import RemoteProtocolError
from meshnode.catalog.model import PASSING, Check, CheckDefinition, Service, Weights
from meshnode.catalog.store import Registration
from meshnode.catalog.wire import check_fields, node_fields, service_fields
from meshnode.control.endpoints.registration import parse_registration
from meshnode.local.wire import parse_node_checks, parse_node_services, registration
from tests.support.local_catalog import NODE

SERVICE = Service(
    "web", "web1", tags=("a",), address="10.0.0.9", port=80, meta={"k": "v"}, weights=Weights(3, 2),
    enable_tag_override=True, native=True, managed_proxy={"ExecMode": "daemon", "Command": ["x"], "Config": {"a": 1}},
    proxy={"DestinationServiceName": "db"}, proxy_destination="db",
)  # fmt: skip
CHECK = Check(NODE.name, "c", "C", PASSING, "notes", "output", "web1", "web", ("a",))


def test_a_service_is_the_same_after_the_way_to_the_catalog_and_back() -> None:
    body = registration(NODE, SERVICE, (CHECK,), "secret", skip_node_update=True)
    assert body["Token"] == "secret"
    assert parse_registration(body) == Registration(NODE, SERVICE, (CHECK,), skip_node_update=True)
    reply = {"NodeServices": {"Node": node_fields(NODE), "Services": {"web1": service_fields(SERVICE)}}}
    node, (service,) = parse_node_services(reply)
    assert node is not None
    assert node.same_as(NODE)
    assert service.same_as(SERVICE)
    assert parse_node_checks({"HealthChecks": [check_fields(CHECK)]}) == [CHECK]


def test_how_a_check_is_run_stays_with_the_agent() -> None:
    check = replace(CHECK, definition=CheckDefinition(http="http://127.0.0.1/?key=secret"))
    (told,) = registration(NODE, None, (check,), "", skip_node_update=False)["Checks"]
    assert told == {**check_fields(CHECK), "Definition": {}}


@pytest.mark.parametrize(
    "reply", [{}, {"NodeServices": None}, {"NodeServices": {"Node": None, "Services": {}}}]
)
def test_a_node_that_the_catalog_does_not_have_is_none(reply: Any) -> None:
    assert parse_node_services(reply) == (None, [])


def test_gos_nulls_and_numbers_are_read() -> None:
    service = {"ID": "w", "Service": "w", "Tags": None, "Meta": None, "Weights": None,
               "Connect": {"Native": False, "Proxy": {"ExecMode": 2, "Command": None, "Config": None}},
               "Proxy": {"DestinationServiceName": "", "Config": None, "Upstreams": None}}  # fmt: skip
    reply = {"NodeServices": {"Node": {"Node": "n", "TaggedAddresses": None}, "Services": {"w": service}}}
    _, (found,) = parse_node_services(reply)
    assert found == Service("w", "w", managed_proxy={"ExecMode": "script"})
    (check,) = parse_node_checks({"HealthChecks": [
        {"Node": "n", "CheckID": "c", "Status": "passing", "ServiceTags": None,
         "Definition": {"HTTP": "http://x", "Interval": 10_000_000_000, "Header": {"A": ["b"]}}},
    ]})  # fmt: skip
    assert check.definition == CheckDefinition(http="http://x", interval=10.0, header={"A": ("b",)})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (None, "it is a NoneType"),
        ({"NodeServices": []}, "NodeServices: expected object, got list"),
        ({"NodeServices": {"Node": {"Node": 1}}}, "NodeServices.Node.Node: expected string, got number"),
        (
            {"NodeServices": {"Node": {}, "Services": {"a": {"Port": "x"}}}},
            "NodeServices.Services.a.Port: expected",
        ),
    ],
)
def test_an_answer_of_another_shape_is_refused_by_name(reply: Any, reason: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_node_services(reply)
    assert str(caught.value).startswith(f"the server's answer can't be read: {reason}")


def test_a_check_with_a_status_that_there_is_not_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match=r"HealthChecks\[0\]\.Status: is none of passing"):
        parse_node_checks({"HealthChecks": [{"CheckID": "c", "Status": "good"}]})


KEYS = st.sampled_from(["NodeServices", "HealthChecks", "Node", "Services", "Status", "Port", "Connect", "Proxy",
                        "Config", "ExecMode", "Weights", "Definition"])  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "passing"])
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES) | VALUES)
def test_any_answer_is_read_or_refused_as_the_peers_mistake(reply: Any) -> None:
    for parse in (parse_node_services, parse_node_checks):
        try:
            found = parse(reply)
        except RemoteProtocolError as error:
            found = [str(error)]
        assert isinstance(found, tuple | list)
