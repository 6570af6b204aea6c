"""The four TLS modes as a bootstrap that Envoy runs by itself, without an agent, and the secrets beside it.

Certificates and CAs that are files come to Envoy as secrets by file (SDS), where there is a folder for them. A secret
names the files and is watched through that folder: whoever moves a file into it makes Envoy read them all again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.base.address import is_ip_address
from meshnode.proxy.config import DEFAULT_MAX_CONNECTIONS, Endpoint
from meshnode.tls_modes.model import (
    REQUEST_TIMEOUT,
    CertificateFiles,
    CertificateSecret,
    Mode,
    TlsListener,
    TlsProxyConfig,
    TlsUpstream,
)
from meshnode.xds.access_log import log_messages
from meshnode.xds.addresses import address
from meshnode.xds.managers import HEADERS_TIMEOUT, tcp_relay
from meshnode.xds.schema import duration, json_document, message, packed
from meshnode.xds.settings import AccessLog
from meshnode.xds.tls import tls_socket

__all__ = ["secret_documents", "tls_modes_bootstrap"]

_TLS: Final = "extensions.transport_sockets.tls.v3"
_NETWORK: Final = "extensions.filters.network"
_MANAGER: Final = f"{_NETWORK}.http_connection_manager.v3"
#: Envoy wants one of a process that reads secrets.
NODE: Final = "tls-proxy"
#: Of a request, as both data planes bound it.
MAX_HEADERS_KIB: Final = 64
_REQUEST_LINE: Final = (
    'access {name}: %DOWNSTREAM_REMOTE_ADDRESS% "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_CODE_DETAILS% %BYTES_SENT% bytes %DURATION% ms to %UPSTREAM_HOST% %UPSTREAM_TRANSPORT_FAILURE_REASON%"
)
_CONNECTION_LINE: Final = (
    "access {name}: %DOWNSTREAM_REMOTE_ADDRESS% for %REQUESTED_SERVER_NAME% %RESPONSE_FLAGS% "
    "%BYTES_RECEIVED% bytes in %BYTES_SENT% bytes out %DURATION% ms to %UPSTREAM_HOST%\n"
)


def tls_modes_bootstrap(
    config: TlsProxyConfig, *, secrets_dir: str = "", admin: Endpoint | None = None
) -> dict[str, Any]:
    """The bootstrap as JSON. It holds keys that are text in the configuration.

    ``secrets_dir`` is the folder of :func:`secret_documents`; without one, files are named in the bootstrap itself, and
    Envoy reads them once. ``admin`` is where Envoy's own API listens, instead of where the configuration says.
    """
    bootstrap = message("config.bootstrap.v3.Bootstrap")(
        node={"id": NODE, "cluster": NODE},
        static_resources={
            "listeners": [_listener(one, secrets_dir) for one in config.listeners],
            "clusters": [_cluster(one, secrets_dir) for one in config.listeners],
        },
    )
    bootstrap.overload_manager.resource_monitors.add().CopyFrom(_bound(len(config.listeners)))
    if (where := admin or config.admin) is not None:
        bootstrap.admin.address.CopyFrom(address(where))
    return json_document(bootstrap)


def _bound(listeners: int) -> Any:
    """As many connections as the built-in proxy would take."""
    limit = message("extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig")(
        max_active_downstream_connections=listeners * DEFAULT_MAX_CONNECTIONS
    )
    return message("config.overload.v3.ResourceMonitor")(
        name="envoy.resource_monitors.global_downstream_max_connections", typed_config=packed(limit)
    )


def secret_documents(config: TlsProxyConfig, *, secrets_dir: str) -> Mapping[str, dict[str, Any]]:
    """File name in ``secrets_dir`` -> its content as JSON. Nothing in it is secret: keys stay in their files."""
    found: dict[str, Any] = {}
    watched = {"path": secrets_dir}
    for one in config.listeners:
        if isinstance(one.certificate, CertificateFiles):
            found[_certificate_name(one)] = {
                "tls_certificate": {
                    "certificate_chain": {"filename": one.certificate.cert_file},
                    "private_key": {"filename": one.certificate.key_file},
                    "watched_directory": watched,
                }
            }
        if one.upstream.authorities is not None and one.upstream.authorities.ca_file:
            found[_authorities_name(one)] = {
                "validation_context": {
                    "trusted_ca": {"filename": one.upstream.authorities.ca_file},
                    "watched_directory": watched,
                }
            }
    return {
        f"{name}.json": json_document(
            message("service.discovery.v3.DiscoveryResponse")(
                version_info="1", resources=[packed(message(f"{_TLS}.Secret")(name=name, **body))]
            )
        )
        for name, body in found.items()
    }


def _certificate_name(one: TlsListener) -> str:
    return f"{one.name}.certificate"


def _authorities_name(one: TlsListener) -> str:
    return f"{one.name}.authorities"


# Where clients come in


def _listener(one: TlsListener, secrets_dir: str) -> Any:
    listener = message("config.listener.v3.Listener")(
        name=one.name, stat_prefix=one.name, address=address(one.bind)
    )
    chain = listener.filter_chains.add()
    chain.filters.add().CopyFrom(_relay(one) if one.mode is Mode.PASSTHROUGH else _manager(one))
    if one.mode is Mode.PASSTHROUGH:
        inspector = message("extensions.filters.listener.tls_inspector.v3.TlsInspector")()
        listener.listener_filters.add(
            name="envoy.filters.listener.tls_inspector", typed_config=packed(inspector)
        )
        listener.listener_filters_timeout.CopyFrom(duration(one.handshake_timeout))
        # Anything else than TLS is closed, and so is who asks for another name.
        chain.filter_chain_match.transport_protocol = "tls"
        chain.filter_chain_match.server_names.extend(one.server_names)
    if one.mode.ends_tls:
        chain.transport_socket.CopyFrom(_downstream(one, secrets_dir))
        chain.transport_socket_connect_timeout.CopyFrom(duration(one.handshake_timeout))
    return listener


def _downstream(one: TlsListener, secrets_dir: str) -> Any:
    common = _common("h2", "http/1.1")
    certificate = one.certificate
    if isinstance(certificate, CertificateSecret):
        folder = certificate.sds_file.rpartition("/")[0] or "/"
        source = _by_path(certificate.sds_file, folder)
        common.tls_certificate_sds_secret_configs.add(name=certificate.name, sds_config=source)
    elif isinstance(certificate, CertificateFiles) and secrets_dir:
        name = _certificate_name(one)
        source = _by_path(f"{secrets_dir}/{name}.json")
        common.tls_certificate_sds_secret_configs.add(name=name, sds_config=source)
    elif isinstance(certificate, CertificateFiles):
        common.tls_certificates.add(
            certificate_chain={"filename": certificate.cert_file},
            private_key={"filename": certificate.key_file},
        )
    elif certificate is not None:
        common.tls_certificates.add(
            certificate_chain={"inline_string": certificate.cert_pem},
            private_key={"inline_string": certificate.key_pem},
        )
    return tls_socket(message(f"{_TLS}.DownstreamTlsContext")(common_tls_context=common))


def _common(*protocols: str) -> Any:
    return message(f"{_TLS}.CommonTlsContext")(
        tls_params={"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        alpn_protocols=protocols,
    )


def _by_path(file: str, watched: str = "") -> Any:
    one = message("config.core.v3.ConfigSource")(path_config_source={"path": file}, resource_api_version="V3")
    if watched:
        one.path_config_source.watched_directory.path = watched
    return one


def _manager(one: TlsListener) -> Any:
    router = message("extensions.filters.http.router.v3.Router")()
    route = {"cluster": one.name, "timeout": duration(REQUEST_TIMEOUT)}
    config = message(f"{_MANAGER}.HttpConnectionManager")(
        stat_prefix=one.name,
        codec_type="AUTO",
        route_config={
            "name": one.name,
            "virtual_hosts": [
                {
                    "name": one.name,
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": route}],
                }
            ],
        },
        http_filters=[
            message(f"{_MANAGER}.HttpFilter")(name="envoy.filters.http.router", typed_config=packed(router))
        ],
        upgrade_configs=[{"upgrade_type": "websocket"}],
        access_log=log_messages([AccessLog(text_format=_REQUEST_LINE.format(name=one.name))]),
        request_headers_timeout=duration(HEADERS_TIMEOUT),
        max_request_headers_kb={"value": MAX_HEADERS_KIB},
    )
    return message("config.listener.v3.Filter")(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(config)
    )


def _relay(one: TlsListener) -> Any:
    return tcp_relay(one.name, one.name, [AccessLog(text_format=_CONNECTION_LINE.format(name=one.name))])


# Where they are led


def _cluster(one: TlsListener, secrets_dir: str) -> Any:
    to: Endpoint = one.upstream.address
    cluster = message("config.cluster.v3.Cluster")(
        name=one.name,
        type="STRICT_DNS" if to.named else "STATIC",
        dns_lookup_family="V4_PREFERRED",
        connect_timeout=duration(one.upstream.connect_timeout),
        load_assignment={
            "cluster_name": one.name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(to)}}]}],
        },
    )
    if one.mode.begins_tls:
        cluster.transport_socket.CopyFrom(_upstream(one, secrets_dir))
    return cluster


def _upstream(one: TlsListener, secrets_dir: str) -> Any:
    common, to = _common(), one.upstream
    if to.authorities is not None:
        names = message(f"{_TLS}.CertificateValidationContext")(match_typed_subject_alt_names=[_named(to)])
        if to.authorities.ca_file and secrets_dir:
            name = _authorities_name(one)
            combined = common.combined_validation_context
            combined.default_validation_context.CopyFrom(names)
            combined.validation_context_sds_secret_config.name = name
            combined.validation_context_sds_secret_config.sds_config.CopyFrom(
                _by_path(f"{secrets_dir}/{name}.json")
            )
        else:
            common.validation_context.CopyFrom(names)
            trusted = common.validation_context.trusted_ca
            if to.authorities.ca_file:
                trusted.filename = to.authorities.ca_file
            else:
                trusted.inline_string = to.authorities.ca_pem
    context = message(f"{_TLS}.UpstreamTlsContext")(
        common_tls_context=common,
        sni=to.sni,
        # A resumed session isn't verified again, and the CA may have been replaced since.
        max_session_keys={"value": 0},
    )
    return tls_socket(context)


def _named(to: TlsUpstream) -> Any:
    name = to.verified_name
    kind = "IP_ADDRESS" if is_ip_address(name) else "DNS"
    return message(f"{_TLS}.SubjectAltNameMatcher")(san_type=kind, matcher={"exact": name})
