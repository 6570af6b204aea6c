"""The file that Envoy starts with: who it is, and where the agent's xDS port is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import Endpoint
from meshnode.xds.addresses import address
from meshnode.xds.schema import duration, json_document, message, packed

__all__ = ["TOKEN_METADATA", "XDS_CLUSTER", "Bootstrap", "bootstrap_document"]

#: The cluster that is the agent.
XDS_CLUSTER: Final = "meshnode_agent"
#: The cluster that is Envoy's own administration.
ADMIN_CLUSTER: Final = "self_admin"
#: Key of the gRPC metadata with the ACL token.
TOKEN_METADATA: Final = "x-consul-token"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
#: Seconds.
CONNECT_TIMEOUT: Final = 5.0
KEEPALIVE_INTERVAL: Final = 30.0
KEEPALIVE_TIMEOUT: Final = 10.0
#: Steps of a compiled regular expression: a SPIFFE ID with a long name needs more than Envoy's 100.
MAX_REGEXP_PROGRAM: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """``agent`` is the xDS port, with TLS when ``ca_pem`` is there; ``admin`` is Envoy's own API, ``None``: off.

    ``client_cert`` and ``client_key``: files that Envoy reads when it starts, and shows to an agent that asks for them.

    ``delta``: the incremental protocol, which sends what has changed, and not everything of its kind. Without TLS and
    for everybody, of the admin API: ``ready`` serves ``/ready``, ``prometheus`` ``/metrics``, ``stats`` ``/stats``.
    """

    proxy_id: str
    service: str
    agent: Endpoint
    admin: Endpoint | None = None
    token: str = field(default="", repr=False)
    ca_pem: str = ""
    client_cert: str = ""
    client_key: str = ""
    server_name: str = ""
    delta: bool = True
    ready: Endpoint | None = None
    prometheus: Endpoint | None = None
    stats: Endpoint | None = None


def bootstrap_document(settings: Bootstrap) -> dict[str, Any]:
    """The bootstrap as JSON; it holds the token. Raises :class:`ConfigError` for figures without an admin API."""
    metadata = [{"key": TOKEN_METADATA, "value": settings.token}] if settings.token else []
    bootstrap = message("config.bootstrap.v3.Bootstrap")(
        node={"id": settings.proxy_id, "cluster": settings.service},
        static_resources={"clusters": [_agent(settings)]},
        dynamic_resources={
            "ads_config": {
                "api_type": "DELTA_GRPC" if settings.delta else "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [
                    {"envoy_grpc": {"cluster_name": XDS_CLUSTER}, "initial_metadata": metadata}
                ],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        layered_runtime={"layers": [{"name": "meshnode", "static_layer": _runtime()}]},
    )
    if settings.admin is not None:
        bootstrap.admin.address.CopyFrom(address(settings.admin))
    _show(bootstrap, settings)
    return json_document(bootstrap)


def _show(bootstrap: Any, settings: Bootstrap) -> None:
    """Listeners that show one page of the admin API each."""
    pages = [
        (name, where, path, page)
        for name, where, path, page in (
            ("ready", settings.ready, "/ready", "/ready"),
            ("envoy_prometheus_bind_addr", settings.prometheus, "/metrics", "/stats/prometheus"),
            ("envoy_stats_bind_addr", settings.stats, "/stats", "/stats"),
        )
        if where is not None
    ]
    if not pages:
        return
    if settings.admin is None:
        raise ConfigError(
            f"{pages[0][0]} shows a page of Envoy's administration, which is off: set -admin-bind"
        )
    own = {"endpoint": {"address": address(settings.admin)}}
    bootstrap.static_resources.clusters.add(
        name=ADMIN_CLUSTER,
        type="STATIC",
        connect_timeout=duration(CONNECT_TIMEOUT),
        load_assignment={"cluster_name": ADMIN_CLUSTER, "endpoints": [{"lb_endpoints": [own]}]},
    )
    for name, where, path, page in pages:
        bootstrap.static_resources.listeners.append(_page_listener(name, where, path, page))


def _page_listener(name: str, where: Endpoint, path: str, page: str) -> Any:
    manager = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    match = {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}
    routes = [{"match": match, "route": {"cluster": ADMIN_CLUSTER, "prefix_rewrite": page}}]
    router = message("extensions.filters.http.router.v3.Router")()
    config = message(manager)(
        stat_prefix=name,
        route_config={"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": packed(router)}],
    )
    return message("config.listener.v3.Listener")(
        name=name,
        address=address(where),
        filter_chains=[
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": packed(config),
                    }
                ]
            }
        ],
    )


def _runtime() -> Any:
    layer = message("google.protobuf.Struct")()
    layer.fields["re2.max_program_size.error_level"].number_value = MAX_REGEXP_PROGRAM
    layer.fields["re2.max_program_size.warn_level"].number_value = MAX_REGEXP_PROGRAM
    return layer


def _agent(settings: Bootstrap) -> Any:
    options = message("extensions.upstreams.http.v3.HttpProtocolOptions")(
        explicit_http_config={
            "http2_protocol_options": {
                "connection_keepalive": {
                    "interval": duration(KEEPALIVE_INTERVAL),
                    "timeout": duration(KEEPALIVE_TIMEOUT),
                }
            }
        }
    )
    where = {"endpoint": {"address": address(settings.agent)}}
    cluster = message("config.cluster.v3.Cluster")(
        name=XDS_CLUSTER,
        type="STRICT_DNS" if settings.agent.named else "STATIC",
        connect_timeout=duration(CONNECT_TIMEOUT),
        load_assignment={"cluster_name": XDS_CLUSTER, "endpoints": [{"lb_endpoints": [where]}]},
    )
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))
    if settings.ca_pem:
        context = message("extensions.transport_sockets.tls.v3.UpstreamTlsContext")(
            sni=settings.server_name,
            common_tls_context={
                "alpn_protocols": ["h2"],
                "validation_context": {"trusted_ca": {"inline_string": settings.ca_pem}},
            },
        )
        if settings.server_name:
            san = {"san_type": "DNS", "matcher": {"exact": settings.server_name}}
            validation = context.common_tls_context.validation_context
            validation.match_typed_subject_alt_names.add(**san)
        if settings.client_cert:
            context.common_tls_context.tls_certificates.add(
                certificate_chain={"filename": settings.client_cert},
                private_key={"filename": settings.client_key},
            )
        cluster.transport_socket.name = "envoy.transport_sockets.tls"
        cluster.transport_socket.typed_config.CopyFrom(packed(context))
    return cluster
