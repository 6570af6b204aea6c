"""Envoy as a proxy of HTTP with a static configuration: in front of us, behind us, or beside us in a benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.envoy import envoy_binary

__all__ = ["http_cluster", "http_command", "http_filter"]

_TYPE = "type.googleapis.com/envoy.extensions."
_TLS = "envoy.transport_sockets.tls"


def http_filter(codec: str, route: dict[str, Any]) -> dict[str, Any]:
    """HTTP of that codec (``AUTO``, ``HTTP2``), every request by one route."""
    hosts = [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}]
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_TYPE}filters.http.router.v3.Router"},
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "codec_type": codec,
            "route_config": {"virtual_hosts": hosts},
            "http_filters": [router],
        },
    }


def http_cluster(to: tuple[str, int], *, root: str = "", http2: bool = False) -> dict[str, Any]:
    """``to``, over TLS that the file ``root`` verifies where it is given."""
    address = {"socket_address": {"address": to[0], "port_value": to[1]}}
    cluster: dict[str, Any] = {
        "name": "to",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "to",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if http2:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    if root:
        common: dict[str, Any] = {"validation_context": {"trusted_ca": {"filename": root}}}
        if http2:
            common["alpn_protocols"] = ["h2"]
        context = {
            "@type": f"{_TYPE}transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": common,
        }
        cluster["transport_socket"] = {"name": _TLS, "typed_config": context}
    return cluster


def http_command(
    directory: Path,
    port: int,
    filter_: dict[str, Any],
    *clusters: dict[str, Any],
    pem: str = "",
    workers: int = 1,
) -> list[str]:
    """The command of an Envoy that listens on ``port``, over TLS where ``pem`` has a certificate and its key."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    chain: dict[str, Any] = {"filters": [filter_]}
    if pem:
        pair = {"certificate_chain": {"filename": pem}, "private_key": {"filename": pem}}
        context = {
            "@type": f"{_TYPE}transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_certificates": [pair], "alpn_protocols": ["h2", "http/1.1"]},
        }
        chain["transport_socket"] = {"name": _TLS, "typed_config": context}
    listener = {"name": "in", "address": address, "filter_chains": [chain]}
    file = directory / f"envoy-{port}.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": list(clusters)}}))
    options = ["--use-dynamic-base-id", "--concurrency", str(workers), "-l", "error"]
    return [str(envoy_binary()), "-c", str(file), *options]
