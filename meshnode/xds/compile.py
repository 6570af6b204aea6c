"""A proxy's state as resources: each one's version is a digest of it, so nothing is sent twice that is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshnode.config_entries.defaults import Upstream
from meshnode.config_entries.protocol import is_http_like
from meshnode.intentions.model import ServiceName
from meshnode.xds.clusters import LOCAL_APP, leg_assignments, leg_clusters, local_app
from meshnode.xds.gateways import ingress_resources, terminating_resources
from meshnode.xds.legs import leg_of
from meshnode.xds.listeners import (
    PUBLIC_ROUTES,
    guarded_routes,
    public_listener,
    upstream_listener,
    upstream_routes,
)
from meshnode.xds.rbac import compile_rules
from meshnode.xds.schema import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, packed, type_url
from meshnode.xds.state import IngressState, ProxyState, State, TerminatingState
from meshnode.xds.tls import leaf_secret, roots_secret

__all__ = ["Resource", "Snapshot", "compile_snapshot", "version_of"]


@dataclass(frozen=True, slots=True)
class Resource:
    """``body`` is an ``Any``; it may hold a key, so it isn't shown."""

    name: str
    version: str
    body: Any = field(default=None, repr=False, compare=False)


#: Type URL -> name -> resource.
Snapshot = Mapping[str, Mapping[str, Resource]]


def version_of(resources: Iterable[Resource]) -> str:
    """The version of several resources together, whatever their order."""
    known = sorted((each.name, each.version) for each in resources)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def compile_snapshot(state: State) -> Snapshot:
    """All resources of the proxy; the same state always gives the same versions."""
    found: dict[str, dict[str, Resource]] = {
        url: {} for url in (CLUSTER, ENDPOINTS, SECRET, LISTENER, ROUTES)
    }
    match state:
        case ProxyState():
            resources = [*_public(state), *_upstreams(state), *_secrets(state)]
        case IngressState():
            resources = ingress_resources(state)
        case TerminatingState():
            resources = terminating_resources(state)
    for one in resources:
        _add(found, one)
    return found


def _add(found: dict[str, dict[str, Resource]], one: Any) -> None:
    name = one.cluster_name if type_url(one) == ENDPOINTS else one.name
    body = packed(one)
    digest = hashlib.sha256(body.value).hexdigest()[:16]
    found[type_url(one)][name] = Resource(name, digest, body)


def _secrets(state: ProxyState) -> list[Any]:
    return [leaf_secret(state.certificate_pem, state.key_pem), roots_secret(state.roots_pem)]


def _public(state: ProxyState) -> list[Any]:
    public = state.config.public
    if public is None:
        return []
    rules = compile_rules(
        state.intentions,
        ServiceName(state.config.service),
        state.default,
        trust_domain=state.trust_domain,
        http=is_http_like(public.protocol),
    )
    listener = public_listener(public, rules, trust_domain=state.trust_domain, logs=state.logs)
    if not is_http_like(public.protocol):
        return [local_app(public), listener]
    routes = guarded_routes(PUBLIC_ROUTES, LOCAL_APP, rules, timeout=state.local_request_timeout)
    return [local_app(public), listener, routes]


def _upstreams(state: ProxyState) -> list[Any]:
    found = []
    for one in state.config.upstreams:
        defaults = state.defaults.get(one.name, Upstream())
        leg = leg_of(one, state.chains, state.datacenter, defaults)
        found += leg_clusters(
            leg, state.instances, trust_domain=state.trust_domain, datacenter=state.datacenter
        )
        found += leg_assignments(leg, state.instances)
        found.append(upstream_listener(one.bind, leg, state.logs))
        if leg.is_http:
            found.append(upstream_routes(leg))
    return found
