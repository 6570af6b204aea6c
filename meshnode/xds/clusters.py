"""Where connections go: the application, and a cluster for each set of instances that a way into the mesh ends at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from meshnode.base.address import is_ip_address
from meshnode.base.errors import RemoteProtocolError
from meshnode.base.spiffe import ServiceId
from meshnode.config_entries.chain import CONNECT_TIMEOUT, ResolverNode, Target
from meshnode.config_entries.defaults import Limits, PassiveHealthCheck
from meshnode.config_entries.routing import LoadBalancer
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import PublicListener
from meshnode.xds.addresses import address, socket_address
from meshnode.xds.legs import NO_LIMITS, Leg
from meshnode.xds.schema import duration, message, packed
from meshnode.xds.tls import ads, upstream

__all__ = [
    "LOCAL_APP",
    "assignment",
    "breakers",
    "leg_assignments",
    "leg_clusters",
    "local_app",
    "speak_http2",
]

#: The cluster of the application beside the proxy.
LOCAL_APP: Final = "local_app"
_PROTOCOL_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2: Final = frozenset({"http2", "grpc"})
_POLICIES: Final = {
    "": "LEAST_REQUEST",
    "least_request": "LEAST_REQUEST",
    "random": "RANDOM",
    "round_robin": "ROUND_ROBIN",
    "ring_hash": "RING_HASH",
    "maglev": "MAGLEV",
}
#: Envoy takes no longer ones.
MAX_SNI_CHARS: Final = 255
#: Percent: what the healthy ones of a priority have to be multiplied with to take all of it. Any one of them will do.
ALL_ON_ONE: Final = 100_000


def breakers(most: int, limits: Limits = NO_LIMITS) -> Any:
    """Bounds of a cluster: connections, requests that wait and that are under way; ``most`` where there is no other."""
    bounds = {
        "max_connections": limits.max_connections,
        "max_pending_requests": limits.max_pending_requests,
        "max_requests": limits.max_concurrent_requests,
    }
    found = {name: {"value": value or most} for name, value in bounds.items()}
    return message("config.cluster.v3.CircuitBreakers")(thresholds=[found])


def speak_http2(cluster: Any, protocol: str) -> None:
    """Let ``cluster`` speak HTTP/2 where ``protocol`` is one of those that need it."""
    if protocol in _HTTP2:
        options = message("extensions.upstreams.http.v3.HttpProtocolOptions")(
            explicit_http_config={"http2_protocol_options": {}}
        )
        cluster.typed_extension_protocol_options[_PROTOCOL_OPTIONS].CopyFrom(packed(options))


def local_app(public: PublicListener) -> Any:
    """The cluster of the application."""
    cluster = message("config.cluster.v3.Cluster")(
        name=LOCAL_APP,
        type="STRICT_DNS" if public.local_app.named else "STATIC",
        connect_timeout=duration(public.local_connect_timeout),
        circuit_breakers=breakers(public.max_connections),
        load_assignment={
            "cluster_name": LOCAL_APP,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(public.local_app)}}]}],
        },
    )
    speak_http2(cluster, public.protocol)
    return cluster


# Ways into the mesh


def leg_clusters(
    leg: Leg, instances: Mapping[str, Sequence[Instance]], *, trust_domain: str, datacenter: str
) -> list[Any]:
    """One cluster for each end of the way. ``instances``: by target, or by the name of a prepared query."""
    return [_cluster(leg, node, instances, trust_domain, datacenter) for node in leg.resolvers()]


def leg_assignments(leg: Leg, instances: Mapping[str, Sequence[Instance]]) -> list[Any]:
    """The instances of each end; those of the places to go on at have a later priority."""
    found = []
    for node in leg.resolvers():
        if leg.query:
            found.append(assignment(leg.query, instances.get(leg.query, ())))
        else:
            places = (node.target, *node.failover)
            found.append(assignment(node.target, *(instances.get(place, ()) for place in places)))
    return found


def assignment(name: str, *priorities: Iterable[Instance]) -> Any:
    """The instances of the cluster ``name``, in an order of their own; later ones wait until all before them fail."""
    # A priority that is left out would be an error.
    groups = filter(None, map(_endpoints, priorities))
    endpoints = [{"lb_endpoints": rows, "priority": number} for number, rows in enumerate(groups)]
    found = message("config.endpoint.v3.ClusterLoadAssignment")(cluster_name=name, endpoints=endpoints)
    if len(endpoints) > 1:
        found.policy.overprovisioning_factor.value = ALL_ON_ONE
    return found


def _endpoints(instances: Iterable[Instance]) -> list[dict[str, Any]]:
    ordered = sorted(set(instances), key=lambda one: (one.address, one.port))
    return [
        {
            "endpoint": {"address": socket_address(one.address, one.port)},
            "health_status": "HEALTHY" if one.passing else "UNHEALTHY",
        }
        for one in ordered
        if is_ip_address(one.address)
    ]


def _cluster(
    leg: Leg,
    node: ResolverNode,
    instances: Mapping[str, Sequence[Instance]],
    trust_domain: str,
    datacenter: str,
) -> Any:
    target = leg.chain.targets[node.target]
    identities, service, sni = _expected(leg, node, instances, trust_domain, datacenter), node.target, ""
    if leg.query:
        service = leg.query
    elif target.sni != node.target and len(target.sni) <= MAX_SNI_CHARS:
        sni = target.sni
    cluster = message("config.cluster.v3.Cluster")(
        name=leg.cluster(node.target),
        type="EDS",
        eds_cluster_config={"eds_config": ads(), "service_name": service},
        connect_timeout=duration(leg.connect_timeout or node.connect_timeout or CONNECT_TIMEOUT),
        circuit_breakers=breakers(leg.max_connections, leg.limits),
        # Failing instances are never tried, however many of them there are.
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
        transport_socket=upstream(identities, sni=sni),
    )
    _balance(cluster, node.load_balancer or LoadBalancer())
    if leg.is_http:
        speak_http2(cluster, leg.protocol)
    if leg.passive_health_check is not None:
        _watch_failures(cluster, leg.passive_health_check)
    return cluster


def _expected(
    leg: Leg,
    node: ResolverNode,
    instances: Mapping[str, Sequence[Instance]],
    trust_domain: str,
    datacenter: str,
) -> set[str]:
    """Who instances have to prove to be. What a prepared query finds may be of several services: any will do."""
    found = {instance.spiffe_id for instance in instances.get(leg.query, ())} if leg.query else set()
    if found:
        return found
    targets = [leg.chain.targets[each] for each in (node.target, *node.failover)]
    return {_identity(trust_domain, datacenter, target) for target in targets}


def _identity(trust_domain: str, datacenter: str, target: Target) -> str:
    try:
        return str(ServiceId(trust_domain, target.datacenter or datacenter, target.service))
    except RemoteProtocolError:
        # Nobody has such an identity, so nobody is taken for it.
        return "spiffe://nobody.invalid"


def _watch_failures(cluster: Any, check: PassiveHealthCheck) -> None:
    """Leave out for a while what fails while it is used; what isn't said is Envoy's default."""
    found = cluster.outlier_detection
    found.SetInParent()
    if check.interval:
        found.interval.CopyFrom(duration(check.interval))
    if check.max_failures:
        found.consecutive_5xx.value = check.max_failures
    if check.enforcing_consecutive_5xx is not None:
        found.enforcing_consecutive_5xx.value = check.enforcing_consecutive_5xx


def _balance(cluster: Any, balancer: LoadBalancer) -> None:
    cluster.lb_policy = message("config.cluster.v3.Cluster").LbPolicy.Value(_POLICIES[balancer.policy])
    ring, least = balancer.ring_hash_config, balancer.least_request_config
    if ring is not None and ring.minimum_ring_size:
        cluster.ring_hash_lb_config.minimum_ring_size.value = ring.minimum_ring_size
    if ring is not None and ring.maximum_ring_size:
        cluster.ring_hash_lb_config.maximum_ring_size.value = ring.maximum_ring_size
    if least is not None and least.choice_count:
        # Envoy takes two or more.
        cluster.least_request_lb_config.choice_count.value = max(2, least.choice_count)
