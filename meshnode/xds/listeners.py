"""Where connections come in: the public listener with the intentions, and one listener for each upstream.

The rules of a TCP service are in the listener, so Envoy replaces its filter chain when they change: new connections
get the new rules, old ones keep theirs until Envoy's drain time is over. Those of an HTTP service are in the routes:
the next request on any connection gets the new rules, and no connection ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from meshnode.config_entries.protocol import is_http_like
from meshnode.proxy.config import Endpoint, PublicListener
from meshnode.xds.addresses import address
from meshnode.xds.clusters import LOCAL_APP
from meshnode.xds.legs import Leg
from meshnode.xds.managers import HTTP_RBAC, http_manager, leg_filter, nobody, tcp_relay
from meshnode.xds.rbac import Rules
from meshnode.xds.routes import Host, route_table
from meshnode.xds.schema import duration, message, packed
from meshnode.xds.settings import AccessLog
from meshnode.xds.tls import downstream

__all__ = [
    "AUDIT_PREFIX",
    "PUBLIC_ROUTES",
    "guarded_routes",
    "network_rules",
    "public_listener",
    "upstream_listener",
    "upstream_routes",
]

#: Name of the public listener's routes, where it speaks HTTP.
PUBLIC_ROUTES: Final = "public"
#: In the names of the counters of what intentions that only audit would have denied.
AUDIT_PREFIX: Final = "audit"


def public_listener(
    public: PublicListener, rules: Rules, *, trust_domain: str, logs: Sequence[AccessLog] = ()
) -> Any:
    """Mutual TLS, then the rules, then the application."""
    limit = message("extensions.filters.network.connection_limit.v3.ConnectionLimit")(
        stat_prefix="public", max_connections={"value": public.max_connections}
    )
    filters = [_filter("envoy.filters.network.connection_limit", limit)]
    if is_http_like(public.protocol):
        http2 = public.protocol != "http"
        rbac = [(HTTP_RBAC, nobody())]
        filters.append(
            http_manager("public", PUBLIC_ROUTES, http2=http2, filters=rbac, guarded=True, logs=logs)
        )
    else:
        filters += [network_rules("public", rules), tcp_relay("public", LOCAL_APP, logs)]
    return message("config.listener.v3.Listener")(
        name=f"public:{public.bind}",
        address=address(public.bind),
        traffic_direction="INBOUND",
        filter_chains=[
            {
                "filters": filters,
                "transport_socket": downstream(trust_domain, public.source_datacenters),
                "transport_socket_connect_timeout": duration(public.handshake_timeout),
            }
        ],
    )


def guarded_routes(name: str, cluster: str, rules: Rules, *, timeout: float = 0.0) -> Any:
    """Every request to ``cluster``, for whom the rules allow; ``timeout`` in seconds, 0: all the time."""
    per_route = message("extensions.filters.http.rbac.v3.RBACPerRoute")(rbac=_http_rules(rules))
    return message("config.route.v3.RouteConfiguration")(
        name=name,
        validate_clusters={"value": False},
        virtual_hosts=[
            {
                "name": name,
                "domains": ["*"],
                "typed_per_filter_config": {HTTP_RBAC: packed(per_route)},
                "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": duration(timeout)}}
                ],
            }
        ],
    )


def upstream_listener(bind: Endpoint, leg: Leg, logs: Sequence[AccessLog] = ()) -> Any:
    """A listener of this machine that leads into the mesh."""
    name = leg.cluster(leg.chain.service)
    return message("config.listener.v3.Listener")(
        name=name,
        address=address(bind),
        traffic_direction="OUTBOUND",
        filter_chains=[{"filters": [leg_filter("upstream", leg, name, logs=logs)]}],
    )


def upstream_routes(leg: Leg) -> Any:
    """What the listener of :func:`upstream_listener` follows, where requests are told apart."""
    name = leg.cluster(leg.chain.service)
    return route_table(name, [Host(name, ("*",), leg)])


def network_rules(prefix: str, rules: Rules) -> Any:
    """A filter that ends connections that the rules don't allow."""
    config = message("extensions.filters.network.rbac.v3.RBAC")(stat_prefix=prefix, rules=rules.enforced)
    if rules.shadow is not None:
        config.shadow_rules.CopyFrom(rules.shadow)
        config.shadow_rules_stat_prefix = AUDIT_PREFIX
    return _filter("envoy.filters.network.rbac", config)


def _http_rules(rules: Rules) -> Any:
    config = message("extensions.filters.http.rbac.v3.RBAC")(rules=rules.enforced)
    if rules.shadow is not None:
        config.shadow_rules.CopyFrom(rules.shadow)
        config.shadow_rules_stat_prefix = AUDIT_PREFIX
    return config


def _filter(name: str, config: Any) -> Any:
    return message("config.listener.v3.Filter")(name=name, typed_config=packed(config))
