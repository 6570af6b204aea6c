from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import Endpoint
from meshnode.xds.access_log import log_messages
from meshnode.xds.bootstrap import Bootstrap, bootstrap_document
from meshnode.xds.schema import unpacked
from meshnode.xds.settings import AccessLog, EnvoySettings, own_config, parse_envoy_settings


def test_what_nobody_says_is_nothing() -> None:
    assert parse_envoy_settings({}) == EnvoySettings()
    assert parse_envoy_settings({"protocol": "http", "access_logs": {"enabled": False}}) == EnvoySettings()


def test_the_proxy_s_own_settings_win_over_those_of_all_proxies() -> None:
    shared = {"envoy_prometheus_bind_addr": "0.0.0.0:9102", "envoy_stats_bind_addr": "[::1]:9103"}
    found = parse_envoy_settings({"envoy_prometheus_bind_addr": "127.0.0.1:1"}, shared)
    assert (found.prometheus, found.stats) == (Endpoint("127.0.0.1", 1), Endpoint("::1", 9103))


@pytest.mark.parametrize(
    ("own", "shared", "reason"),
    [
        (
            {"envoy_cluster_json": "{}"},
            {},
            "Proxy.Config.envoy_cluster_json is not supported: raw configuration",
        ),
        (
            {},
            {"envoy_statsd_url": "x"},
            "proxy-defaults/global: Config.envoy_statsd_url is not supported: let Prom",
        ),
        ({"envoy_gateway_bind_addresses": {}}, {}, "a gateway listens on the Address of its registration"),
        (
            {"envoy_new": 1},
            {},
            "Proxy.Config.envoy_new is not supported: it has no meaning here; take it out",
        ),
        (
            {"envoy_stats_bind_addr": "9102"},
            {},
            "Proxy.Config.envoy_stats_bind_addr: '9102' is not an address",
        ),
        (
            {},
            {"envoy_stats_bind_addr": "x:1"},
            "proxy-defaults/global: Config.envoy_stats_bind_addr: 'x' is not an",
        ),
        ({"envoy_stats_bind_addr": 7}, {}, "envoy_stats_bind_addr: 7 is not an address"),
        ({"access_logs": []}, {}, "Proxy.Config.access_logs: expected an object"),
        (
            {"access_logs": {"enable": True}},
            {},
            "access_logs.enable: there is no such key: did you mean enabled?",
        ),
        ({"access_logs": {"enabled": "yes"}}, {}, "access_logs.enabled: expected a boolean"),
        ({"access_logs": {"type": "syslog"}}, {}, 'access_logs.type: "syslog" is none: write stdout'),
        ({"access_logs": {"type": "file"}}, {}, "a log of the type file, and no other, has a path"),
        ({"access_logs": {"path": "/x"}}, {}, "a log of the type file, and no other, has a path"),
        ({"access_logs": {"text_format": 1}}, {}, "access_logs.text_format: expected a text"),
        ({"access_logs": {"json_format": {"a": 1}}}, {}, "access_logs.json_format: expected an object"),
        ({"access_logs": {"json_format": {"a": "b"}, "text_format": "x"}}, {}, "are for the same line"),
    ],
)
def test_what_can_t_be_used_is_named_with_its_place(
    own: dict[str, Any], shared: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_envoy_settings(own, shared)
    assert reason in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.dictionaries(
        st.sampled_from(["access_logs", "envoy_stats_bind_addr", "envoy_prometheus_bind_addr"]), json_values
    )
)
def test_anything_ends_in_settings_or_in_an_error(config: dict[str, Any]) -> None:
    try:
        found = parse_envoy_settings(config)
    except ConfigError:
        return
    log_messages(found.logs)


@pytest.mark.parametrize(
    ("config", "name", "text"),
    [
        ({"type": "stderr"}, "envoy.access_loggers.stderr", ""),
        ({"text_format": "%PROTOCOL%"}, "envoy.access_loggers.stdout", 'inline_string: "%PROTOCOL%\\n"'),
        ({"type": "file", "path": "/log"}, "envoy.access_loggers.file", 'path: "/log"'),
        ({"json_format": {"when": "%START_TIME%"}}, "envoy.access_loggers.stdout", "%START_TIME%"),
    ],
)
def test_a_log_has_its_place_and_its_line(config: dict[str, Any], name: str, text: str) -> None:
    (message,) = log_messages(parse_envoy_settings({"access_logs": {"enabled": True, **config}}).logs)
    assert message.name == name
    assert text in str(unpacked(message.typed_config))


def test_a_log_is_a_value() -> None:
    logs = parse_envoy_settings({"access_logs": {"enabled": True}}).logs
    assert logs == (AccessLog(),)


@pytest.mark.parametrize(
    ("body", "config"), [({}, {}), ({"Proxy": 1}, {}), ({"Proxy": {"Config": {"a": 1}}}, {"a": 1})]
)
def test_the_config_of_a_registration_may_be_missing(body: dict[str, Any], config: dict[str, Any]) -> None:
    assert own_config(body) == config


AGENT, ADMIN, WHERE = Endpoint("127.0.0.1", 8502), Endpoint("127.0.0.1", 19000), Endpoint("0.0.0.0", 9102)


@pytest.mark.parametrize(
    ("page", "path", "rewritten"),
    [
        ("prometheus", "/metrics", "/stats/prometheus"),
        ("stats", "/stats", "/stats"),
        ("ready", "/ready", "/ready"),
    ],
)
def test_a_page_of_envoy_s_administration_is_shown_and_no_other(page: str, path: str, rewritten: str) -> None:
    document = bootstrap_document(Bootstrap("w", "w", AGENT, ADMIN, **{page: WHERE}))  # type: ignore[arg-type]
    (listener,) = document["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 9102}
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (route,) = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert route["match"]["path"] == path
    assert route["match"]["headers"] == [{"name": ":method", "string_match": {"exact": "GET"}}]
    assert route["route"] == {"cluster": "self_admin", "prefix_rewrite": rewritten}
    assert [each["name"] for each in document["static_resources"]["clusters"]] == [
        "meshnode_agent",
        "self_admin",
    ]


def test_figures_without_an_administration_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"envoy_prometheus_bind_addr shows a page .* set -admin-bind"):
        bootstrap_document(Bootstrap("w", "w", AGENT, prometheus=WHERE))
