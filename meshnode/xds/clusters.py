"""Where connections go: the application, and one cluster for each upstream with its instances by EDS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from meshnode.base.errors import RemoteProtocolError
from meshnode.base.spiffe import ServiceId
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import DestinationType, Endpoint, PublicListener, Upstream
from meshnode.xds.schema import duration, message, packed
from meshnode.xds.tls import ads, upstream

__all__ = ["LOCAL_APP", "address", "assignment", "cluster_name", "local_app", "upstream_cluster"]

#: The cluster of the application beside the proxy.
LOCAL_APP: Final = "local_app"
_PROTOCOL_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def address(endpoint: Endpoint) -> Any:
    """An ``Address``: of a socket or of a pipe."""
    one = message("config.core.v3.Address")
    if endpoint.path:
        return one(pipe={"path": endpoint.path})
    return one(socket_address={"address": endpoint.host, "port_value": endpoint.port})


def cluster_name(one: Upstream) -> str:
    """Two upstreams may lead to the same service with other settings: only the address is theirs alone."""
    return f"{one.name}:{one.bind}"


def local_app(public: PublicListener) -> Any:
    """The cluster of the application."""
    cluster = message("config.cluster.v3.Cluster")(
        name=LOCAL_APP,
        type="STRICT_DNS" if public.local_app.named else "STATIC",
        connect_timeout=duration(public.local_connect_timeout),
        circuit_breakers=_breakers(public.max_connections),
        load_assignment={
            "cluster_name": LOCAL_APP,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(public.local_app)}}]}],
        },
    )
    if public.protocol in {"http2", "grpc"}:
        options = message("extensions.upstreams.http.v3.HttpProtocolOptions")(
            explicit_http_config={"http2_protocol_options": {}}
        )
        cluster.typed_extension_protocol_options[_PROTOCOL_OPTIONS].CopyFrom(packed(options))
    return cluster


def upstream_cluster(
    one: Upstream, instances: Iterable[Instance], *, trust_domain: str, datacenter: str
) -> Any:
    """The cluster of an upstream. What a prepared query finds may be of several services: any of them will do."""
    identities = {instance.spiffe_id for instance in instances}
    if one.destination_type is DestinationType.SERVICE or not identities:
        identities = {_identity(trust_domain, one.datacenter or datacenter, one.destination)}
    return message("config.cluster.v3.Cluster")(
        name=cluster_name(one),
        type="EDS",
        eds_cluster_config={"eds_config": ads(), "service_name": one.name},
        connect_timeout=duration(one.connect_timeout),
        lb_policy="LEAST_REQUEST",
        circuit_breakers=_breakers(one.max_connections),
        # Failing instances are never tried, however many of them there are.
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
        transport_socket=upstream(identities),
    )


def assignment(name: str, instances: Iterable[Instance]) -> Any:
    """The instances of the upstream ``name``, in an order of their own."""
    ordered = sorted(set(instances), key=lambda one: (one.address, one.port))
    rows = [
        {
            "endpoint": {"address": {"socket_address": {"address": one.address, "port_value": one.port}}},
            "health_status": "HEALTHY" if one.passing else "UNHEALTHY",
        }
        for one in ordered
        if ":" in one.address or one.address.replace(".", "").isdigit()
    ]
    endpoints = [{"lb_endpoints": rows}] if rows else []
    return message("config.endpoint.v3.ClusterLoadAssignment")(cluster_name=name, endpoints=endpoints)


def _identity(trust_domain: str, datacenter: str, service: str) -> str:
    try:
        return str(ServiceId(trust_domain, datacenter, service))
    except RemoteProtocolError:
        # Nobody has such an identity, so nobody is taken for it.
        return "spiffe://nobody.invalid"


def _breakers(most: int) -> Any:
    limits = {name: {"value": most} for name in ("max_connections", "max_pending_requests", "max_requests")}
    return message("config.cluster.v3.CircuitBreakers")(thresholds=[limits])
