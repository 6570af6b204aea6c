"""The file that Envoy starts with: who it is, and where the agent's xDS port is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from meshnode.proxy.config import Endpoint
from meshnode.xds.clusters import address
from meshnode.xds.schema import duration, json_document, message, packed

__all__ = ["TOKEN_METADATA", "XDS_CLUSTER", "Bootstrap", "bootstrap_document"]

#: The cluster that is the agent.
XDS_CLUSTER: Final = "meshnode_agent"
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

    ``delta``: the incremental protocol, which sends what has changed, and not everything of its kind.
    """

    proxy_id: str
    service: str
    agent: Endpoint
    admin: Endpoint | None = None
    token: str = field(default="", repr=False)
    ca_pem: str = ""
    server_name: str = ""
    delta: bool = True


def bootstrap_document(settings: Bootstrap) -> dict[str, Any]:
    """The bootstrap as JSON; it holds the token."""
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
    return json_document(bootstrap)


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
        cluster.transport_socket.name = "envoy.transport_sockets.tls"
        cluster.transport_socket.typed_config.CopyFrom(packed(context))
    return cluster
