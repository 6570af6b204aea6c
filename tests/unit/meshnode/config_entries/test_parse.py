"""Entries as the documents write them, in both spellings and both languages; what is refused and how it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.config_entries.model import KINDS, ConfigEntry
from meshnode.config_entries.parse import entry_fields, known_kind, parse_entry
from tests.support.config_entries import entry, plain_of

#: Text -> the JSON of the API; from the documentation of each kind.
DOCUMENTED: list[tuple[str, dict[str, Any]]] = [
    ('Kind = "service-defaults"\nName = "web"\nNamespace = "default"\nProtocol = "http"',
     {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}),
    ('kind = "service-defaults"\nname = "counting"\nupstream_config = { defaults = { mesh_gateway = { mode = "local" } '
     'limits = { max_connections = 512 } } overrides = [{ name = "dashboard" mesh_gateway = { mode = "remote" } }] }',
     {"Kind": "service-defaults", "Name": "counting", "UpstreamConfig": {
         "Overrides": [{"Name": "dashboard", "MeshGateway": {"Mode": "remote"}}],
         "Defaults": {"Limits": {"MaxConnections": 512}, "MeshGateway": {"Mode": "local"}}}}),
    ('Kind = "proxy-defaults"\nName = "global"\nConfig {\n  local_connect_timeout_ms = 1000\n  protocol = "http"\n}',
     {"Kind": "proxy-defaults", "Name": "global", "Config": {"local_connect_timeout_ms": 1000, "protocol": "http"}}),
    ('Kind = "service-resolver"\nName = "web"\nDefaultSubset = "v1"\nSubsets = {\n  "v1" = {\n    '
     'Filter = "Service.Meta.version == v1"\n  }\n  "v2" = {\n    OnlyPassing = true\n  }\n}',
     {"Kind": "service-resolver", "Name": "web", "DefaultSubset": "v1",
      "Subsets": {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"OnlyPassing": True}}}),
    ('Kind = "service-resolver"\nName = "web-dc2"\nRedirect {\n  Service = "web"\n  Datacenter = "dc2"\n}',
     {"Kind": "service-resolver", "Name": "web-dc2", "Redirect": {"Service": "web", "Datacenter": "dc2"}}),
    ('kind = "service-resolver"\nname = "web"\nconnect_timeout = "15s"\nfailover = {\n  "*" = {\n    '
     'datacenters = ["dc3", "dc4"]\n  }\n}',
     {"Kind": "service-resolver", "Name": "web", "Failover": {"*": {"Datacenters": ["dc3", "dc4"]}},
      "ConnectTimeout": "15s"}),
    ('Kind = "service-resolver"\nName = "web"\nLoadBalancer = {\n  Policy = "maglev"\n  HashPolicies = [\n    {\n      '
     'Field = "header"\n      FieldValue = "x-user-id"\n    }\n  ]\n}',
     {"Kind": "service-resolver", "Name": "web", "LoadBalancer": {
         "Policy": "maglev", "HashPolicies": [{"Field": "header", "FieldValue": "x-user-id"}]}}),
    ('Kind = "service-splitter"\nName = "web"\nSplits = [\n  {\n    Weight = 90\n    ServiceSubset = "v1"\n  },\n  {\n'
     'Weight = 10\n    ServiceSubset = "v2"\n  },\n]',
     {"Kind": "service-splitter", "Name": "web",
      "Splits": [{"Weight": 90, "ServiceSubset": "v1"}, {"Weight": 10, "ServiceSubset": "v2"}]}),
    ('Kind = "service-router"\nName = "web"\nRoutes = [\n  {\n    Match {\n      HTTP {\n  PathPrefix = "/admin"\n'
     '      }\n    }\n\n    Destination {\n      Service = "admin"\n    }\n  },\n  # a comment\n]',
     {"Kind": "service-router", "Name": "web", "Routes": [
         {"Match": {"HTTP": {"PathPrefix": "/admin"}}, "Destination": {"Service": "admin"}}]}),
    ('kind = "service-router"\nname = "web"\nroutes = [{ match { http { header = [{ name = "x-debug" exact = "1" }] '
     'query_param = [{ name = "q" present = true }] methods = ["get"] } } destination { service = "web" '
     'service_subset = "canary" num_retries = 5 retry_on_connect_failure = true retry_on_status_codes = [401, 409]}}]',
     {"Kind": "service-router", "Name": "web", "Routes": [{
         "Match": {"HTTP": {"Header": [{"Name": "x-debug", "Exact": "1"}],
                            "QueryParam": [{"Name": "q", "Present": True}], "Methods": ["GET"]}},
         "Destination": {"Service": "web", "ServiceSubset": "canary", "NumRetries": 5, "RetryOnConnectFailure": True,
                         "RetryOnStatusCodes": [401, 409]}}]}),
    ('Kind = "service-intentions"\nName = "api"\nSources = [\n  {\n    Name = "hackathon-project"\n  Action = "deny"\n'
     '  },\n  {\n    Name = "nightly-reconciler"\n    Permissions = [\n      {\n     Action = "allow"\n     HTTP {\n'
     '          PathExact = "/v1/reconcile-data"\n          Methods = ["POST"]\n        }\n      }\n    ]\n  },\n]',
     {"Kind": "service-intentions", "Name": "api", "Sources": [
         {"Name": "hackathon-project", "Action": "deny", "Precedence": 9, "Type": "consul"},
         {"Name": "nightly-reconciler", "Permissions": [
             {"Action": "allow", "HTTP": {"PathExact": "/v1/reconcile-data", "Methods": ["POST"]}}],
          "Precedence": 9, "Type": "consul"}]}),
    ('Kind = "ingress-gateway"\nName = "us-east-ingress"\n\nTLS {\n  Enabled = true\n}\n\nListeners = [\n  {\n    '
     'Port = 8080\n    Protocol = "http"\n    Services = [\n      {\n        Name = "*"\n      }\n    ]\n  }\n]',
     {"Kind": "ingress-gateway", "Name": "us-east-ingress", "TLS": {"Enabled": True}, "Listeners": [
         {"Port": 8080, "Protocol": "http", "Services": [{"Name": "*"}]}]}),
    ('Kind = "terminating-gateway"\nName = "us-west-gateway"\n\nServices = [\n  {\n    Name = "billing"\n    '
     'CAFile = "/etc/certs/ca-chain.cert.pem"\n    SNI = "billing.service.com"\n  }\n]',
     {"Kind": "terminating-gateway", "Name": "us-west-gateway", "Services": [
         {"Name": "billing", "CAFile": "/etc/certs/ca-chain.cert.pem", "SNI": "billing.service.com"}]}),
]  # fmt: skip


def snake(value: Any) -> Any:
    """The same object with the keys of structs in snake case; those of maps of the user stay."""
    if isinstance(value, list):
        return [snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {"Config", "Subsets", "Failover", "Meta"}
    acronyms = {"HTTP": "http", "TLS": "tls", "SNI": "sni", "CAFile": "ca_file"}
    out: dict[str, Any] = {}
    for name, item in value.items():
        spelled = acronyms.get(name) or "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip(
            "_"
        )
        out[spelled] = {key: snake(part) for key, part in item.items()} if name in kept else snake(item)
    return out


@pytest.mark.parametrize(("text", "fields"), DOCUMENTED)
def test_the_documented_entries_are_read_and_written_back(text: str, fields: dict[str, Any]) -> None:
    found = entry(text)
    assert entry_fields(found) == fields
    assert list(entry_fields(found))[:2] == ["Kind", "Name"]
    assert parse_entry(fields) == entry(json.dumps(fields)) == found
    config = found.kind == "proxy-defaults"
    assert config or parse_entry(snake(fields)) == found


def test_every_kind_is_documented() -> None:
    assert {fields["Kind"] for _, fields in DOCUMENTED} == set(KINDS)


def test_metadata_and_indexes_are_part_of_what_is_written() -> None:
    found = parse_entry(
        {"Kind": "service-defaults", "Name": "web", "meta": {"b": "2", "a": "1"}, "ModifyIndex": 9}
    )
    assert found.modify_index == 0
    fields = entry_fields(replace(found, create_index=3, modify_index=4))
    assert fields == {
        "Kind": "service-defaults", "Name": "web", "Meta": {"a": "1", "b": "2"}, "CreateIndex": 3, "ModifyIndex": 4,
    }  # fmt: skip
    assert list(fields["Meta"]) == ["a", "b"]


def test_what_the_state_knows_may_be_written_back_and_is_not_read() -> None:
    source = {
        "Name": "web", "Action": "allow", "Precedence": 1, "LegacyID": "x", "LegacyCreateTime": "t",
        "LegacyUpdateTime": "t", "LegacyMeta": {"k": "v"},
    }  # fmt: skip
    fields = entry_fields(parse_entry({"Kind": "service-intentions", "Name": "db", "Sources": [source]}))
    assert fields["Sources"] == [
        {"Name": "web", "Action": "allow", "Precedence": 9, "Type": "consul", "LegacyMeta": {"k": "v"}}
    ]


def test_sources_come_in_the_order_they_are_looked_at() -> None:
    sources = [{"Name": name, "Action": "deny"} for name in ("*", "web", "api")]
    fields = entry_fields(parse_entry({"Kind": "service-intentions", "Name": "db", "Sources": sources}))
    assert [(each["Name"], each["Precedence"]) for each in fields["Sources"]] == [
        ("api", 9),
        ("web", 9),
        ("*", 8),
    ]


def test_intentions_may_have_namespaces() -> None:
    fields = {
        "Kind": "service-intentions", "Name": "db", "Namespace": "ns1",
        "Sources": [{"Name": "a", "Action": "deny", "Namespace": "ns1"},
                    {"Name": "b", "Action": "deny", "Namespace": "x"}],
    }  # fmt: skip
    written = entry_fields(parse_entry(fields))
    assert written["Namespace"] == "ns1"
    assert [each.get("Namespace") for each in written["Sources"]] == [None, "x"]


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({}, "Kind is required: one of service-defaults, proxy-defaults"),
        ({"Kind": 1}, "Kind: expected string, got number"),
        ({"Kind": "service-router", "kind": "x"}, "kind is written twice"),
        ({"Kind": "service-defalts"}, 'invalid config entry kind "service-defalts": did you mean service-defaults?'),
        ({"Kind": "other"}, 'invalid config entry kind "other": use one of service-defaults, proxy-defaults'),
        ({"Kind": "mesh"}, 'config entry kind "mesh" is not supported: there is nothing to set'),
        ({"Kind": "http-route"}, 'config entry kind "http-route" is not supported: API gateways are of Consul 1.15'),
        ({"Kind": "jwt-provider"}, 'config entry kind "jwt-provider" is not supported: tokens in requests'),
        ({"Kind": "service-defaults"}, "Name is required"),
        ({"Kind": "service-defaults", "Name": ["x"]}, "Name: expected string, got list"),
        ({"Kind": "service-defaults", "Name": "a", "Mta": {}}, 'invalid config key "Mta": did you mean Meta?'),
        ({"Kind": "service-defaults", "Name": "a", "Protcol": "x"}, 'invalid config key "Protcol": did you mean Pro'),
        ({"Kind": "service-defaults", "Name": "a", "Meta": {"k": 1}}, "Meta: expected object of strings"),
        ({"Kind": "service-defaults", "Name": "a", "Meta": ""}, "Meta: expected object of strings"),
        ({"Kind": "service-defaults", "Name": "a", "Namespace": "x"}, "Namespace: namespaces are of Consul Enterprise"),
    ],
)  # fmt: skip
def test_what_is_no_entry_is_refused_by_name(fields: dict[str, Any], because: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_entry(fields)
    assert str(refused.value).startswith(because)


def test_every_mistake_is_told_and_not_without_end() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_entry(
            {"Kind": "service-defaults", "Name": "a", **{f"unknown{number}": 1 for number in range(50)}}
        )
    assert str(refused.value).count("invalid config key") == 20
    assert str(refused.value).endswith("; and 30 more")


def test_a_kind_that_is_known_is_given_back() -> None:
    assert [known_kind(kind) for kind in KINDS] == list(KINDS)


_TEXTS = st.sampled_from(
    ["", "a", "web", "*", "/", "/x", "http", "tcp", "v1", "allow", "deny", "é", "global"]
)
_any = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 101) | st.floats(0, 100) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["Name", "Action", "HTTP", "PathPrefix", "Weight", "Service", "Port", "Services", "Protocol",
                         "Match", "Destination", "Permissions", "v1", "*", "Datacenters", "Filter", "Mode"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    st.sampled_from(sorted(KINDS)),
    _TEXTS,
    st.dictionaries(
        st.sampled_from(["Sources", "Splits", "Routes", "Listeners", "Services", "Subsets", "Failover", "Redirect",
                         "Protocol", "Config", "Meta", "TLS", "Expose", "UpstreamConfig", "LoadBalancer"]),
        _any, max_size=4,
    ),
)  # fmt: skip
def test_any_object_is_an_entry_that_is_read_again_or_a_sentence(
    kind: str, name: str, rest: dict[str, Any]
) -> None:
    try:
        found = parse_entry({"Kind": kind, "Name": name, **rest})
    except ConfigError:
        return
    assert isinstance(found, ConfigEntry)
    assert parse_entry(entry_fields(found)) == found
    assert parse_entry(json.loads(json.dumps(entry_fields(found)))) == found
    assert plain_of(json.dumps(entry_fields(found))) == entry_fields(found)
