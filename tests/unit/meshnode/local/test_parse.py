"""Services in both forms: the whole of what Consul takes, and mistakes that are named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.catalog.model import CONNECT_PROXY, ServiceAddress, Weights
from meshnode.catalog.wire_parse import MAX_CONFIG_DEPTH, config_fault
from meshnode.local.check_type import ScriptCheck, TtlCheck
from meshnode.local.definitions import CheckDefinition, ServiceDefinition, definition_fault
from meshnode.local.parse import MAX_CHECKS, configured_check, configured_service, parse_check, parse_service
from meshnode.local.sidecar import sidecar_service
from tests.unit.meshnode.local.parsing import refusal

FULL_SERVICE = """{
  "Kind": "", "ID": "redis1", "Name": "redis", "Tags": ["primary", "v1"], "Address": "127.0.0.1", "Port": 8000,
  "Meta": {"redis_version": "4.0"}, "EnableTagOverride": true, "Weights": {"Passing": 10, "Warning": 2},
  "Token": "secret",
  "Connect": {"Native": true, "Proxy": {"Command": ["p", "-x"], "ExecMode": "script", "Config": {"bind_port": 7}}},
  "Check": {"Args": ["/bin/check", "-n"], "Interval": "10s", "DeregisterCriticalServiceAfter": "90m"},
  "Checks": [{"CheckID": "own", "Name": "mine", "TTL": "15s", "Status": "warning", "Notes": "n", "Token": "t"}]
}"""


def test_a_whole_service_of_the_api_is_read() -> None:
    assert parse_service(json.loads(FULL_SERVICE)) == ServiceDefinition(
        id="redis1",
        name="redis",
        tags=("primary", "v1"),
        address="127.0.0.1",
        port=8000,
        meta={"redis_version": "4.0"},
        weights=Weights(10, 2),
        enable_tag_override=True,
        native=True,
        managed_proxy={"ExecMode": "script", "Command": ["p", "-x"], "Config": {"bind_port": 7}},
        token="secret",
        checks=(
            CheckDefinition(
                "service:redis1:1",
                "Service 'redis' check",
                ScriptCheck(args=("/bin/check", "-n"), interval=10.0),
                service_id="redis1",
                token="secret",
                deregister_critical_service_after=5400.0,
            ),
            CheckDefinition(
                "own", "mine", TtlCheck(ttl=15.0), notes="n", service_id="redis1", token="t", status="warning"
            ),
        ),
    )


def test_the_configured_form_gives_the_same_service_in_either_spelling() -> None:
    snake = {
        "id": "redis1", "name": "redis", "tags": ("primary", "v1"), "address": "127.0.0.1", "port": 8000,
        "meta": {"redis_version": "4.0"}, "enable_tag_override": True, "weights": {"passing": 10, "warning": 2},
        "token": "secret",
        "connect": {"native": True, "proxy": {"command": ("p", "-x"),
                                               "exec_mode": "script", "config": {"bind_port": 7}}},
        "check": {"args": ("/bin/check", "-n"), "interval": 10.0, "deregister_critical_service_after": "90m"},
        "checks": ({"id": "own", "name": "mine", "ttl": "15s", "status": "warning", "notes": "n", "token": "t"},),
    }  # fmt: skip
    wanted = parse_service(json.loads(FULL_SERVICE))
    assert configured_service(snake, "services[0]") == wanted
    assert configured_service(json.loads(FULL_SERVICE), "services[0]") == wanted


def test_a_service_needs_no_more_than_a_name() -> None:
    assert parse_service({"Name": "web"}) == ServiceDefinition(id="web", name="web")
    assert configured_service({"name": "web", "port": -1}, "service") == ServiceDefinition(
        id="web", name="web"
    )


def test_names_are_read_without_regard_to_case_and_null_is_nothing() -> None:
    body = {"name": "web", "iD": "w1", "PORT": 1, "tags": None, "Meta": None, "check": None, "weights": None}
    assert parse_service(body) == ServiceDefinition(id="w1", name="web", port=1)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Name": ""}, "Missing service name"),
        ({"Port": "80"}, "Request decode failed: Port: expected number, got string"),
        ({"Tags": "a"}, "Request decode failed: Tags: expected list, got string"),
        ({"Port": 65536}, "Port: invalid port: 65536: write 0 to 65535"),
        ({"Checks": [{"TTL": "1s"}, {"TTL": 1.5e300}]}, "Request decode failed: Checks[1].TTL: is too long"),
        ({"Check": {"HTTP": "http://x"}}, "Invalid check: Check: Interval must be > 0"),
        ({"Check": {"TTL": "1s", "Status": "?"}}, "Status for checks must 'passing', 'warning', 'critical'"),
        ({"Checks": [{"ID": "a", "TTL": "1s"}, {"ID": "A", "TTL": "1s"}]}, "Checks: two checks have the same ID"),
        ({"Checks": [{"TTL": "1s"}] * (MAX_CHECKS + 1)}, f"Checks: a service has at most {MAX_CHECKS} checks"),
        ({"Connect": {"Proxy": {"ExecMode": "x"}}}, 'Request decode failed: Connect.Proxy.ExecMode: "x" can'),
        ({"Connect": {"Proxy": {"Config": []}}},
         "Request decode failed: Connect.Proxy.Config: expected object, got list"),
        ({"Proxy": {"Upstreams": [{"DestinationName": "db"}]}},
         "Request decode failed: Proxy.Upstreams[0].LocalBindPort: is 0"),
    ],
)  # fmt: skip
def test_a_service_that_makes_no_sense_is_refused_by_name(fields: dict[str, Any], reason: str) -> None:
    assert refusal(parse_service, {"Name": "web", **fields}).startswith(reason)


def test_further_ways_to_a_service_are_read_in_both_forms() -> None:
    ways = {"lan": ServiceAddress("10.0.0.1", 80), "my_wan": ServiceAddress("203.0.113.1")}
    body = {
        "TaggedAddresses": {"lan": {"Address": "10.0.0.1", "Port": 80}, "my_wan": {"address": "203.0.113.1"}}
    }
    wanted = ServiceDefinition("web", "web", tagged_addresses=ways)
    assert parse_service({"Name": "web", **body}) == wanted
    snake = {"lan": {"address": "10.0.0.1", "port": 80}, "my_wan": {"address": "203.0.113.1"}}
    assert configured_service({"name": "web", "tagged_addresses": snake}, "services[0]") == wanted
    assert parse_service({"Name": "web", "SocketPath": "/run/web"}).service().socket_path == "/run/web"
    assert (
        configured_service({"name": "web", "socket_path": "/run/web"}, "services[0]").socket_path
        == "/run/web"
    )


def test_a_service_is_at_a_socket_or_at_an_address() -> None:
    both = parse_service({"Name": "web", "Port": 80, "SocketPath": "/run/web"})
    assert definition_fault(both, "n") == "service web cannot have both socket path /run/web and address/port"


@pytest.mark.parametrize("written", [{}, {"Config": {"handshake_timeout_ms": 5}}])
def test_a_sidecar_reaches_a_service_at_its_socket(written: dict[str, Any]) -> None:
    body = {"Name": "web", "SocketPath": "/run/web", "Connect": {"SidecarService": {"Proxy": written}}}
    proxy = sidecar_service(parse_service(body), 21000).proxy
    assert proxy is not None
    assert proxy["Config"] == {"local_service_address": "unix:/run/web", **written.get("Config", {})}
    assert "LocalServiceAddress" not in proxy


def test_a_sidecar_that_says_where_its_service_is_is_believed() -> None:
    nested = {"Proxy": {"LocalServicePort": 81}}
    body = {"Name": "web", "SocketPath": "/run/web", "Connect": {"SidecarService": nested}}
    proxy = sidecar_service(parse_service(body), 21000).proxy
    assert proxy is not None
    assert (proxy["LocalServiceAddress"], proxy["LocalServicePort"]) == ("127.0.0.1", 81)


def test_unknown_fields_are_passed_over_in_the_api_and_refused_in_configuration() -> None:
    assert parse_service({"Name": "web", "Portt": 1, "Namespace": "x"}).port == 0
    assert refusal(configured_service, {"name": "web", "portt": 1}, "services[1]") == (
        "services[1].portt is not a field of this definition: did you mean port?"
    )
    nested = {"name": "web", "checks": [{"ttl": 1.0, "intervall": 1.0}]}
    assert refusal(configured_service, nested, "services[1]") == (
        "services[1].checks[0].intervall is not a field of this definition: did you mean interval?"
    )
    assert refusal(configured_check, {"name": "c", "tls_skip_verfy": True}, "check").endswith(
        "tls_skip_verify?"
    )
    assert "the fields are id, " in refusal(configured_check, {"name": "c", "frequency": True}, "check")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": "web", "port": "80"}, "services[0].port: expected number, got string"),
        ({"name": "web", "socket_path": 1}, "services[0].socket_path: expected string, got number"),
        (
            {"name": "web", "tagged_addresses": [1]},
            "services[0].tagged_addresses: expected object, got list",
        ),
        (
            {"name": "web", "tagged_addresses": {"wan": "1.2.3.4"}},
            "services[0].tagged_addresses[wan]: expected object, got string: write {",
        ),
        (
            {"name": "web", "tagged_addresses": {"wan": {"address": "x", "prot": 1}}},
            "services[0].tagged_addresses[wan].prot is not a field of this definition: did you mean port?",
        ),
        (
            {"name": "web", "tagged_addresses": {"wan": {"address": "x", "port": 65536}}},
            "services[0].tagged_addresses[wan].port: invalid port: 65536: write 0 to 65535",
        ),
        (
            {"name": "web", "check": {"os_service": "x"}},
            "services[0].check: OSService: services of the operating system are not asked",
        ),
        ({"port": 1}, "services[0]: Missing service name"),
        ({"name": "web", "check": {"http": "http://x"}}, "services[0].check: Interval must be > 0"),
        ({"name": "web", "check": {"ttl": True}}, 'services[0].check.ttl: expected a duration such as "10s"'),
        (
            {"name": "web", "check": {"tcp": "x:1", "interval": 1, "tls_skip_verify": "x"}},
            "services[0].check.tls_skip_verify: expected boolean",
        ),
        (
            {"name": "web", "check": {"docker_container_id": 1}},
            "services[0].check.docker_container_id: expected",
        ),
        ({"name": "web", "meta": {"aB": 1}}, "services[0].meta[aB]: expected string, got number"),
    ],
)
def test_a_mistake_in_configuration_begins_with_its_place(values: dict[str, Any], reason: str) -> None:
    assert refusal(configured_service, values, "services[0]").startswith(reason)


def test_a_proxy_of_later_versions_is_read_with_its_destination() -> None:
    body = {
        "Kind": CONNECT_PROXY, "Name": "web-proxy", "Port": 20000,
        "Proxy": {"DestinationServiceName": "web", "LocalServicePort": 80,
                  "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191}]},
    }  # fmt: skip
    snake = {
        "kind": CONNECT_PROXY, "name": "web-proxy", "port": 20000,
        "proxy": {"destination_service_name": "web", "local_service_port": 80,
                  "upstreams": [{"destination_name": "db", "local_bind_port": 9191}]},
    }  # fmt: skip
    definition = parse_service(body)
    assert configured_service(snake, "service") == definition
    assert definition.proxy_destination == "web"
    assert definition.proxy is not None
    assert definition.proxy["Upstreams"][0]["DestinationType"] == "service"
    assert definition_fault(definition, "n") == ""


@pytest.mark.parametrize("proxy", [{}, {"Config": {}}, {"Upstreams": [], "LocalServicePort": 0}])
def test_a_proxy_of_which_nothing_is_said_is_none(proxy: dict[str, Any]) -> None:
    """The catalog keeps none either: it would be sent again for ever."""
    assert parse_service({"Name": "web", "Proxy": proxy}).proxy is None


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (nested(MAX_CONFIG_DEPTH), ""),
        (nested(MAX_CONFIG_DEPTH + 1), "is nested more than 32 deep"),
        ({"a": [2**64 - 1, -(2**63)]}, ""),
        ({"a": [2**64]}, "holds a whole number of more than 64 bits"),
        ({"a": float("inf")}, "holds a number that is too large"),
    ],
)
def test_a_proxys_config_is_what_servers_take(config: Any, reason: str) -> None:
    body = {"Name": "web", "Connect": {"Proxy": {"Config": config}}}
    if reason:
        assert refusal(parse_service, body) == f"Request decode failed: Connect.Proxy.Config: {reason}"
    else:
        proxy = parse_service(body).managed_proxy
        assert proxy is not None
        assert config_fault(proxy["Config"]) == ""


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Address": "0.0.0.0"}, "Invalid service address"),
        ({"Connect": {"Proxy": {}}}, "Services with a Connect managed proxy must have a port set"),
        (
            {"Port": 80, "Connect": {"Native": True, "Proxy": {}}},
            "Services that are Connect native may not have a",
        ),
        (
            {"Kind": CONNECT_PROXY, "Connect": {"SidecarService": {}}},
            'A service of kind "connect-proxy" cannot have',
        ),
        ({"Kind": "gateway"}, 'Invalid service kind "gateway"'),
        ({"Kind": CONNECT_PROXY}, "ProxyDestination must be non-empty"),
        ({"Weights": {"Passing": 0}}, "Passing must be greater than 0"),
        ({"Meta": {"a b": "c"}}, "Invalid Service Meta"),
    ],
)
def test_what_the_catalog_would_refuse_is_refused_before(fields: dict[str, Any], reason: str) -> None:
    assert definition_fault(parse_service({"Name": "web", **fields}), "n").startswith(reason)


FIELDS = ["Name", "ID", "Tags", "Port", "Meta", "Check", "Checks", "Weights", "Connect", "Proxy", "HTTP", "TTL",
          "Interval", "Args", "Header", "Status", "AliasNode", "Upstreams", "Config", "Command"]  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.sampled_from(["", "x", "1s", "passing"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_any_object_is_a_definition_or_is_refused_with_a_sentence(body: dict[str, Any]) -> None:
    for read in (
        parse_service,
        parse_check,
        lambda b: configured_service(b, "service"),
        lambda b: configured_check(b, "check"),
    ):
        try:
            definition = read({"Name": "n", **body})
        except ConfigError as error:
            text = str(error)
        else:
            text = definition.id
        assert text
