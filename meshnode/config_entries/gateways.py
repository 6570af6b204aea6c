"""The fields of ``ingress-gateway`` and ``terminating-gateway``."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshnode.config_entries.defaults import HeaderModifiers

__all__ = [
    "GatewayTls",
    "IngressGateway",
    "IngressListener",
    "IngressService",
    "LinkedService",
    "SdsConfig",
    "ServiceTls",
    "TerminatingGateway",
]


@dataclass(frozen=True, slots=True)
class SdsConfig:
    """A certificate from Envoy's secret discovery."""

    cluster_name: str = ""
    cert_resource: str = ""


@dataclass(frozen=True, slots=True)
class GatewayTls:
    """TLS towards clients outside of the mesh."""

    enabled: bool = field(default=False, metadata={"always": True})
    sds: SdsConfig | None = None
    tls_min_version: str = ""
    tls_max_version: str = ""
    cipher_suites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceTls:
    """The certificate for the hosts of one service."""

    sds: SdsConfig | None = None


@dataclass(frozen=True, slots=True)
class IngressService:
    """A service behind a listener, or ``*``; without ``hosts`` it is ``<name>.ingress.*``."""

    name: str = field(default="", metadata={"always": True})
    hosts: tuple[str, ...] = ()
    tls: ServiceTls | None = None
    request_headers: HeaderModifiers | None = None
    response_headers: HeaderModifiers | None = None


@dataclass(frozen=True, slots=True)
class IngressListener:
    """A port of the gateway."""

    port: int = field(default=0, metadata={"always": True})
    protocol: str = "tcp"
    tls: GatewayTls | None = None
    services: tuple[IngressService, ...] = ()


@dataclass(frozen=True, slots=True)
class IngressGateway:
    """What a gateway lets in."""

    tls: GatewayTls = field(default=GatewayTls(), metadata={"always": True})
    listeners: tuple[IngressListener, ...] = field(default=(), metadata={"always": True})


@dataclass(frozen=True, slots=True)
class LinkedService:
    """A service outside of the mesh, or ``*``; files are on the gateway's disk."""

    name: str = field(default="", metadata={"always": True})
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    sni: str = ""


@dataclass(frozen=True, slots=True)
class TerminatingGateway:
    """What a gateway lets out to."""

    services: tuple[LinkedService, ...] = field(default=(), metadata={"always": True})
