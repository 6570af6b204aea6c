"""What a resolver, splitter or router may not be. The texts are Consul's where Consul has one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from meshnode.base.duration import format_duration
from meshnode.config_entries.defaults import HeaderModifiers
from meshnode.config_entries.routing import (
    Failover,
    HashPolicy,
    LoadBalancer,
    QueryParam,
    Redirect,
    Route,
    RouteDestination,
    RouteHttp,
    ServiceResolver,
    ServiceRouter,
    ServiceSplitter,
)
from meshnode.intentions.model import WILDCARD, HttpMatch
from meshnode.intentions.validate import HEADER_NAME, match_faults, pattern_faults

__all__ = ["FULL_WEIGHT", "header_faults", "resolver_faults", "router_faults", "splitter_faults"]

#: All shares of a splitter together, in percent.
FULL_WEIGHT: Final = 100.0
_SUBSET: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HASHED: Final = ("ring_hash", "maglev")
_POLICIES: Final = ("random", "round_robin", "least_request", *_HASHED)
_HASH_FIELDS: Final = ("header", "cookie", "query_parameter")
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
MAX_RETRIES: Final = 2**32 - 1
#: Source: Envoy, documentation of ``x-envoy-retry-on`` and ``x-envoy-retry-grpc-on``, as Consul takes them.
_RETRY_ON: Final = (
    *("5xx", "gateway-error", "reset", "connect-failure", "envoy-ratelimited", "retriable-4xx"),
    *("refused-stream", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"),
)


# Resolver


def resolver_faults(name: str, spec: ServiceResolver) -> Iterator[str]:
    """Every reason why the resolver of the service ``name`` can't be stored."""
    for subset in spec.subsets:
        if not _SUBSET.fullmatch(subset):
            yield (
                f'Subset "{subset[:80]}" is invalid: Subset name must begin or end with lower case alphanumeric '
                "characters, and contain lower case alphanumeric characters or '-' in between, 63 at most"
            )
    if spec.default_subset and spec.default_subset not in spec.subsets:
        yield f'DefaultSubset "{spec.default_subset[:80]}" is not a valid subset'
    if spec.redirect is not None:
        yield from _redirect_faults(name, spec, spec.redirect)
    for subset, failover in spec.failover.items():
        yield from (
            f'Bad Failover["{subset[:80]}"]: {fault}' for fault in _failover_faults(spec, subset, failover)
        )
    for field, seconds in (
        ("ConnectTimeout", spec.connect_timeout),
        ("RequestTimeout", spec.request_timeout),
    ):
        if seconds < 0:
            yield f"Bad {field} '{format_duration(seconds)}', must be >= 0"
    if spec.load_balancer is not None:
        yield from _balancer_faults(spec.load_balancer)


def _redirect_faults(name: str, spec: ServiceResolver, redirect: Redirect) -> Iterator[str]:
    if redirect == Redirect():
        yield "Redirect is empty: give a Service or a Datacenter"
    elif redirect.service_subset and not (redirect.service or redirect.datacenter):
        yield "Redirect.ServiceSubset defined without Redirect.Service or Redirect.Datacenter"
    elif (redirect.service or name).lower() == name.lower():
        if redirect.service_subset and redirect.service_subset not in spec.subsets:
            yield f'Redirect.ServiceSubset "{redirect.service_subset[:80]}" is not a valid subset of "{name}"'
        if not (redirect.datacenter or redirect.service_subset):
            yield "Redirect leads back to the same service: give another Service or a Datacenter"


def _failover_faults(spec: ServiceResolver, subset: str, failover: Failover) -> Iterator[str]:
    if subset != WILDCARD and subset not in spec.subsets:
        yield f"not a valid subset: define it in Subsets, or write {WILDCARD} for all"
    if failover == Failover():
        yield "one of Service, ServiceSubset, Datacenters or Targets is required"
    if failover.targets and (failover.service or failover.service_subset or failover.datacenters):
        yield "Targets cannot be set together with Service, ServiceSubset or Datacenters"
    if not all(failover.datacenters):
        yield "found empty datacenter"


def _balancer_faults(balancer: LoadBalancer) -> Iterator[str]:
    policy = balancer.policy
    if policy and policy not in _POLICIES:
        yield f'Bad LoadBalancer policy: "{policy[:80]}" is not supported: use one of {", ".join(_POLICIES)}'
    ring, least = balancer.ring_hash_config, balancer.least_request_config
    if ring is not None and policy != "ring_hash":
        yield (
            "Bad LoadBalancer configuration. RingHashConfig specified for incompatible load balancing policy "
            f'"{policy[:80]}"'
        )
    if least is not None and policy != "least_request":
        yield (
            "Bad LoadBalancer configuration. LeastRequestConfig specified for incompatible load balancing policy "
            f'"{policy[:80]}"'
        )
    if balancer.hash_policies and policy not in _HASHED:
        yield f'Bad LoadBalancer configuration: HashPolicies specified for non-hash-based Policy: "{policy[:80]}"'
    if ring is not None and not 0 <= ring.minimum_ring_size <= (
        ring.maximum_ring_size or ring.minimum_ring_size
    ):
        yield "LoadBalancer.RingHashConfig: MinimumRingSize must be >= 0 and not above MaximumRingSize"
    if least is not None and least.choice_count < 0:
        yield "LoadBalancer.LeastRequestConfig.ChoiceCount must be >= 0"
    for number, hashed in enumerate(balancer.hash_policies):
        yield from (f"Bad LoadBalancer HashPolicy[{number}]: {fault}" for fault in _hash_faults(hashed))


