"""Flags, services and files as configurations of a proxy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import DestinationType, Endpoint, ProxyConfig, PublicListener, Upstream
from meshnode.proxy.definition import (
    MAX_UPSTREAMS,
    listen_flag,
    one_sidecar,
    parse_file,
    parse_managed,
    parse_service,
    parse_upstream_flag,
    sidecar_ids,
)

SERVICE: dict[str, Any] = {
    "Kind": "connect-proxy",
    "ID": "web-sidecar-proxy",
    "Service": "web-sidecar-proxy",
    "Port": 21000,
    "Address": "",
    "Proxy": {
        "DestinationServiceName": "web",
        "DestinationServiceID": "web",
        "LocalServicePort": 8080,
        "Upstreams": [{"DestinationName": "socat", "LocalBindPort": 9191}],
    },
}
DB = Upstream(Endpoint("127.0.0.1", 8181), "db")


def proxy(**changes: Any) -> dict[str, Any]:
    return {**SERVICE, "Proxy": {**SERVICE["Proxy"], **changes}}


# -upstream


@pytest.mark.parametrize(
    ("text", "shown", "bind", "kind"),
    [
        ("db:8181", ":8181", "127.0.0.1:8181", "service"),
        ("db:127.0.0.10:8282", "127.0.0.10:8282", "127.0.0.10:8282", "service"),
        ("db.service:8181", ":8181", "127.0.0.1:8181", "service"),
        ("db.query:8181", ":8181", "127.0.0.1:8181", "prepared_query"),
        ("db.:8181", ":8181", "127.0.0.1:8181", "service"),
        ("db:localhost:1", "localhost:1", "127.0.0.1:1", "service"),
        ("db:[::1]:65535", "[::1]:65535", "[::1]:65535", "service"),
    ],
)
def test_an_upstream_flag_is_a_name_and_an_address(text: str, shown: str, bind: str, kind: str) -> None:
    address, upstream = parse_upstream_flag(text)
    assert (address, str(upstream.bind)) == (shown, bind)
    assert (upstream.destination, upstream.destination_type) == ("db", DestinationType(kind))


@pytest.mark.parametrize(
    ("text", "destination", "kind", "datacenter"),
    [
        ("db.service.dc2:8181", "db", "service", "dc2"),
        ("geo.query.DC-2:8181", "geo", "prepared_query", "dc-2"),
        ("a.b.service.dc2:8181", "a.b", "service", "dc2"),
        # As ever: what comes last is the type if it is one.
        ("a.service.query:8181", "a.service", "prepared_query", ""),
    ],
)
def test_an_upstream_flag_may_name_a_datacenter(
    text: str, destination: str, kind: str, datacenter: str
) -> None:
    _, upstream = parse_upstream_flag(text)
    found = upstream.destination, upstream.destination_type, upstream.datacenter
    assert found == (destination, DestinationType(kind), datacenter)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("db", "Upstream value should be name:addr in 'db'"),
        (":8181", "the upstream has no destination"),
        ("db:", "is not a port"),
        ("db:0", "is not a port"),
        ("db:65536", "is not a port"),
        ("db:-1", "is not a port"),
        ("db:\u0661", "is not a port"),
        ("db:here:8181", "'here' is not an IP address"),
        ("db.dc1:8181", "Upstream type must be blank, 'service', or 'query' in 'db.dc1:8181'"),
        ("db.dc1.dc2:8181", "Upstream type must be blank, 'service', or 'query' in 'db.dc1.dc2:8181'"),
    ],
)
def test_a_bad_upstream_flag_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace("(", r"\(")):
        parse_upstream_flag(text)


NAMES = st.text(max_size=4) | st.sampled_from(["db", "db.service.dc2", "geo.query", "a.b.service.x"])
BINDS = st.sampled_from(["", "127.0.0.1:", "[::1]:", "localhost:", "x:"])


@given(st.text() | st.builds("{}:{}{}".format, NAMES, BINDS, st.integers(-5, 70_000)))
@example("db:65535")
@example("db:65536")
def test_any_upstream_flag_ends_in_an_upstream_or_in_an_error(text: str) -> None:
    try:
        _, upstream = parse_upstream_flag(text)
    except ConfigError:
        return
    assert 1 <= upstream.bind.port <= 65535


# -listen


def test_a_public_listener_of_flags_leads_to_the_application() -> None:
    assert listen_flag(":8443", "127.0.0.1:80") == PublicListener(
        Endpoint("0.0.0.0", 8443), Endpoint("127.0.0.1", 80)
    )
    assert listen_flag("[::1]:8443", "app:80").local_app == Endpoint("app", 80, named=True)


@pytest.mark.parametrize(
    ("listen", "app", "problem"),
    [
        ("8443", "a:1", "-listen"),
        ("a:b", "a:1", "not a port"),
        (":1", "nonsense", '-service-addr: "nonsense"'),
    ],
)
def test_a_bad_listener_names_its_flag(listen: str, app: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        listen_flag(listen, app)


# Which proxy


def test_the_proxies_of_a_service_are_found_by_its_id() -> None:
    services = {
        "web": {"Kind": "", "Service": "web"},
        "b": SERVICE,
        "a": {"Kind": "connect-proxy", "Proxy": {"DestinationServiceID": "WEB"}},
        "other": {"Kind": "connect-proxy", "Proxy": {"DestinationServiceID": "db"}},
        "old": {"Kind": "connect-proxy", "ProxyDestination": "web"},
        "odd": None,
    }
    assert sidecar_ids(services, "web") == ["a", "b"]


# Services


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ([], "what answers is no agent: /v1/agent/services is not an object"),
        ({}, "No sidecar proxy registered for web\n"),
        ({}, "; this agent has no service with the ID web"),
        ({"web": {}}, "or name a proxy with -proxy-id$"),
        ({"p1": {}, "p2": {}}, "Start Envoy with -proxy-id and one of the following IDs: p1, p2$"),
    ],
)
def test_no_sidecar_or_several_are_told_with_what_to_do(services: Any, said: str) -> None:
    if isinstance(services, dict):
        own = {"Kind": "connect-proxy", "Proxy": {"DestinationServiceID": "web"}}
        services = {name: own if name.startswith("p") else one for name, one in services.items()}
    with pytest.raises(ConfigError, match=said):
        one_sidecar(services, "web", starting="Envoy")


def test_the_one_sidecar_is_found() -> None:
    services = {"p": {"Kind": "connect-proxy", "Proxy": {"DestinationServiceID": "Web"}}, "web": {}}
    assert one_sidecar(services, "web", starting="proxy") == "p"


def test_a_service_says_where_it_listens_and_what_it_leads_to() -> None:
    assert parse_service(SERVICE) == ProxyConfig(
        "web",
        PublicListener(Endpoint("0.0.0.0", 21000), Endpoint("127.0.0.1", 8080)),
        (Upstream(Endpoint("127.0.0.1", 9191), "socat"),),
    )


def test_the_address_of_the_service_is_what_is_listened_on_unless_its_config_says_otherwise() -> None:
    def bind(body: dict[str, Any]) -> str:
        public = parse_service(body).public
        return str(public.bind) if public else "none"

    assert bind({**SERVICE, "Address": "10.0.0.1"}) == "10.0.0.1:21000"
    assert bind({**SERVICE, "Address": "web.example"}) == "0.0.0.0:21000"
    assert (
        bind({**proxy(Config={"bind_address": "127.0.0.1", "bind_port": 7}), "Address": "10.0.0.1"})
        == "127.0.0.1:7"
    )
    assert bind(proxy(Config={"bind_port": 0})) == "none"


def test_settings_of_the_public_listener_and_of_upstreams_are_read() -> None:
    settings = {
        "handshake_timeout_ms": 2500,
        "local_connect_timeout_ms": 500,
        "max_connections": 9,
        "protocol": "http",
    }
    upstream = {
        "DestinationType": "prepared_query", "DestinationName": "near", "Datacenter": "dc2", "LocalBindPort": 9.0,
        "LocalBindAddress": "127.0.0.9", "Config": {"connect_timeout_ms": 1500, "max_connections": 3},
    }  # fmt: skip
    found = parse_service(proxy(Config=settings, LocalServiceAddress="::1", Upstreams=[upstream]))
    assert found.public is not None
    assert (found.public.handshake_timeout, found.public.local_connect_timeout) == (2.5, 0.5)
    assert (found.public.max_connections, found.public.protocol) == (9, "http")
    assert found.public.local_app == Endpoint("::1", 8080)
    assert found.upstreams == (
        Upstream(
            Endpoint("127.0.0.9", 9), "near", DestinationType.PREPARED_QUERY, "dc2",
            connect_timeout=1.5, max_connections=3,
        ),
    )  # fmt: skip


def test_without_a_port_of_the_application_nobody_is_let_in() -> None:
    assert parse_service(proxy(LocalServicePort=0)).public is None


def test_a_registration_of_the_old_form_names_its_destination_too() -> None:
    assert parse_service({"Kind": "connect-proxy", "ProxyDestination": "web", "Port": 1}) == ProxyConfig(
        "web"
    )


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({**SERVICE, "Kind": ""}, "web-sidecar-proxy is not a proxy: its kind is '', not \"connect-proxy\""),
        ({**SERVICE, "Proxy": []}, "Proxy: expected an object, got list"),
        ({**SERVICE, "Proxy": {}}, "has no Proxy.DestinationServiceName"),
        (proxy(Config=[]), "Config: expected an object"),
        (proxy(Upstreams="x"), "Proxy.Upstreams: expected a list, got str"),
        (proxy(Upstreams=[1]), r"Proxy.Upstreams\[0\]: expected an object, got int"),
        (proxy(Upstreams=[{"DestinationName": "a"}]), r"Upstreams\[0\]: upstream a has no local_bind_port"),
        (proxy(Upstreams=[{"LocalBindPort": 1}]), r"Upstreams\[0\]: the upstream has no destination"),
        (
            proxy(Upstreams=[{"DestinationName": "a", "LocalBindPort": "1"}]),
            "LocalBindPort: '1' is not a whole number",
        ),
        (
            proxy(Upstreams=[{"DestinationName": 1, "LocalBindPort": 1}]),
            "DestinationName: expected a text, got int",
        ),
        (
            proxy(Upstreams=[{"DestinationName": "a", "LocalBindPort": 1, "DestinationType": "x"}]),
            "DestinationType",
        ),
        (
            proxy(
                Upstreams=[
                    {"DestinationName": "a", "LocalBindPort": 1, "Config": {"connect_timeout_ms": 1e12}}
                ]
            ),
            "connect_timeout_ms",
        ),
        (proxy(Upstreams=[{"DestinationName": "a", "LocalBindPort": 5}] * 2), "give each its own port"),
    ],
)
def test_what_cannot_be_used_is_named(body: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_service(body)


def test_the_number_of_upstreams_is_bounded() -> None:
    many = [{"DestinationName": "a", "LocalBindPort": port} for port in range(1, MAX_UPSTREAMS + 2)]
    assert len(parse_service(proxy(Upstreams=many[:-1])).upstreams) == MAX_UPSTREAMS
    with pytest.raises(ConfigError, match=f"{MAX_UPSTREAMS + 1} are more than {MAX_UPSTREAMS}"):
        parse_service(proxy(Upstreams=many))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    *("Port", "Address", "ProxyDestination", "TargetServiceName", "proxied_service_name"),
    *("public_listener", "upstreams", "bind_address", "bind_port", "local_service_address", "Config"),
]
PARTS = [
    *("DestinationServiceName", "LocalServicePort", "LocalServiceAddress", "Config", "Upstreams"),
    *("DestinationName", "LocalBindPort", "LocalBindAddress", "connect_timeout_ms", "protocol"),
]
OBJECTS = st.dictionaries(st.sampled_from(PARTS), JSON)
BODIES = st.fixed_dictionaries(
    {"Kind": st.just("connect-proxy")},
    optional={
        **dict.fromkeys(FIELDS, JSON),
        "Proxy": st.dictionaries(st.sampled_from(PARTS), JSON | OBJECTS.map(lambda found: [found])),
    },
)  # fmt: skip


@given(BODIES)
def test_any_answer_ends_in_a_configuration_or_in_an_error(body: dict[str, Any]) -> None:
    for parse in (parse_service, parse_managed, parse_file):
        try:
            found = parse(body)
        except ConfigError:
            continue
        assert found.service


# Managed proxies and files


def test_a_managed_proxy_has_everything_in_its_config() -> None:
    body = {
        "ProxyServiceID": "web-proxy", "TargetServiceID": "web", "TargetServiceName": "web", "ContentHash": "x",
        "Config": {
            "bind_address": "127.0.0.1", "bind_port": 20001, "local_service_address": "127.0.0.1:8080",
            "upstreams": [{"destination_name": "db", "local_bind_port": 8181}],
        },
    }  # fmt: skip
    public = PublicListener(Endpoint("127.0.0.1", 20001), Endpoint("127.0.0.1", 8080))
    assert parse_managed(body) == ProxyConfig("web", public, (DB,))
    with pytest.raises(ConfigError, match="TargetServiceName is empty"):
        parse_managed({})


def test_a_file_has_the_keys_of_consuls() -> None:
    body = {
        "proxied_service_name": "web",
        "public_listener": {"bind_port": 9, "local_service_address": "127.0.0.1:8080"},
        "upstreams": [{"destination_name": "db", "local_bind_port": 8181, "connect_timeout_ms": 5000}],
    }
    public = PublicListener(Endpoint("0.0.0.0", 9), Endpoint("127.0.0.1", 8080))
    assert parse_file(body) == ProxyConfig("web", public, (DB,))
    with pytest.raises(ConfigError, match="proxied_service_name"):
        parse_file({})
