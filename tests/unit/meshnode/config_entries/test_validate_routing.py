"""Resolvers, splitters and routers that can't be stored whatever the others are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.config_entries.parse import parse_entry
from meshnode.config_entries.validate_routing import MAX_RETRIES


def fault(kind: str, **fields: Any) -> str:
    """Why the entry of the service ``web`` is refused, or ``""``."""
    try:
        parse_entry({"Kind": kind, "Name": "web", **fields})
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({}, ""),
        ({"Subsets": {"V1": {}}}, 'Subset "V1" is invalid: Subset name must begin or end with lower case'),
        ({"Subsets": {"": {}}}, 'Subset "" is invalid'),
        ({"Subsets": {"x" * 64: {}}}, f'Subset "{"x" * 64}" is invalid'),
        ({"Subsets": {"x" * 63: {}, "v-1": {}}}, ""),
        ({"DefaultSubset": "v1"}, 'DefaultSubset "v1" is not a valid subset'),
        ({"DefaultSubset": "v1", "Subsets": {"v1": {}}}, ""),
        ({"Redirect": {}}, "Redirect is empty"),
        ({"Redirect": {"ServiceSubset": "v1"}}, "Redirect.ServiceSubset defined without Redirect.Service"),
        ({"Redirect": {"Service": "web"}}, "Redirect leads back to the same service"),
        ({"Redirect": {"Service": "WEB", "ServiceSubset": "v1"}}, 'Redirect.ServiceSubset "v1" is not a valid subset'),
        ({"Redirect": {"Datacenter": "dc2"}}, ""),
        ({"Redirect": {"Service": "api"}}, ""),
        ({"Redirect": {"Peer": "p"}}, "Redirect.Peer: this release has no cluster peering"),
        ({"Failover": {"v1": {"Service": "x"}}}, 'Bad Failover["v1"]: not a valid subset'),
        ({"Failover": {"*": {}}}, 'Bad Failover["*"]: one of Service, ServiceSubset, Datacenters or Targets is requir'),
        ({"Failover": {"*": {"Datacenters": [""]}}}, 'Bad Failover["*"]: found empty datacenter'),
        ({"Failover": {"*": {"Service": "x", "Targets": [{"Datacenter": "dc2"}]}}}, 'Bad Failover["*"]: Targets canno'),
        ({"Failover": {"*": {"Targets": [{"Datacenter": "dc2"}]}}}, ""),
        ({"ConnectTimeout": "-1s"}, "Bad ConnectTimeout '-1s', must be >= 0"),
        ({"RequestTimeout": "-1s"}, "Bad RequestTimeout '-1s', must be >= 0"),
        ({"LoadBalancer": {"Policy": "best"}}, 'Bad LoadBalancer policy: "best" is not supported'),
        ({"LoadBalancer": {"Policy": "random", "RingHashConfig": {}}}, "Bad LoadBalancer configuration. RingHashConfi"),
        ({"LoadBalancer": {"Policy": "random", "LeastRequestConfig": {}}}, "Bad LoadBalancer configuration. LeastRequ"),
        ({"LoadBalancer": {"Policy": "random", "HashPolicies": [{"SourceIP": True}]}},
         "Bad LoadBalancer configuration: HashPolicies specified for non-hash-based Policy"),
        ({"LoadBalancer": {"Policy": "ring_hash", "RingHashConfig": {"MinimumRingSize": 9, "MaximumRingSize": 8}}},
         "LoadBalancer.RingHashConfig: MinimumRingSize must be >= 0 and not above MaximumRingSize"),
        ({"LoadBalancer": {"Policy": "ring_hash", "RingHashConfig": {"MinimumRingSize": 9}}}, ""),
        ({"LoadBalancer": {"Policy": "least_request", "LeastRequestConfig": {"ChoiceCount": -1}}},
         "LoadBalancer.LeastRequestConfig.ChoiceCount must be >= 0"),
        ({"LoadBalancer": {"Policy": "maglev", "HashPolicies": [{"Field": "body"}]}},
         'Bad LoadBalancer HashPolicy[0]: "body" is not a supported field'),
        ({"LoadBalancer": {"Policy": "maglev", "HashPolicies": [{"Field": "header"}]}},
         'Bad LoadBalancer HashPolicy[0]: Field "header" was specified without a FieldValue'),
        ({"LoadBalancer": {"Policy": "maglev", "HashPolicies": [{"SourceIP": True, "Field": "header"}]}},
         "Bad LoadBalancer HashPolicy[0]: A single hash policy cannot hash both"),
        ({"LoadBalancer": {"Policy": "maglev", "HashPolicies": [
            {"Field": "header", "FieldValue": "x", "CookieConfig": {}}]}},
         "Bad LoadBalancer HashPolicy[0]: cookie_config provided"),
        ({"LoadBalancer": {"Policy": "maglev", "HashPolicies": [
            {"Field": "cookie", "FieldValue": "x", "CookieConfig": {"Session": True, "TTL": "1s"}}]}},
         "Bad LoadBalancer HashPolicy[0]: a session cookie cannot have an associated TTL"),
        ({"LoadBalancer": {"Policy": "maglev", "HashPolicies": [
            {"Field": "cookie", "FieldValue": "x", "CookieConfig": {"TTL": "-1s"}}]}},
         "Bad LoadBalancer HashPolicy[0]: CookieConfig.TTL must be >= 0"),
    ],
)  # fmt: skip
def test_resolvers(fields: dict[str, Any], because: str) -> None:
    found = fault("service-resolver", **fields)
    assert found.startswith(because)
    assert bool(found) == bool(because)


@pytest.mark.parametrize(
    ("splits", "because"),
    [
        ([], "no splits configured"),
        ([{"Weight": 100}], ""),
        ([{"Weight": 99.99}], "the sum of all split weights must be 100, not 99.99"),
        ([{"Weight": 50}, {"Weight": 50.01, "Service": "b"}], "the sum of all split weights must be 100, not 100.01"),
        ([{"Weight": 33.33}, {"Weight": 33.33, "Service": "b"}, {"Weight": 33.34, "Service": "c"}], ""),
        ([{"Weight": 101}, {"Weight": -1, "Service": "b"}], "Splits[0].Weight must be between 0 and 100, not 101"),
        ([{"Weight": 50}, {"Weight": 50, "Service": "WEB"}], "split destination occurs more than once"),
        ([{"Weight": 50, "ServiceSubset": "a"}, {"Weight": 50, "ServiceSubset": "b"}], ""),
        ([{"Weight": 100, "RequestHeaders": {"Add": {"bad name": "x"}}}], "Splits[0].RequestHeaders: 'bad name' can't"),
        ([{"Weight": 100, "ResponseHeaders": {"Set": {"x": "a\nb"}}}], "Splits[0].ResponseHeaders: the value of x has"),
        ([{"Weight": 100, "RequestHeaders": {"Set": {"Host": "x"}}}], "Splits[0].RequestHeaders: Envoy doesn't let"),
        ([{"Weight": 100, "ResponseHeaders": {"Remove": [""]}}], "Splits[0].ResponseHeaders: '' can't be the name"),
    ],
)  # fmt: skip
def test_splitters(splits: list[dict[str, Any]], because: str) -> None:
    found = fault("service-splitter", Splits=splits)
    assert found.startswith(because)
    assert bool(found) == bool(because)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=8))
def test_weights_are_taken_exactly_when_their_hundredths_make_up_the_whole(hundredths: list[int]) -> None:
    splits = [{"Weight": each / 100, "Service": f"s{number}"} for number, each in enumerate(hundredths)]
    assert (fault("service-splitter", Splits=splits) == "") == (sum(hundredths) == 10_000)


@pytest.mark.parametrize(
    ("route", "because"),
    [
        ({}, ""),
        ({"Match": {"HTTP": {"PathPrefix": "/", "PathExact": "/"}}}, "Routes[0].Match.HTTP.PathExact, PathPrefix and"),
        ({"Match": {"HTTP": {"PathPrefix": "x"}}}, "Routes[0].Match.HTTP.PathPrefix must begin with '/'"),
        ({"Match": {"HTTP": {"PathRegex": "("}}}, "Routes[0].Match.HTTP.PathRegex: "),
        ({"Match": {"HTTP": {"Methods": ["FETCH"]}}}, "Routes[0].Match.HTTP.Methods contains an invalid method 'FETCH"),
        ({"Match": {"HTTP": {"Header": [{"Name": "x"}]}}}, "Routes[0].Match.HTTP.Header[0].Present, Exact, Prefix"),
        ({"Match": {"HTTP": {"QueryParam": [{"Exact": "x"}]}}}, "Routes[0].Match.HTTP.QueryParam[0].Name is required"),
        ({"Match": {"HTTP": {"QueryParam": [{"Name": "x"}]}}},
         "Routes[0].Match.HTTP.QueryParam[0].Present, Exact and Regex: exactly one must be set, not 0"),
        ({"Match": {"HTTP": {"QueryParam": [{"Name": "x", "Regex": "["}]}}}, "Routes[0].Match.HTTP.QueryParam[0].Rege"),
        ({"Destination": {"PrefixRewrite": "/"}}, "Routes[0].Destination.PrefixRewrite cannot be used without"),
        ({"Match": {"HTTP": {"PathExact": "/a"}}, "Destination": {"PrefixRewrite": "b"}},
         "Routes[0].Destination.PrefixRewrite must begin with '/'"),
        ({"Match": {"HTTP": {"PathExact": "/a"}}, "Destination": {"PrefixRewrite": "/b"}}, ""),
        ({"Destination": {"RequestTimeout": "-1s"}}, "Routes[0].Destination.RequestTimeout must be >= 0"),
        ({"Destination": {"IdleTimeout": "-1s"}}, "Routes[0].Destination.IdleTimeout must be >= 0"),
        ({"Destination": {"NumRetries": -1}}, "Routes[0].Destination.NumRetries must be between 0 and"),
        ({"Destination": {"NumRetries": MAX_RETRIES}}, ""),
        ({"Destination": {"NumRetries": MAX_RETRIES + 1}}, "Routes[0].Destination.NumRetries must be between 0 and"),
        ({"Destination": {"RetryOnStatusCodes": [99]}}, "Routes[0].Destination.RetryOnStatusCodes: 99 is no status"),
        ({"Destination": {"RetryOn": ["never"]}}, 'Routes[0].Destination.RetryOn: "never" is none'),
        ({"Destination": {"RetryOn": ["5xx"]}}, ""),
        ({"Destination": {"RequestHeaders": {"Remove": ["a b"]}}}, "Routes[0].Destination.RequestHeaders: 'a b' can't"),
    ],
)  # fmt: skip
def test_routers(route: dict[str, Any], because: str) -> None:
    found = fault("service-router", Routes=[route])
    assert found.startswith(because)
    assert bool(found) == bool(because)
