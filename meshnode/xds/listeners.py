"""Where connections come in: the public listener with the intentions, and one listener for each upstream.

The rules of a TCP service are in the listener, so Envoy replaces its filter chain when they change: new connections
get the new rules, old ones keep theirs until Envoy's drain time is over. Those of an HTTP service are in the routes:
the next request on any connection gets the new rules, and no connection ends.
"""

from __future__ import annotations

from typing import Any, Final

from meshnode.proxy.config import PublicListener, Upstream
from meshnode.xds.clusters import LOCAL_APP, address, cluster_name
from meshnode.xds.rbac import Rules
from meshnode.xds.schema import duration, message, packed
from meshnode.xds.tls import ads, downstream

__all__ = [
    "AUDIT_PREFIX",
    "PUBLIC_ROUTES",
    "is_http",
    "public_listener",
    "public_routes",
    "upstream_listener",
]

#: Name of the public listener's routes, where it speaks HTTP.
PUBLIC_ROUTES: Final = "public"
#: In the names of the counters of what intentions that only audit would have denied.
AUDIT_PREFIX: Final = "audit"
_NETWORK: Final = "extensions.filters.network"
_HTTP_RBAC: Final = "envoy.filters.http.rbac"
#: Seconds; a stream without a byte for this long ends. Envoy's own five minutes are less than a blocking query takes.
STREAM_IDLE: Final = 3600.0
HEADERS_TIMEOUT: Final = 10.0


def is_http(public: PublicListener) -> bool:
    """Whether requests are looked at."""
    return public.protocol != "tcp"


def public_listener(public: PublicListener, rules: Rules, *, trust_domain: str) -> Any:
    """Mutual TLS, then the rules, then the application."""
    limit = message(f"{_NETWORK}.connection_limit.v3.ConnectionLimit")(
        stat_prefix="public", max_connections={"value": public.max_connections}
    )
    filters = [_filter("envoy.filters.network.connection_limit", limit)]
    filters += [_manager(public)] if is_http(public) else [_network_rules(rules), _tcp("public", LOCAL_APP)]
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


def public_routes(rules: Rules) -> Any:
    """Everything to the application, for whom the rules allow."""
    per_route = message("extensions.filters.http.rbac.v3.RBACPerRoute")(rbac=_http_rules(rules))
    return message("config.route.v3.RouteConfiguration")(
        name=PUBLIC_ROUTES,
        validate_clusters={"value": False},
        virtual_hosts=[
            {
                "name": PUBLIC_ROUTES,
                "domains": ["*"],
                "typed_per_filter_config": {_HTTP_RBAC: packed(per_route)},
                "routes": [
                    {
                        "match": {"prefix": "/"},
                        "route": {"cluster": LOCAL_APP, "timeout": duration(0)},
                    }
                ],
            }
        ],
    )


def upstream_listener(one: Upstream) -> Any:
    """A listener of this machine that leads to an upstream, whatever is spoken on it."""
    name = cluster_name(one)
    return message("config.listener.v3.Listener")(
        name=name,
        address=address(one.bind),
        traffic_direction="OUTBOUND",
        filter_chains=[{"filters": [_tcp("upstream", name)]}],
    )


def _filter(name: str, config: Any) -> Any:
    return message("config.listener.v3.Filter")(name=name, typed_config=packed(config))


def _tcp(prefix: str, cluster: str) -> Any:
    # Envoy would close a connection that is silent for an hour; the built-in proxy doesn't either.
    config = message(f"{_NETWORK}.tcp_proxy.v3.TcpProxy")(
        stat_prefix=prefix, cluster=cluster, idle_timeout=duration(0)
    )
    return _filter("envoy.filters.network.tcp_proxy", config)


def _network_rules(rules: Rules) -> Any:
    config = message(f"{_NETWORK}.rbac.v3.RBAC")(stat_prefix="public", rules=rules.enforced)
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


def _manager(public: PublicListener) -> Any:
    manager = f"{_NETWORK}.http_connection_manager.v3"
    # Until routes come, and should they ever lack rules: nobody.
    nobody = message("extensions.filters.http.rbac.v3.RBAC")(rules={"action": "ALLOW"})
    router = message("extensions.filters.http.router.v3.Router")()
    one = message(f"{manager}.HttpFilter")
    config = message(f"{manager}.HttpConnectionManager")(
        stat_prefix="public",
        codec_type="AUTO",
        rds={"config_source": ads(), "route_config_name": PUBLIC_ROUTES},
        http_filters=[
            one(name=_HTTP_RBAC, typed_config=packed(nobody)),
            one(name="envoy.filters.http.router", typed_config=packed(router)),
        ],
        upgrade_configs=[{"upgrade_type": "websocket"}],
        forward_client_cert_details="SANITIZE_SET",
        set_current_client_cert_details={"uri": True},
        normalize_path={"value": True},
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        stream_idle_timeout=duration(STREAM_IDLE),
        request_headers_timeout=duration(HEADERS_TIMEOUT),
    )
    if public.protocol in {"http2", "grpc"}:
        config.http2_protocol_options.SetInParent()
    return _filter("envoy.filters.network.http_connection_manager", config)
