"""What an ingress or terminating gateway may not be. The texts are Consul's where Consul has one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from meshnode.base.address import is_ip_address
from meshnode.config_entries.gateways import (
    GatewayTls,
    IngressGateway,
    IngressListener,
    IngressService,
    LinkedService,
    SdsConfig,
    TerminatingGateway,
)
from meshnode.config_entries.protocol import PROTOCOLS
from meshnode.config_entries.validate_routing import header_faults
from meshnode.intentions.model import WILDCARD

__all__ = ["TLS_VERSIONS", "ingress_faults", "terminating_faults"]

#: In order.
TLS_VERSIONS: Final = ("TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3")
_AUTO: Final = "TLS_AUTO"
_HOST: Final = re.compile(
    r"(?:\*\.)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
)
MAX_HOST_CHARS: Final = 253
MAX_PORT: Final = 65535


def ingress_faults(spec: IngressGateway) -> Iterator[str]:
    """Every reason why the gateway can't be stored."""
    yield from _tls_faults("TLS", spec.tls)
    ports: set[int] = set()
    for number, listener in enumerate(spec.listeners):
        if not 1 <= listener.port <= MAX_PORT:
            yield f"Listeners[{number}].Port: {listener.port} is no port: write 1 to {MAX_PORT}"
        if listener.port in ports:
            yield f"port {listener.port} declared on two listeners"
        ports.add(listener.port)
        secured = spec.tls.enabled or (listener.tls is not None and listener.tls.enabled)
        for fault in _listener_faults(listener, secured=secured):
            yield f"{fault} (listener on port {listener.port})"


def _listener_faults(listener: IngressListener, *, secured: bool) -> Iterator[str]:
    protocol = listener.protocol
    if protocol not in PROTOCOLS:
        yield (
            "protocol must be 'tcp', 'http', 'http2', or 'grpc'. "
            f"'{protocol[:40]}' is an unsupported protocol"
        )
        return
    if not listener.services:
        yield "No service declared for listener"
    if protocol == "tcp" and len(listener.services) > 1:
        yield "Multiple services per listener are only supported for L7 protocols, 'http', 'grpc' and 'http2'"
    if listener.tls is not None:
        yield from _tls_faults("TLS", listener.tls)
    names: set[str] = set()
    hosts: set[str] = set()
    for number, service in enumerate(listener.services):
        if not service.name:
            yield f"Services[{number}]: Service name cannot be blank"
        elif service.name.lower() in names:
            yield f"Service {service.name[:80]} cannot be added multiple times"
        names.add(service.name.lower())
        if service.name == WILDCARD and protocol != "http":
            yield "Wildcard service name is only valid for protocol = 'http'"
        yield from _service_faults(service, protocol)
        for host in service.hosts:
            yield from _host_faults(host, secured=secured)
            if host.lower() in hosts:
                yield f'Hosts must be unique within a specific listener: "{host[:80]}" is there twice'
            hosts.add(host.lower())


def _service_faults(service: IngressService, protocol: str) -> Iterator[str]:
    if service.hosts and protocol == "tcp":
        yield "Associating hosts to a service is not supported for the tcp protocol"
    if service.hosts and service.name == WILDCARD:
        yield "Associating hosts to a wildcard service is not supported"
    if protocol == "tcp" and (service.request_headers is not None or service.response_headers is not None):
        yield "request and response headers only valid for http-like protocols"
    yield from header_faults(f"{service.name[:80]}.RequestHeaders", service.request_headers)
    yield from header_faults(f"{service.name[:80]}.ResponseHeaders", service.response_headers)
    if service.tls is not None and service.tls.sds is not None:
        yield from _sds_faults(f"{service.name[:80]}.TLS.SDS", service.tls.sds)
        if not service.hosts:
            yield "A service specifying TLS.SDS.CertResource must have at least one item in Hosts"


def _host_faults(host: str, *, secured: bool) -> Iterator[str]:
    if host == WILDCARD:
        if secured:
            yield "Host '*' is not allowed when TLS is enabled, all hosts must be valid DNS records to add as a DNSSAN"
    elif len(host) > MAX_HOST_CHARS or not _HOST.fullmatch(host):
        yield f'Host "{host[:80]}" must be a valid DNS hostname; * stands for the leftmost label only'


def _tls_faults(place: str, tls: GatewayTls) -> Iterator[str]:
    for field, version in (("TLSMinVersion", tls.tls_min_version), ("TLSMaxVersion", tls.tls_max_version)):
        if version not in {"", _AUTO, *TLS_VERSIONS}:
            yield f'{place}.{field}: "{version[:40]}" is none: use one of {_AUTO}, {", ".join(TLS_VERSIONS)}'
    least, most = tls.tls_min_version, tls.tls_max_version
    ranks = {version: rank for rank, version in enumerate(TLS_VERSIONS)}
    if ranks.get(least, 0) > ranks.get(most, len(ranks)):
        yield f"configuring max version {most} less than the configured min version {least} is invalid"
    if tls.sds is not None:
        yield from _sds_faults(f"{place}.SDS", tls.sds)


def _sds_faults(place: str, sds: SdsConfig) -> Iterator[str]:
    if bool(sds.cluster_name) != bool(sds.cert_resource):
        yield f"{place}: ClusterName and CertResource are required together"


def terminating_faults(spec: TerminatingGateway) -> Iterator[str]:
    """Every reason why the gateway can't be stored."""
    seen: set[str] = set()
    for number, service in enumerate(spec.services):
        if not service.name:
            yield f"Services[{number}]: Service name cannot be blank"
        elif service.name.lower() in seen:
            yield f'Service "{service.name[:80]}" was specified more than once within a namespace'
        seen.add(service.name.lower())
        if bool(service.cert_file) != bool(service.key_file) or (service.cert_file and not service.ca_file):
            yield (
                f'Service "{service.name[:80]}" must have a CertFile, CAFile, and KeyFile specified for TLS '
                "origination, or a CAFile alone"
            )
        if service.sni:
            yield from _sni_faults(service)


def _sni_faults(service: LinkedService) -> Iterator[str]:
    """Consul takes an SNI without a CAFile, and speaks in clear."""
    if not service.ca_file:
        yield (
            f'Service "{service.name[:80]}" has an SNI and no CAFile, so it would be spoken to in clear: write the '
            "CAFile that its certificate is checked with, or leave the SNI out"
        )
    name = service.sni
    if not is_ip_address(name) and (len(name) > MAX_HOST_CHARS or "*" in name or not _HOST.fullmatch(name)):
        yield f'Service "{service.name[:80]}": SNI "{service.sni[:80]}" must be a DNS name or an address'
