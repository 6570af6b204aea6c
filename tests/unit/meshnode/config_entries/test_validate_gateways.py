"""Gateways that can't be stored whatever the others are."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.errors import ConfigError
from meshnode.config_entries.parse import parse_entry


def fault(kind: str, **fields: Any) -> str:
    """Why the entry is refused, or ``""``."""
    try:
        parse_entry({"Kind": kind, "Name": "gw", **fields})
    except ConfigError as error:
        return str(error)
    return ""


def http(*services: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"Listeners": [{"Port": 80, "Protocol": "http", "Services": list(services), **more}]}


WEB = {"Name": "web"}


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({}, ""),
        (http(WEB), ""),
        ({"Listeners": [{"Port": 0, "Services": [WEB]}]}, "Listeners[0].Port: 0 is no port: write 1 to 65535"),
        ({"Listeners": [{"Port": 65536, "Services": [WEB]}]}, "Listeners[0].Port: 65536 is no port"),
        ({"Listeners": [{"Port": 1, "Services": [WEB]}, {"Port": 1, "Services": [WEB]}]}, "port 1 declared on two"),
        ({"Listeners": [{"Port": 1, "Services": [WEB]}]}, ""),
        ({"Listeners": [{"Port": 1}]}, "No service declared for listener (listener on port 1)"),
        ({"Listeners": [{"Port": 1, "Services": [WEB, {"Name": "b"}]}]}, "Multiple services per listener are only"),
        (http(WEB, Protocol="udp"), "protocol must be 'tcp', 'http', 'http2', or 'grpc'. 'udp' is an unsupported"),
        (http({}), "Services[0]: Service name cannot be blank (listener on port 80)"),
        (http(WEB, WEB), "Service web cannot be added multiple times (listener on port 80)"),
        (http({"Name": "*"}), ""),
        (http({"Name": "*"}, Protocol="grpc"), "Wildcard service name is only valid for protocol = 'http'"),
        (http({"Name": "*", "Hosts": ["a.com"]}), "Associating hosts to a wildcard service is not supported"),
        (http({**WEB, "Hosts": ["a.com"]}, Protocol="tcp"), "Associating hosts to a service is not supported for the"),
        (http({**WEB, "RequestHeaders": {}}, Protocol="tcp"), "request and response headers only valid for http-like"),
        (http({**WEB, "RequestHeaders": {"Add": {"a b": ""}}}), "web.RequestHeaders: 'a b' can't be the name of a hea"),
        (http({**WEB, "Hosts": ["*.example.com", "a.b", "*"]}), ""),
        (http({**WEB, "Hosts": ["example.*"]}), 'Host "example.*" must be a valid DNS hostname'),
        (http({**WEB, "Hosts": ["*-x.example.com"]}), 'Host "*-x.example.com" must be a valid DNS hostname'),
        (http({**WEB, "Hosts": [f"{'a' * 64}.com"]}), 'Host "aaaa'),
        (http({**WEB, "Hosts": ["a.com", "A.com"]}), "Hosts must be unique within a specific listener"),
        (http({**WEB, "Hosts": ["*"]}, TLS={"Enabled": True}), "Host '*' is not allowed when TLS is enabled"),
        ({"TLS": {"Enabled": True}, **http({**WEB, "Hosts": ["*"]})}, "Host '*' is not allowed when TLS is enabled"),
        ({"TLS": {"TLSMinVersion": "1.2"}}, 'TLS.TLSMinVersion: "1.2" is none: use one of TLS_AUTO, TLSv1_0'),
        ({"TLS": {"TLSMinVersion": "TLSv1_3", "TLSMaxVersion": "TLSv1_2"}}, "configuring max version TLSv1_2 less tha"),
        ({"TLS": {"TLSMinVersion": "TLSv1_3", "TLSMaxVersion": "TLS_AUTO"}}, ""),
        ({"TLS": {"TLSMaxVersion": "TLSv1_0"}}, ""),
        ({"TLS": {"SDS": {"ClusterName": "c"}}}, "TLS.SDS: ClusterName and CertResource are required together"),
        (http({**WEB, "TLS": {"SDS": {"ClusterName": "c", "CertResource": "r"}}}), "A service specifying TLS.SDS"),
        (http({**WEB, "Hosts": ["a.b"], "TLS": {"SDS": {"ClusterName": "c", "CertResource": "r"}}}), ""),
    ],
)  # fmt: skip
def test_ingress_gateways(fields: dict[str, Any], because: str) -> None:
    found = fault("ingress-gateway", **fields)
    assert found.startswith(because)
    assert bool(found) == bool(because)


@pytest.mark.parametrize(
    ("services", "because"),
    [
        ([], ""),
        (
            [{"Name": "*", "CAFile": "/a", "CertFile": "/b", "KeyFile": "/c"}, {"Name": "x", "CAFile": "/a"}],
            "",
        ),
        ([{}], "Services[0]: Service name cannot be blank"),
        ([{"Name": "a"}, {"Name": "A"}], 'Service "A" was specified more than once within a namespace'),
        ([{"Name": "a", "CertFile": "/b"}], 'Service "a" must have a CertFile, CAFile, and KeyFile'),
        ([{"Name": "a", "KeyFile": "/b"}], 'Service "a" must have a CertFile, CAFile, and KeyFile'),
        (
            [{"Name": "a", "CertFile": "/b", "KeyFile": "/c"}],
            'Service "a" must have a CertFile, CAFile, and KeyFile',
        ),
        (
            [{"Name": "a", "CAFile": "/a", "SNI": "a.example"}, {"Name": "b", "CAFile": "/a", "SNI": "::1"}],
            "",
        ),
        (
            [{"Name": "a", "SNI": "a.example"}],
            'Service "a" has an SNI and no CAFile, so it would be spoken to in clear: write the CAFile',
        ),
        (
            [{"Name": "a", "CAFile": "/a", "SNI": "*.a"}],
            'Service "a": SNI "*.a" must be a DNS name or an address',
        ),
        (
            [{"Name": "a", "CAFile": "/a", "SNI": "a b"}],
            'Service "a": SNI "a b" must be a DNS name or an address',
        ),
    ],
)
def test_terminating_gateways(services: list[dict[str, Any]], because: str) -> None:
    found = fault("terminating-gateway", Services=services)
    assert found.startswith(because)
    assert bool(found) == bool(because)
