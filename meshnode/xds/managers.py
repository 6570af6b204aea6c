"""What Envoy does with the bytes of a listener: relay them, or read requests and follow routes (RDS)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from meshnode.config_entries.chain import ResolverNode
from meshnode.xds.access_log import log_messages
from meshnode.xds.legs import Leg
from meshnode.xds.schema import duration, message, packed
from meshnode.xds.settings import AccessLog
from meshnode.xds.tls import ads

__all__ = ["HEADERS_TIMEOUT", "HTTP_RBAC", "http_manager", "leg_filter", "nobody", "tcp_relay"]

HTTP_RBAC: Final = "envoy.filters.http.rbac"
_NETWORK: Final = "extensions.filters.network"
#: Seconds; a stream without a byte for this long ends. Envoy's own five minutes are less than a blocking query takes.
STREAM_IDLE: Final = 3600.0
#: Seconds until the header of a request has to be whole.
HEADERS_TIMEOUT: Final = 10.0


def tcp_relay(prefix: str, cluster: str, logs: Sequence[AccessLog] = (), *, by_source: bool = False) -> Any:
    """A filter that relays connections to ``cluster``; ``by_source``: where to is hashed from the client's address."""
    # Envoy would close a connection that is silent for an hour; the built-in proxy doesn't either.
    config = message(f"{_NETWORK}.tcp_proxy.v3.TcpProxy")(
        stat_prefix=prefix, cluster=cluster, idle_timeout=duration(0), access_log=log_messages(logs)
    )
    if by_source:
        config.hash_policy.add().source_ip.SetInParent()
    return message("config.listener.v3.Filter")(
        name="envoy.filters.network.tcp_proxy", typed_config=packed(config)
    )


def http_manager(
    prefix: str,
    routes: str,
    *,
    http2: bool,
    filters: Sequence[tuple[str, Any]] = (),
    guarded: bool = False,
    edge: bool = False,
    logs: Sequence[AccessLog] = (),
) -> Any:
    """A filter that reads requests and sends them along the route table ``routes``.

    ``filters``: names and messages of what a request goes through before. ``guarded``: rules look at paths, so paths
    are made plain first, ones that servers may read in several ways are refused, and the client's certificate is told.
    ``edge``: clients are outside of the mesh, and what they say about addresses isn't believed.
    """
    manager = f"{_NETWORK}.http_connection_manager.v3"
    one = message(f"{manager}.HttpFilter")
    router = message("extensions.filters.http.router.v3.Router")()
    config = message(f"{manager}.HttpConnectionManager")(
        stat_prefix=prefix,
        codec_type="AUTO",
        rds={"config_source": ads(), "route_config_name": routes},
        http_filters=[
            *(one(name=name, typed_config=packed(each)) for name, each in filters),
            one(name="envoy.filters.http.router", typed_config=packed(router)),
        ],
        upgrade_configs=[{"upgrade_type": "websocket"}],
        stream_idle_timeout=duration(STREAM_IDLE),
        request_headers_timeout=duration(HEADERS_TIMEOUT),
        access_log=log_messages(logs),
    )
    if guarded:
        config.forward_client_cert_details = config.SANITIZE_SET
        config.set_current_client_cert_details.uri = True
        config.normalize_path.value = True
        config.merge_slashes = True
        config.path_with_escaped_slashes_action = config.REJECT_REQUEST
    config.use_remote_address.value = edge
    if http2:
        config.http2_protocol_options.SetInParent()
    return message("config.listener.v3.Filter")(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(config)
    )


def nobody() -> Any:
    """Rules that let nobody in: until routes come that have the real ones, and should they ever lack them."""
    return message("extensions.filters.http.rbac.v3.RBAC")(rules={"action": "ALLOW"})


def leg_filter(
    prefix: str, leg: Leg, routes: str, *, edge: bool = False, logs: Sequence[AccessLog] = ()
) -> Any:
    """What a listener that a way into the mesh begins at does: the routes ``routes``, or its one cluster."""
    if leg.is_http:
        return http_manager(prefix, routes, http2=leg.protocol != "http", edge=edge, logs=logs)
    start = leg.chain.nodes[leg.chain.start]
    assert isinstance(start, ResolverNode), "a chain without requests begins where it ends"
    balancer = start.load_balancer
    by_source = balancer is not None and any(policy.source_ip for policy in balancer.hash_policies)
    return tcp_relay(prefix, leg.cluster(start.target), logs, by_source=by_source)
