"""Managed proxies: what they run, what they are told, and when they are started again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.catalog.model import CONNECT_PROXY
from meshnode.local.check_type import TcpCheck
from meshnode.local.definitions import ServiceDefinition, definition_fault
from meshnode.local.managed import (
    MAX_RESTART_DELAY,
    ProxyDefaults,
    bind_port,
    document_hash,
    managed_proxy,
    managed_service,
    proxy_document,
    restart_delay,
)
from meshnode.local.parse import parse_service

OWN = ("/bin/consul", "connect", "proxy")
DEFAULTS = ProxyDefaults(own_command=OWN)


def service(proxy: dict[str, Any] | None = None, **more: Any) -> ServiceDefinition:
    return parse_service(
        {"Name": "socat", "Port": 8181, "Token": "t", **more, "Connect": {"Proxy": proxy or {}}}
    )


def test_a_proxy_that_says_nothing_runs_our_own_with_every_default() -> None:
    proxy = managed_proxy(service(), DEFAULTS, 20000)
    assert (proxy.exec_mode, proxy.command) == ("daemon", OWN)
    assert proxy.config == {
        "bind_address": "0.0.0.0", "bind_port": 20000, "local_service_address": "127.0.0.1:8181",
    }  # fmt: skip
    found = managed_service(service(), proxy)
    assert (found.id, found.name, found.kind) == ("socat-proxy", "socat-proxy", CONNECT_PROXY)
    assert (found.port, found.address, found.proxy_destination) == (20000, "", "socat")
    assert (found.parent, found.token, found.managed) == ("socat", "t", proxy)
    (check,) = found.checks
    assert (check.id, check.name, check.service_id) == (
        "service:socat-proxy",
        "Connect Proxy Listening",
        "socat-proxy",
    )
    assert check.run == TcpCheck(address="127.0.0.1:20000", interval=10.0)
    assert definition_fault(found, "n") == ""


def test_a_services_own_configuration_goes_over_the_defaults_member_by_member() -> None:
    defaults = ProxyDefaults(
        "daemon", ("daemon",), ("script", "-x"), {"bind_address": "10.0.0.1", "a": 1, "b": 1}, OWN, "10.9.9.9"
    )
    proxy = managed_proxy(service({"Config": {"b": 2, "local_service_address": "10.0.0.2:1"}}), defaults, 7)
    assert proxy.command == ("daemon",)
    assert proxy.config == {
        "bind_address": "10.0.0.1", "a": 1, "b": 2, "bind_port": 7, "local_service_address": "10.0.0.2:1",
    }  # fmt: skip
    assert managed_proxy(service({"Command": ["mine"]}), defaults, 7).command == ("mine",)
    scripted = managed_proxy(service({"ExecMode": "script"}), defaults, 7)
    assert (scripted.exec_mode, scripted.command) == ("script", ("script", "-x"))
    assert (
        managed_proxy(service(), ProxyDefaults(bind_address="10.9.9.9"), 7).config["bind_address"]
        == "10.9.9.9"
    )


@pytest.mark.parametrize(
    ("config", "address"),
    [
        ({}, "127.0.0.1:7"),
        ({"bind_address": "10.0.0.1"}, "10.0.0.1:7"),
        ({"bind_address": "::"}, "127.0.0.1:7"),
        ({"bind_address": "fd00::1"}, "[fd00::1]:7"),
        ({"bind_address": "10.0.0.1", "tcp_check_address": "10.0.0.9"}, "10.0.0.9:7"),
        ({"disable_tcp_check": True}, ""),
        ({"disable_tcp_check": False}, "127.0.0.1:7"),
    ],
)
def test_the_port_is_looked_at_where_the_proxy_listens_unless_it_says_otherwise(
    config: dict[str, Any], address: str
) -> None:
    found = managed_service(service(), managed_proxy(service({"Config": config}), DEFAULTS, 7))
    runs = [check.run for check in found.checks]
    assert runs == ([TcpCheck(address=address, interval=10.0)] if address else [])


@pytest.mark.parametrize(("asked", "port"), [(None, 0), (0, 0), (65535, 65535), (7.0, 7), ("8080", 8080)])
def test_a_port_is_a_number_or_its_digits(asked: Any, port: int) -> None:
    assert bind_port(service({"Config": {"bind_port": asked}}), DEFAULTS) == port


@pytest.mark.parametrize("asked", [-1, 65536, True, 1.5, "x", "100000", [], "8 0"])
def test_another_port_is_refused_by_name(asked: Any) -> None:
    with pytest.raises(ConfigError, match=r"^Connect\.Proxy\.Config\.bind_port: .* is not a port"):
        bind_port(service({"Config": {"bind_port": asked}}), DEFAULTS)


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ({"ExecMode": "script"}, "Connect.Proxy.Command is empty: a proxy with ExecMode script needs one"),
        ({"Config": {"bind_address": 1}}, "Connect.Proxy.Config.bind_address: expected an address"),
        ({"Config": {"local_service_address": []}}, "Connect.Proxy.Config.local_service_address: expected"),
        ({"Config": {"upstreams": {}}}, "Connect.Proxy.Config.upstreams: expected list, got object"),
        ({"Config": {"upstreams": [1]}}, "Connect.Proxy.Config.upstreams[0]: expected object"),
        (
            {"Config": {"upstreams": [{"local_bind_port": 1}]}},
            "Connect.Proxy.Config.upstreams[0].destination_name: is",
        ),
        (
            {"Config": {"upstreams": [{"destination_name": "db", "local_bind_port": 65536}]}},
            "Connect.Proxy.Config.upstreams[0].local_bind_port: 65536 is not a port",
        ),
        (
            {
                "Config": {
                    "upstreams": [{"destination_name": "d", "local_bind_port": 1, "destination_type": "x"}]
                }
            },
            "Connect.Proxy.Config.upstreams[0].destination_type: write service or prepared_query",
        ),
    ],
)
def test_a_configuration_that_no_proxy_could_run_with_is_refused(proxy: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        managed_proxy(service(proxy), DEFAULTS, 7)
    assert str(refused.value).startswith(reason)


def test_a_managed_proxy_is_told_all_of_itself_with_its_upstreams_in_both_forms() -> None:
    upstream = {
        "destination_name": "db", "local_bind_port": 9191, "destination_datacenter": "dc2", "connect_timeout_ms": 5,
    }  # fmt: skip
    written = service({"Config": {"upstreams": [upstream]}})
    document = proxy_document(managed_service(written, managed_proxy(written, DEFAULTS, 7)))
    assert document == {
        "ProxyServiceID": "socat-proxy", "TargetServiceID": "socat", "TargetServiceName": "socat",
        "ExecMode": "daemon", "Command": list(OWN),
        "Config": {
            "bind_address": "0.0.0.0", "bind_port": 7, "local_service_address": "127.0.0.1:8181",
            "upstreams": [upstream],
        },
        "Upstreams": [{
            "DestinationType": "service", "DestinationName": "db", "Datacenter": "dc2", "LocalBindPort": 9191,
            "Config": {"connect_timeout_ms": 5},
        }],
    }  # fmt: skip


def test_a_proxy_that_somebody_else_runs_is_told_the_same_of_its_own_definition() -> None:
    found = parse_service({
        "Name": "side", "Kind": CONNECT_PROXY, "Port": 21000, "Address": "10.0.0.9",
        "Proxy": {
            "DestinationServiceName": "web", "DestinationServiceID": "web1", "LocalServicePort": 80,
            "Config": {"a": 1, "bind_address": "10.0.0.8"},
            "Upstreams": [{"DestinationName": "db", "LocalBindPort": 1}],
        },
    })  # fmt: skip
    assert proxy_document(found) == {
        "ProxyServiceID": "side", "TargetServiceID": "web1", "TargetServiceName": "web", "ExecMode": "", "Command": [],
        "Config": {
            "bind_address": "10.0.0.8", "bind_port": 21000, "local_service_address": "127.0.0.1:80", "a": 1,
        },
        "Upstreams": [{"DestinationType": "service", "DestinationName": "db", "LocalBindPort": 1}],
    }  # fmt: skip
    old = parse_service({"Name": "old", "Kind": CONNECT_PROXY, "Port": 1, "ProxyDestination": "web"})
    document = proxy_document(old)
    assert document is not None
    assert (document["TargetServiceName"], document["Config"]) == (
        "web",
        {"bind_address": "0.0.0.0", "bind_port": 1},
    )
    assert proxy_document(parse_service({"Name": "web"})) is None


def test_a_hash_is_that_of_the_content() -> None:
    assert document_hash({"a": 1, "b": 2}) == document_hash({"b": 2, "a": 1})
    assert document_hash({"a": 1}) != document_hash({"a": 2})
    assert len(document_hash({})) == 16


@given(st.integers(1, 10_000))
def test_a_proxy_that_keeps_failing_is_started_less_and_less_often_within_a_minute(failures: int) -> None:
    assert 0 < restart_delay(failures) <= restart_delay(failures + 1) <= MAX_RESTART_DELAY
    assert [restart_delay(n) for n in (1, 2, 3, 4, 5, 9, 10)] == [1, 1, 1, 2, 4, 60, 60]
