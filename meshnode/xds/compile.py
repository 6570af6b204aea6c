"""A proxy's state as resources: each one's version is a digest of it, so nothing is sent twice that is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshnode.intentions.model import ServiceName
from meshnode.xds.clusters import assignment, local_app, upstream_cluster
from meshnode.xds.listeners import is_http, public_listener, public_routes, upstream_listener
from meshnode.xds.rbac import compile_rules
from meshnode.xds.schema import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, packed, type_url
from meshnode.xds.state import ProxyState
from meshnode.xds.tls import secrets

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


def compile_snapshot(state: ProxyState) -> Snapshot:
    """All resources of the proxy; the same state always gives the same versions."""
    found: dict[str, dict[str, Resource]] = {
        url: {} for url in (CLUSTER, ENDPOINTS, SECRET, LISTENER, ROUTES)
    }
    for one in (*_public(state), *_upstreams(state)):
        _add(found, one)
    for one in secrets(state.certificate_pem, state.key_pem, state.roots_pem):
        _add(found, one)
    return found


def _add(found: dict[str, dict[str, Resource]], one: Any) -> None:
    name = one.cluster_name if type_url(one) == ENDPOINTS else one.name
    body = packed(one)
    digest = hashlib.sha256(body.value).hexdigest()[:16]
    found[type_url(one)][name] = Resource(name, digest, body)


def _public(state: ProxyState) -> list[Any]:
    public = state.config.public
    if public is None:
        return []
    rules = compile_rules(
        state.intentions,
        ServiceName(state.config.service),
        state.default,
        trust_domain=state.trust_domain,
        http=is_http(public),
    )
    found = [local_app(public), public_listener(public, rules, trust_domain=state.trust_domain)]
    return [*found, public_routes(rules)] if is_http(public) else found


def _upstreams(state: ProxyState) -> list[Any]:
    found = []
    for one in state.config.upstreams:
        instances = state.instances.get(one.name, ())
        cluster = upstream_cluster(
            one, instances, trust_domain=state.trust_domain, datacenter=state.datacenter
        )
        found += [cluster, assignment(one.name, instances), upstream_listener(one)]
    return found
