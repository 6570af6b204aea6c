"""The fields of ``service-defaults`` and ``proxy-defaults``, and parts that several kinds share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshnode.config_entries.codec import NO_TIME, Duration

__all__ = [
    "Expose",
    "ExposePath",
    "HeaderModifiers",
    "Limits",
    "MeshGateway",
    "PassiveHealthCheck",
    "ProxyDefaults",
    "ServiceDefaults",
    "TransparentProxy",
    "Upstream",
    "UpstreamConfig",
]


@dataclass(frozen=True, slots=True)
class HeaderModifiers:
    """Headers that are added, set or taken away on the way."""

    add: Mapping[str, str] = field(default_factory=dict)
    set: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MeshGateway:
    """``mode``: empty, ``none``, ``local`` or ``remote``."""

    mode: str = ""


@dataclass(frozen=True, slots=True)
class TransparentProxy:
    """How a proxy that captures traffic listens."""

    outbound_listener_port: int = 0
    dialed_directly: bool = False


@dataclass(frozen=True, slots=True)
class ExposePath:
    """A path that is served to clients outside of the mesh."""

    listener_port: int = 0
    path: str = ""
    local_path_port: int = 0
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class Expose:
    """What is served to clients outside of the mesh."""

    checks: bool = False
    paths: tuple[ExposePath, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one instance towards one upstream; 0 is none."""

    max_connections: int = 0
    max_pending_requests: int = 0
    max_concurrent_requests: int = 0


@dataclass(frozen=True, slots=True)
class PassiveHealthCheck:
    """When an instance of an upstream that fails is left out."""

    interval: Duration = NO_TIME
    max_failures: int = 0
    enforcing_consecutive_5xx: int | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """How one upstream, or every one, is reached."""

    name: str = ""
    envoy_listener_json: str = ""
    envoy_cluster_json: str = ""
    protocol: str = ""
    connect_timeout_ms: int = 0
    limits: Limits | None = None
    passive_health_check: PassiveHealthCheck | None = None
    mesh_gateway: MeshGateway = MeshGateway()


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """How the upstreams of a service are reached."""

    overrides: tuple[Upstream, ...] = ()
    defaults: Upstream | None = None


@dataclass(frozen=True, slots=True)
class ServiceDefaults:
    """What holds for every instance of a service; ``protocol`` is empty where nobody says."""

    protocol: str = ""
    mode: str = ""
    transparent_proxy: TransparentProxy = TransparentProxy()
    mesh_gateway: MeshGateway = MeshGateway()
    expose: Expose = Expose()
    external_sni: str = ""
    upstream_config: UpstreamConfig | None = None
    max_inbound_connections: int = 0
    local_connect_timeout_ms: int = 0
    local_request_timeout_ms: int = 0


@dataclass(frozen=True, slots=True)
class ProxyDefaults:
    """What holds for every proxy: ``config`` is the proxy's own, ``protocol`` in it that of services."""

    config: Mapping[str, Any] = field(default_factory=dict)
    mode: str = ""
    transparent_proxy: TransparentProxy = TransparentProxy()
    mesh_gateway: MeshGateway = MeshGateway()
    expose: Expose = Expose()
