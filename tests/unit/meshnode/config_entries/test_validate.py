"""Entries that can't be stored whatever the others are: each with the field at fault."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.errors import ConfigError
from meshnode.config_entries.parse import parse_entry
from meshnode.config_entries.validate import MAX_FAULTS, MAX_PORT, join_faults
from meshnode.intentions.validate import (
    MAX_META_KEY_CHARS,
    MAX_META_PAIRS,
    MAX_META_VALUE_CHARS,
    MAX_NAME_CHARS,
)


def fault(kind: str, name: str = "web", **fields: Any) -> str:
    """Why the entry is refused, or ``""``."""
    try:
        parse_entry({"Kind": kind, "Name": name, **fields})
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("", "Name is required"),
        ("*", "Name: * stands for all services in service-intentions only"),
        ("a/b", "Name 'a/b' can't be a name"),
        (" a", "Name ' a' can't be a name"),
        ("a\n", "Name 'a\\n' can't be a name"),
        ("x" * (MAX_NAME_CHARS + 1), f"Name has {MAX_NAME_CHARS + 1} characters: at most {MAX_NAME_CHARS}"),
        ("x" * MAX_NAME_CHARS, ""),
    ],
)
def test_names(name: str, because: str) -> None:
    assert fault("service-defaults", name).startswith(because)
    assert bool(because) == bool(fault("service-defaults", name))


def test_the_defaults_of_all_proxies_have_one_name() -> None:
    assert fault("proxy-defaults", "") == fault("proxy-defaults", "global") == ""
    assert fault("proxy-defaults", "web") == 'invalid name ("web"), only "global" is supported'


@pytest.mark.parametrize(
    ("meta", "because"),
    [
        (
            {str(i): "" for i in range(MAX_META_PAIRS + 1)},
            f"Meta exceeds maximum element count {MAX_META_PAIRS}",
        ),
        ({"": "x"}, 'Meta key "" can\'t be used'),
        ({"k" * (MAX_META_KEY_CHARS + 1): ""}, 'Meta key "kkkk'),
        ({"k": "v" * (MAX_META_VALUE_CHARS + 1)}, 'Meta value for key "k" exceeds maximum length'),
        ({"k" * MAX_META_KEY_CHARS: "v" * MAX_META_VALUE_CHARS}, ""),
    ],
)
def test_metadata_are_bounded(meta: dict[str, str], because: str) -> None:
    found = fault("service-defaults", Meta=meta)
    assert found.startswith(because)
    assert bool(found) == bool(because)


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({"Protocol": "htpp"}, "Protocol: 'htpp' can't be used: write one of tcp, http, http2, grpc: did you mean htt"),
        ({"Protocol": "HTTP2"}, ""),
        ({"Mode": "direct"}, ""),
        ({"Mode": "x"}, "Mode: 'x' can't be used: write one of direct, transparent"),
        ({"MeshGateway": {"Mode": "far"}}, "MeshGateway.Mode: 'far' can't be used: write one of none, local, remote"),
        ({"TransparentProxy": {"OutboundListenerPort": MAX_PORT + 1}}, "TransparentProxy.OutboundListenerPort: 65536"),
        ({"Expose": {"Paths": [{"Path": "x"}]}}, "Expose.Paths[0].Path must begin with a slash"),
        ({"Expose": {"Paths": [{"Path": "/x", "ListenerPort": -1}]}}, "Expose.Paths[0].ListenerPort: -1 is no port"),
        ({"Expose": {"Paths": [{"Path": "/x", "LocalPathPort": 65536}]}}, "Expose.Paths[0].LocalPathPort: 65536 is no"),
        ({"Expose": {"Paths": [{"Path": "/x", "Protocol": "tcp"}]}}, "Expose.Paths[0].Protocol: 'tcp' can't be used"),
        ({"Expose": {"Paths": [{"Path": "/x", "Protocol": "HTTP2"}]}}, ""),
        ({"MaxInboundConnections": -1}, "MaxInboundConnections must be >= 0"),
        ({"UpstreamConfig": {"Overrides": [{}]}}, "UpstreamConfig.Overrides[0].Name is required"),
        ({"UpstreamConfig": {"Overrides": [{"Name": "*"}]}}, "UpstreamConfig.Overrides[0].Name is required"),
        ({"UpstreamConfig": {"Overrides": [{"Name": "a"}, {"Name": "A"}]}},
         'UpstreamConfig.Overrides[1]: the upstream "A" is there twice'),
        ({"UpstreamConfig": {"Defaults": {"Name": "a"}}}, "UpstreamConfig.Defaults.Name must be empty"),
        ({"UpstreamConfig": {"Defaults": {"Protocol": "x"}}}, "UpstreamConfig.Defaults.Protocol: 'x' can't be used"),
        ({"UpstreamConfig": {"Defaults": {"ConnectTimeoutMs": -1}}}, "UpstreamConfig.Defaults.ConnectTimeoutMs must"),
        ({"UpstreamConfig": {"Defaults": {"Limits": {"MaxPendingRequests": -1}}}},
         "UpstreamConfig.Defaults.Limits.MaxPendingRequests must be >= 0"),
        ({"UpstreamConfig": {"Defaults": {"PassiveHealthCheck": {"Interval": "-1s"}}}},
         "UpstreamConfig.Defaults.PassiveHealthCheck.Interval must be >= 0"),
        ({"UpstreamConfig": {"Defaults": {"PassiveHealthCheck": {"EnforcingConsecutive5xx": 101}}}},
         "UpstreamConfig.Defaults.PassiveHealthCheck.EnforcingConsecutive5xx must be a percentage"),
        ({"UpstreamConfig": {"Defaults": {"PassiveHealthCheck": {"EnforcingConsecutive5xx": 0}}}}, ""),
    ],
)  # fmt: skip
def test_service_defaults(fields: dict[str, Any], because: str) -> None:
    found = fault("service-defaults", **fields)
    assert found.startswith(because)
    assert bool(found) == bool(because)


@pytest.mark.parametrize(
    ("config", "because"),
    [
        ({"protocol": "http", "anything": {"goes": [1, None, "x"]}}, ""),
        ({"protocol": "xyz"}, "Config.protocol: 'xyz' can't be used"),
        ({"protocol": 1}, "Config.protocol: expected string"),
    ],
)
def test_proxy_defaults(config: dict[str, Any], because: str) -> None:
    found = fault("proxy-defaults", "global", Config=config)
    assert found.startswith(because)
    assert bool(found) == bool(because)


@pytest.mark.parametrize(
    ("name", "sources", "because"),
    [
        ("db", [], "At least one source is required"),
        ("db", [{"Name": "a", "Action": "deny"}, {"Name": "A", "Action": "allow"}], 'Source "A" is there more than on'),
        ("db", [{"Name": "a"}], "Source \"a\": Action must be set to 'allow' or 'deny'"),
        ("db", [{"Name": "a*", "Action": "deny"}], "Source \"a*\": SourceName: wildcard character '*' cannot be"),
        ("db*", [{"Name": "a", "Action": "deny"}], 'Source "a": DestinationName: wildcard character'),
        ("*", [{"Name": "*", "Action": "deny"}], ""),
        ("*", [{"Name": "a", "Permissions": [{"Action": "deny", "HTTP": {"PathPrefix": "/"}}]}],
         'Source "a": Permissions cannot be specified on intentions with wildcarded destinations'),
        ("db", [{"Name": "a", "Action": "deny", "Permissions": [{"Action": "deny", "HTTP": {"PathPrefix": "/"}}]}],
         'Source "a": Action must be omitted if Permissions are specified'),
        ("db", [{"Name": "a", "Permissions": [{"Action": "deny"}]}], 'Source "a": Permissions[0].HTTP must not be'),
        ("db", [{"Name": "a", "Action": "deny", "Type": "vm"}], "Source \"a\": SourceType must be set to 'consul'"),
    ],
)  # fmt: skip
def test_service_intentions(name: str, sources: list[dict[str, Any]], because: str) -> None:
    found = fault("service-intentions", name, Sources=sources)
    assert because in found
    assert bool(found) == bool(because)


def test_the_first_faults_are_told_with_the_number_of_the_others() -> None:
    faults = [str(number) for number in range(MAX_FAULTS + 2)]
    assert join_faults(faults[:MAX_FAULTS]) == "; ".join(faults[:MAX_FAULTS])
    assert join_faults(faults).endswith("; 19; and 2 more")
    assert join_faults([]) == ""
