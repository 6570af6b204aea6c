"""What a sidecar has that its definition leaves out, and what it says counts."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.errors import ConfigError
from meshnode.catalog.model import CONNECT_PROXY
from meshnode.local.check_type import AliasCheck, TcpCheck, TtlCheck
from meshnode.local.definitions import ServiceDefinition, definition_fault
from meshnode.local.parse import configured_service, parse_service
from meshnode.local.sidecar import joined, sidecar_service

WEB = {"ID": "web1", "Name": "web", "Port": 8080, "Tags": ["v1"], "Meta": {"k": "v"}, "Token": "t"}


def sidecar(written: dict[str, Any], port: int = 21000) -> ServiceDefinition:
    return sidecar_service(parse_service({**WEB, "Connect": {"SidecarService": written}}), port)


def test_an_empty_definition_is_a_whole_sidecar() -> None:
    found = sidecar({})
    assert (found.id, found.name, found.kind) == ("web1-sidecar-proxy", "web-sidecar-proxy", CONNECT_PROXY)
    assert (found.port, found.tags, found.meta, found.token) == (21000, ("v1",), {"k": "v"}, "t")
    assert (found.parent, found.proxy_destination) == ("web1", "web")
    assert found.proxy == {
        "DestinationServiceName": "web", "DestinationServiceID": "web1",
        "LocalServiceAddress": "127.0.0.1", "LocalServicePort": 8080,
    }  # fmt: skip
    listening, follows = found.checks
    assert (listening.id, listening.name) == ("service:web1-sidecar-proxy:1", "Connect Sidecar Listening")
    assert listening.run == TcpCheck(address="127.0.0.1:21000", interval=10.0)
    assert (follows.id, follows.name) == ("service:web1-sidecar-proxy:2", "Connect Sidecar Aliasing web1")
    assert follows.run == AliasCheck(service_id="web1")
    assert {(check.service_id, check.token) for check in found.checks} == {("web1-sidecar-proxy", "t")}
    assert definition_fault(found, "n") == ""


def test_what_is_written_counts() -> None:
    found = sidecar({
        "Name": "side", "Port": 9000, "Address": "10.0.0.9", "Tags": ["s"], "Meta": {"m": "x"}, "Token": "own",
        "Check": {"TTL": "10s"},
        "Proxy": {
            "DestinationServiceName": "other", "DestinationServiceID": "other1", "LocalServiceAddress": "10.0.0.1",
            "LocalServicePort": 1, "Config": {"a": 1},
            "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191}],
        },
    }, 9000)  # fmt: skip
    assert (found.id, found.name, found.address, found.port) == (
        "web1-sidecar-proxy",
        "side",
        "10.0.0.9",
        9000,
    )
    assert (found.tags, found.meta, found.token) == (("s",), {"m": "x"}, "own")
    assert found.proxy == {
        "DestinationServiceName": "other", "DestinationServiceID": "other1", "LocalServiceAddress": "10.0.0.1",
        "LocalServicePort": 1, "Config": {"a": 1},
        "Upstreams": [{"DestinationType": "service", "DestinationName": "db", "LocalBindPort": 9191}],
    }  # fmt: skip
    (check,) = found.checks
    assert (check.id, check.run, check.token) == ("service:web1-sidecar-proxy", TtlCheck(ttl=10.0), "own")


def test_a_sidecar_with_an_address_is_looked_for_there() -> None:
    assert sidecar({"Address": "10.0.0.9"}).checks[0].run == TcpCheck(address="10.0.0.9:21000", interval=10.0)
    assert sidecar({"Address": "fd00::1"}).checks[0].run == TcpCheck(address="[fd00::1]:21000", interval=10.0)
    assert joined("::1", 1) == "[::1]:1"


def test_the_configured_form_is_the_same_sidecar() -> None:
    written = {
        "id": "web1", "name": "web", "port": 8080, "tags": ("v1",), "meta": {"k": "v"}, "token": "t",
        "connect": {"sidecar_service": {
            "port": -1, "proxy": {"upstreams": [{"destination_name": "db", "local_bind_port": 9191}]},
        }},
    }  # fmt: skip
    found = sidecar_service(configured_service(written, "services[0]"), 21000)
    assert found == sidecar({"Proxy": {"Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191}]}})


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({"id": "x"}, "A SidecarService cannot specify an ID as this is managed by the agent"),
        ({"connect": {"sidecar_service": {}}}, "A SidecarService cannot have a nested SidecarService"),
        ({"connect": {"proxy": {}}}, "A SidecarService cannot have a managed proxy"),
    ],
)
def test_the_configured_form_refuses_what_consul_refuses_with_the_place(
    written: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        configured_service({"name": "web", "connect": {"sidecar_service": written}}, "services[3]")
    assert str(refused.value) == f"services[3]: {reason}"


def test_a_mistake_inside_a_sidecar_is_named_with_its_whole_place() -> None:
    written = {"proxy": {"upstreams": [{"destination_name": "db"}]}}
    with pytest.raises(ConfigError) as refused:
        configured_service({"name": "web", "connect": {"sidecar_service": written}}, "services[0]")
    assert str(refused.value).startswith(
        "services[0].connect.sidecar_service.proxy.upstreams[0].local_bind_port: is 0: write the port"
    )
