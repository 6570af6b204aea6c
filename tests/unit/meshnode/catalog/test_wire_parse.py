"""Consul's structs as values: what ``wire`` writes is read the same, and anything else is refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.base.json_fields import JsonFields
from meshnode.catalog.model import (
    STATES,
    Check,
    CheckDefinition,
    Instance,
    Node,
    Service,
    ServiceAddress,
    Weights,
)
from meshnode.catalog.store import Registration
from meshnode.catalog.wire import instance_fields, registration_fields
from meshnode.catalog.wire_parse import (
    MAX_CONFIG_DEPTH,
    ReplyFields,
    config_fault,
    parse_check,
    parse_instance,
    parse_registration,
    parse_service,
)

ID1 = "40e4a748-2192-161a-0510-9bf59fe950b5"

_text = st.text(max_size=5)
_word = st.text(min_size=1, max_size=5)
_maps = st.dictionaries(_text, _text, max_size=3)
_tags = st.lists(_text, max_size=3).map(tuple)
#: Whole milliseconds: a float of seconds is exact to the nanosecond only while it is small.
_seconds = st.integers(0, 10**9).map(lambda number: number / 1000)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_text, inner, max_size=2),
    max_leaves=5,
)
_config = st.dictionaries(_text, _json, min_size=1, max_size=2)


def _struct(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


_upstream = _struct(
    DestinationType=_word,
    DestinationName=_word,
    Datacenter=_word,
    LocalBindPort=st.integers(1, 65535),
    Config=_config,
)
_proxy = _struct(
    DestinationServiceID=_word, LocalServiceAddress=_word, LocalServicePort=st.integers(1, 65535), Config=_config,
    Upstreams=st.lists(_upstream, min_size=1, max_size=2),
).flatmap(lambda rest: _word.map(lambda name: {"DestinationServiceName": name, **rest}))  # fmt: skip
_nodes = st.builds(Node, _word, _text, _text, _text, _maps, _maps)
_services = st.builds(
    Service, name=_word, id=_word, kind=_text, tags=_tags, address=_text, port=st.integers(), meta=_maps,
    weights=st.builds(Weights, st.integers(0, 9), st.integers(0, 9)), enable_tag_override=st.booleans(),
    proxy_destination=_word, native=st.booleans(), proxy=st.none() | _proxy,
    managed_proxy=st.none() | _struct(Command=st.lists(_text, min_size=1), ExecMode=_word, Config=_config),
    tagged_addresses=st.dictionaries(_text, st.builds(ServiceAddress, _text, st.integers(0, 65535)), max_size=2),
    socket_path=_text,
).filter(lambda service: abs(service.port) < 2**63)  # fmt: skip
_definitions = st.builds(
    CheckDefinition, _text, st.booleans(), st.dictionaries(_text, _tags, max_size=2), _text, _text, _seconds,
    _seconds, _seconds,
)  # fmt: skip
_checks = st.builds(
    Check, _word, _word, _text, st.sampled_from(STATES), _text, _text, _text, _text, _tags, _definitions
)


@given(
    st.builds(
        Registration, _nodes, st.none() | _services, st.lists(_checks, max_size=2).map(tuple), st.booleans()
    )
)
def test_a_registration_is_read_as_it_was_written(wanted: Registration) -> None:
    assert parse_registration(JsonFields(registration_fields(wanted))) == wanted


@given(st.builds(Instance, _nodes, _services, st.lists(_checks, max_size=2).map(tuple)))
def test_an_instance_is_read_as_it_was_written(instance: Instance) -> None:
    assert parse_instance(ReplyFields.of(instance_fields(instance))) == instance


def test_a_whole_body_becomes_a_whole_registration() -> None:
    body = {
        "Datacenter": "dc1", "ID": ID1, "Node": "n1", "Address": "10.0.0.1", "TaggedAddresses": {"lan": "a"},
        "NodeMeta": {"k": "v"}, "SkipNodeUpdate": True,
        "Service": {"Service": "web", "Tags": ["t"], "Weights": {"Passing": 3, "Warning": 0}},
        "Checks": [{"Name": "one"}], "Check": {"CheckID": "two", "Name": "Two", "Status": "passing"},
    }  # fmt: skip
    assert parse_registration(JsonFields(body)) == Registration(
        Node("n1", "10.0.0.1", ID1, "dc1", {"lan": "a"}, {"k": "v"}),
        Service("web", "web", tags=("t",), weights=Weights(3, 0)),
        (Check("n1", "one", "one"), Check("n1", "two", "Two", "passing")),
        skip_node_update=True,
    )


def test_null_is_as_good_as_missing() -> None:
    empty = dict.fromkeys(("Service", "Check", "Checks", "NodeMeta", "TaggedAddresses", "SkipNodeUpdate"))
    assert parse_registration(JsonFields({"Node": "n1", **empty})) == Registration(Node("n1"))


def test_a_proxy_keeps_the_fields_that_there_are_and_no_others() -> None:
    upstream = {"DestinationName": "db", "LocalBindPort": 9191, "Config": {"x": 1}, "Value": "y"}
    proxy = {
        "DestinationServiceName": "web",
        "Upstreams": [upstream],
        "Value": "y",
        "LocalServiceAddress": "",
    }
    service = parse_service(JsonFields({"Service": "p", "Kind": "connect-proxy", "Proxy": proxy}))
    assert service.proxy_destination == "web"
    assert service.proxy == {
        "DestinationServiceName": "web",
        "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191, "Config": {"x": 1}}],
    }


@pytest.mark.parametrize(
    "proxy", [None, {}, {"DestinationServiceName": "", "Config": None, "Upstreams": None}, {"Value": "y"}]
)
def test_a_proxy_in_which_nothing_is_set_is_none(proxy: Any) -> None:
    assert parse_service(JsonFields({"Service": "p", "Proxy": proxy})).proxy is None


def test_a_managed_proxy_in_which_nothing_is_set_is_one_with_the_defaults() -> None:
    body = {"Service": "p", "ProxyDestination": "db", "Connect": {"Native": True, "Proxy": {}}}
    service = parse_service(JsonFields(body))
    assert (service.proxy_destination, service.native, service.managed_proxy) == ("db", True, {})


def test_the_definition_of_a_check_has_its_durations_in_seconds() -> None:
    definition = {"HTTP": "h", "TLSSkipVerify": True, "Header": {"A": ["b", "c"]}, "Method": "m", "TCP": "t",
                  "Interval": 1_500_000_000, "Timeout": "10s", "DeregisterCriticalServiceAfter": "1m"}  # fmt: skip
    check = parse_check(JsonFields({"Node": "n1", "CheckID": "c", "Notes": "n", "Definition": definition}))
    assert check.definition == CheckDefinition("h", True, {"A": ("b", "c")}, "m", "t", 1.5, 10.0, 60.0)
    assert (check.status, check.notes) == ("critical", "n")


@pytest.mark.parametrize(
    ("body", "named"),
    [({"Node": 1}, "Node"), ({"Node": "n", "Service": 1}, "Service"), ({"Node": "n", "Checks": [1]}, "Checks[0]"),
     ({"Node": "n", "NodeMeta": {"a": 1}}, "NodeMeta[a]"), ({"Node": b"n"}, "Node"),
     ({"Node": "n", "Service": {"Port": "1"}}, "Service.Port"), ({"Service": {"Tags": "a"}}, "Service.Tags"),
     ({"Service": {"Connect": {"Proxy": {"ExecMode": 1}}}}, "Service.Connect.Proxy.ExecMode"),
     ({"Check": {"Definition": {"Header": {"A": "b"}}}}, "Check.Definition.Header.A")],
)  # fmt: skip
def test_a_body_of_another_shape_is_refused_with_the_field(body: Any, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_registration(JsonFields(body))
    assert str(caught.value).startswith(f"{named}: expected ")


@pytest.mark.parametrize(
    ("number", "mode"), [(0, {}), (1, {"ExecMode": "daemon"}), (2, {"ExecMode": "script"}), (9, {})]
)
def test_an_answer_has_the_mode_of_a_managed_proxy_as_gos_number(number: int, mode: dict[str, str]) -> None:
    service = parse_service(ReplyFields.of({"Connect": {"Proxy": {"ExecMode": number}}}))
    assert service.managed_proxy == mode


@pytest.mark.parametrize("reply", [None, [], "x", 1])
def test_an_answer_that_is_no_object_is_the_servers_mistake(reply: Any) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^the server's answer can't be read: it is a"):
        ReplyFields.of(reply)


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
    for where, fields in (("Proxy", {"Proxy": {"Config": config}}),
                          ("Proxy.Upstreams[0]", {"Proxy": {"Upstreams": [{"Config": config}]}}),
                          ("Connect.Proxy", {"Connect": {"Proxy": {"Config": config}}})):  # fmt: skip
        if fault:
            with pytest.raises(ConfigError) as caught:
                parse_service(JsonFields({"Service": "p", **fields}))
            assert str(caught.value).startswith(f"{where}.Config: {fault}")
        else:
            assert parse_service(JsonFields({"Service": "p", **fields})).name == "p"


def test_the_configuration_of_a_proxy_is_nested_so_deep_and_no_deeper() -> None:
    config: dict[str, Any] = {}
    for _ in range(MAX_CONFIG_DEPTH):
        config = {"a": config}
    assert config_fault(config) == ""
    assert config_fault({"a": config}) == "is nested more than 32 deep"
