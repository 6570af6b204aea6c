from __future__ import annotations

import json
from typing import Any

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.config_entries.chain import Chain, compile_chain
from meshnode.config_entries.chain_fields import chain_fields
from meshnode.config_entries.chain_parse import parse_chain
from meshnode.config_entries.parse import parse_entry
from tests.support.config_entries import table

ENTRIES: tuple[dict[str, Any], ...] = (
    {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}},
    {
        "Kind": "service-resolver",
        "Name": "web",
        "DefaultSubset": "v1",
        "ConnectTimeout": "1500ms",
        "RequestTimeout": "9s",
        "Subsets": {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"OnlyPassing": True}},
        "Failover": {"*": {"Service": "spare", "Datacenters": ["dc2", "dc3"]}},
        "LoadBalancer": {
            "Policy": "ring_hash",
            "RingHashConfig": {"MinimumRingSize": 8, "MaximumRingSize": 16},
            "HashPolicies": [
                {"Field": "cookie", "FieldValue": "c", "CookieConfig": {"TTL": "8s", "Path": "/"}},
                {"SourceIP": True, "Terminal": True},
            ],
        },
    },
    {
        "Kind": "service-splitter",
        "Name": "web",
        "Splits": [
            {"Weight": 90, "ServiceSubset": "v1", "RequestHeaders": {"Set": {"x-part": "1"}}},
            {"Weight": 10, "ServiceSubset": "v2"},
        ],
    },
    {
        "Kind": "service-router",
        "Name": "web",
        "Routes": [
            {
                "Match": {
                    "HTTP": {
                        "PathPrefix": "/admin",
                        "Methods": ["GET"],
                        "Header": [{"Name": "x", "Exact": "1", "Invert": True}],
                        "QueryParam": [{"Name": "q", "Present": True}],
                    }
                },
                "Destination": {
                    "Service": "admin",
                    "PrefixRewrite": "/",
                    "RequestTimeout": "4s",
                    "NumRetries": 3,
                    "RetryOnStatusCodes": [503],
                },
            }
        ],
    },
)


def chain(service: str) -> Chain:
    return compile_chain(table(*map(parse_entry, ENTRIES)), service, "dc1", trust_domain="11.consul")


@pytest.mark.parametrize("service", ["web", "admin", "spare"])
def test_a_chain_comes_back_from_its_json_as_it_was(service: str) -> None:
    assert parse_chain(json.loads(json.dumps(chain_fields(chain(service))))) == chain(service)


def broken(**changes: Any) -> Any:
    return {**chain_fields(chain("admin")), **changes}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "Chain of a chain is no object"),
        ({}, "a chain has no ServiceName"),
        (broken(StartNode="router:admin"), "leads to 'router:admin', which it doesn't have"),
        (broken(Targets={}), "ends at 'admin.default.dc1', which it doesn't have"),
        (broken(Nodes={"resolver:admin.default.dc1": 3}), "is no object"),
        (
            broken(Nodes={"resolver:admin.default.dc1": {"Type": "gateway", "Name": "x"}}),
            "is a 'gateway'",
        ),
        (
            broken(Nodes={"resolver:admin.default.dc1": {"Type": "router", "Name": "x", "Routes": 1}}),
            "Routes of a chain is no list",
        ),
    ],
)
def test_what_is_no_chain_is_refused(body: Any, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        parse_chain(body)