def _hash_faults(policy: HashPolicy) -> Iterator[str]:
    cookie = policy.cookie_config
    if policy.source_ip and (policy.field or policy.field_value):
        yield (
            "A single hash policy cannot hash both a source address and a field: write two, or leave out SourceIP"
        )
    elif not policy.source_ip and policy.field not in _HASH_FIELDS:
        yield f'"{policy.field[:40]}" is not a supported field: use one of {", ".join(_HASH_FIELDS)}'
    elif policy.field and not policy.field_value:
        yield f'Field "{policy.field}" was specified without a FieldValue'
    if cookie is not None and policy.field != "cookie":
        yield 'cookie_config provided, but the field is not "cookie"'
    if cookie is not None and cookie.session and cookie.ttl:
        yield "a session cookie cannot have an associated TTL"
    if cookie is not None and cookie.ttl < 0:
        yield "CookieConfig.TTL must be >= 0"


# Splitter


def splitter_faults(name: str, spec: ServiceSplitter) -> Iterator[str]:
    """Every reason why the splitter of the service ``name`` can't be stored."""
    if not spec.splits:
        yield "no splits configured"
        return
    seen: set[tuple[str, str]] = set()
    for number, split in enumerate(spec.splits):
        if not 0 <= split.weight <= FULL_WEIGHT:
            yield f"Splits[{number}].Weight must be between 0 and 100, not {split.weight:g}"
        destination = ((split.service or name).lower(), split.service_subset)
        if destination in seen:
            yield (
                f'split destination occurs more than once: service="{split.service[:80]}", '
                f'subset="{split.service_subset[:80]}"'
            )
        seen.add(destination)
        yield from header_faults(f"Splits[{number}].RequestHeaders", split.request_headers)
        yield from header_faults(f"Splits[{number}].ResponseHeaders", split.response_headers)
    total = sum(round(split.weight * 100) for split in spec.splits)
    if total != FULL_WEIGHT * 100:
        yield f"the sum of all split weights must be 100, not {total / 100:g}"


# Router


def router_faults(spec: ServiceRouter) -> Iterator[str]:
    """Every reason why the router can't be stored."""
    for number, route in enumerate(spec.routes):
        yield from (f"Routes[{number}].{fault}" for fault in _route_faults(route))


def _route_faults(route: Route) -> Iterator[str]:
    http = route.match.http if route.match is not None else None
    if http is not None:
        plain = HttpMatch(http.path_exact, http.path_prefix, http.path_regex, http.header, http.methods)
        yield from (f"Match.HTTP.{fault}" for fault in match_faults(plain))
        for number, param in enumerate(http.query_param):
            yield from (f"Match.HTTP.QueryParam[{number}].{fault}" for fault in _param_faults(param))
    if route.destination is not None:
        yield from (f"Destination.{fault}" for fault in _destination_faults(route.destination, http))


def _param_faults(param: QueryParam) -> Iterator[str]:
    if not param.name:
        yield "Name is required"
    count = sum(map(bool, (param.present, param.exact, param.regex)))
    if count != 1:
        yield f"Present, Exact and Regex: exactly one must be set, not {count}"
    yield from pattern_faults("Regex", param.regex)


def _destination_faults(destination: RouteDestination, http: RouteHttp | None) -> Iterator[str]:
    if destination.prefix_rewrite:
        if http is None or not (http.path_exact or http.path_prefix):
            yield "PrefixRewrite cannot be used without configuring either PathExact or PathPrefix"
        if not destination.prefix_rewrite.startswith("/"):
            yield "PrefixRewrite must begin with '/'"
    for field, seconds in (
        ("RequestTimeout", destination.request_timeout),
        ("IdleTimeout", destination.idle_timeout),
    ):
        if seconds < 0:
            yield f"{field} must be >= 0"
    if not 0 <= destination.num_retries <= MAX_RETRIES:
        yield f"NumRetries must be between 0 and {MAX_RETRIES}"
    for code in destination.retry_on_status_codes:
        if not 100 <= code <= 599:
            yield f"RetryOnStatusCodes: {code} is no status of HTTP: write 100 to 599"
    for reason in destination.retry_on:
        if reason not in _RETRY_ON:
            yield f'RetryOn: "{reason[:40]}" is none: use {", ".join(_RETRY_ON)}'
    yield from header_faults("RequestHeaders", destination.request_headers)
    yield from header_faults("ResponseHeaders", destination.response_headers)


def header_faults(place: str, headers: HeaderModifiers | None) -> Iterator[str]:
    """Why headers can't be changed like this."""
    if headers is None:
        return
    for name in (*headers.add, *headers.set, *headers.remove):
        if not HEADER_NAME.fullmatch(name):
            yield f"{place}: {name[:80]!a} can't be the name of a header"
        elif name.lower() == "host":
            yield f"{place}: Envoy doesn't let the header Host be changed: leave it out"
    for name, value in (*headers.add.items(), *headers.set.items()):
        if _UNPRINTABLE.search(value):
            yield f"{place}: the value of {name[:80]} has control characters"
