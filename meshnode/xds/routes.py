"""Which request goes where: a discovery chain as routes (RDS).

Routes are tried in order, as those of a router are; shares of a splitter become weighted clusters, and what a resolver
says about hashing is part of the route. Source: Envoy 1.40, "HTTP route components", API v3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshnode.config_entries.chain import ResolverNode, RouterNode, SplitterNode
from meshnode.config_entries.defaults import HeaderModifiers
from meshnode.config_entries.routing import HashPolicy, QueryParam, Route, RouteDestination, RouteHttp, Split
from meshnode.intentions.model import HeaderMatch
from meshnode.xds.legs import Leg
from meshnode.xds.matching import header_condition, methods_condition
from meshnode.xds.schema import duration, message

__all__ = ["Host", "leg_routes", "route_table"]

#: Parts of a percent, so that shares of shares of shares are still told apart.
WEIGHT_UNIT: Final = 10_000
_NO_DESTINATION: Final = RouteDestination()
_NO_CONDITIONS: Final = RouteHttp()
#: What Envoy replaces in the value of a header, as ``%DOWNSTREAM_REMOTE_ADDRESS%`` or ``%REQ(x)%``.
_VARIABLE: Final = re.compile(r"%%|%[A-Z_]+(?:\([^()%]*\))?(?::\d+)?%|%")


@dataclass(frozen=True, slots=True)
class Host:
    """Requests for ``domains`` go a way into the mesh; ``*`` is any. Headers are changed in both directions."""

    name: str
    domains: tuple[str, ...]
    leg: Leg
    request_headers: HeaderModifiers | None = None
    response_headers: HeaderModifiers | None = None


def route_table(name: str, hosts: Sequence[Host]) -> Any:
    """A ``RouteConfiguration``; a request for another host is answered with 404."""
    return message("config.route.v3.RouteConfiguration")(
        name=name,
        # Clusters come before and go after the routes that name them.
        validate_clusters={"value": False},
        virtual_hosts=[
            {
                "name": host.name,
                "domains": list(host.domains),
                "routes": leg_routes(host.leg),
                **_changes(host.request_headers, host.response_headers),
            }
            for host in hosts
        ],
    )


def leg_routes(leg: Leg) -> list[Any]:
    """The routes of one way, first that fits; the last one fits every request."""
    start = leg.chain.nodes[leg.chain.start]
    if not isinstance(start, RouterNode):
        return [_route(leg, Route(), leg.chain.start)]
    return [_route(leg, route, following) for route, following in start.routes]


def _route(leg: Leg, route: Route, following: str) -> Any:
    http = (route.match.http if route.match is not None else None) or _NO_CONDITIONS
    destination = route.destination or _NO_DESTINATION
    return message("config.route.v3.Route")(
        match=_match(http),
        route=_action(leg, destination, following),
        **_changes(destination.request_headers, destination.response_headers),
    )


def _match(http: RouteHttp) -> Any:
    match = message("config.route.v3.RouteMatch")(
        headers=[_header(each) for each in http.header],
        query_parameters=[_query(each) for each in http.query_param],
    )
    if http.methods:
        match.headers.add(**methods_condition(http.methods))
    if http.path_exact:
        match.path = http.path_exact
    elif http.path_regex:
        match.safe_regex.regex = http.path_regex
    else:
        match.prefix = http.path_prefix or "/"
    return match


def _header(match: HeaderMatch) -> dict[str, Any]:
    condition = header_condition(match)
    if match.invert:
        condition["invert_match"] = True
        if not match.present:
            # Absence meets an inverted condition, as in an intention.
            condition["treat_missing_header_as_empty"] = True
    return condition


def _query(param: QueryParam) -> dict[str, Any]:
    if param.present:
        return {"name": param.name, "present_match": True}
    value = {"exact": param.exact} if param.exact else {"safe_regex": {"regex": param.regex}}
    return {"name": param.name, "string_match": value}


def _action(leg: Leg, destination: RouteDestination, following: str) -> Any:
    node = leg.chain.nodes[following]
    shares = node.splits if isinstance(node, SplitterNode) else ((Split(weight=100.0), following),)
    ends = [end for _, name in shares if isinstance(end := leg.chain.nodes[name], ResolverNode)]
    action = message("config.route.v3.RouteAction")(
        # Without a word about it a request may take as long as it likes; a silent one ends with the stream's time.
        timeout=duration(
            destination.request_timeout or max((end.request_timeout for end in ends), default=0)
        ),
        hash_policy=[_hashed(policy) for policy in _policies(ends)],
    )
    if len(shares) == 1 and shares[0][0] == Split(weight=100.0):
        action.cluster = leg.cluster(following)
    else:
        action.weighted_clusters.CopyFrom(
            message("config.route.v3.WeightedCluster")(
                clusters=[
                    {
                        "name": leg.cluster(name),
                        "weight": {"value": round(split.weight * WEIGHT_UNIT)},
                        **_changes(split.request_headers, split.response_headers),
                    }
                    for split, name in shares
                ]
            )
        )
    if destination.prefix_rewrite:
        action.prefix_rewrite = destination.prefix_rewrite
    if destination.idle_timeout:
        action.idle_timeout.CopyFrom(duration(destination.idle_timeout))
    if retry := _retry(destination):
        action.retry_policy.CopyFrom(retry)
    return action


def _retry(destination: RouteDestination) -> Any:
    reasons = list(destination.retry_on)
    if destination.retry_on_connect_failure:
        reasons.append("connect-failure")
    if destination.retry_on_status_codes:
        reasons.append("retriable-status-codes")
    if not (reasons or destination.num_retries):
        return None
    policy = message("config.route.v3.RetryPolicy")(
        retry_on=",".join(dict.fromkeys(reasons)),
        retriable_status_codes=destination.retry_on_status_codes,
    )
    if destination.num_retries:
        policy.num_retries.value = destination.num_retries
    return policy


def _policies(ends: Sequence[ResolverNode]) -> list[HashPolicy]:
    """What any of the ends is hashed by, each once: a route has one list for all its clusters."""
    balancers = [end.load_balancer for end in ends if end.load_balancer is not None]
    return list(dict.fromkeys(policy for each in balancers for policy in each.hash_policies))


def _hashed(policy: HashPolicy) -> dict[str, Any]:
    if policy.source_ip:
        return {"connection_properties": {"source_ip": True}, "terminal": policy.terminal}
    match policy.field:
        case "header":
            return {"header": {"header_name": policy.field_value}, "terminal": policy.terminal}
        case "query_parameter":
            return {"query_parameter": {"name": policy.field_value}, "terminal": policy.terminal}
    cookie: dict[str, Any] = {"name": policy.field_value}
    if policy.cookie_config is not None:
        # A time of 0 is a cookie for the session; without one Envoy makes no cookie.
        cookie["path"] = policy.cookie_config.path
        if policy.cookie_config.session or policy.cookie_config.ttl:
            cookie["ttl"] = duration(policy.cookie_config.ttl)
    return {"cookie": cookie, "terminal": policy.terminal}


def _changes(request: HeaderModifiers | None, response: HeaderModifiers | None) -> dict[str, Any]:
    """The fields that a route, a virtual host and a weighted cluster share."""
    changes: dict[str, Any] = {}
    for kind, headers in (("request", request), ("response", response)):
        if headers is not None:
            changes[f"{kind}_headers_to_add"] = [
                *(_added(name, value, "APPEND_IF_EXISTS_OR_ADD") for name, value in headers.add.items()),
                *(_added(name, value, "OVERWRITE_IF_EXISTS_OR_ADD") for name, value in headers.set.items()),
            ]
            changes[f"{kind}_headers_to_remove"] = list(headers.remove)
    return changes


def _added(name: str, value: str, action: str) -> dict[str, Any]:
    plain = _VARIABLE.sub(lambda found: found.group() if len(found.group()) > 1 else "%%", value)
    return {"header": {"key": name, "value": plain}, "append_action": action, "keep_empty_value": True}
