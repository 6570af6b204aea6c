"""What the ``service-defaults`` of a service say about its own listener and about its upstreams, for its sidecar.

What the proxy's registration says itself wins. Source: Consul 1.10, documentation of ``service-defaults``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from meshnode.base.errors import ConfigError
from meshnode.config_entries.defaults import ServiceDefaults, Upstream
from meshnode.proxy.config import PublicListener

__all__ = ["public_with_defaults", "upstream_defaults"]

_NOTHING = Upstream()


def public_with_defaults(
    public: PublicListener, own: Mapping[str, Any], protocol: str, defaults: ServiceDefaults
) -> PublicListener:
    """``own`` is the proxy's ``Config``; ``protocol`` is what the service speaks by its entries."""
    changes: dict[str, Any] = {}
    if not own.get("protocol"):
        changes["protocol"] = protocol
    if defaults.local_connect_timeout_ms and not own.get("local_connect_timeout_ms"):
        changes["local_connect_timeout"] = defaults.local_connect_timeout_ms / 1000.0
    if defaults.max_inbound_connections and not own.get("max_connections"):
        changes["max_connections"] = defaults.max_inbound_connections
    return replace(public, **changes)


def upstream_defaults(defaults: ServiceDefaults, service: str, destination: str) -> Upstream:
    """How ``service`` reaches ``destination``: the override of that name, and under it the defaults.

    Raises :class:`ConfigError` for raw configuration of Envoy.
    """
    config = defaults.upstream_config
    if config is None:
        return _NOTHING
    named = [each for each in config.overrides if each.name.lower() == destination.lower()]
    one, every = named[0] if named else _NOTHING, config.defaults or _NOTHING
    found = Upstream(
        name=destination,
        envoy_listener_json=one.envoy_listener_json or every.envoy_listener_json,
        envoy_cluster_json=one.envoy_cluster_json or every.envoy_cluster_json,
        protocol=one.protocol or every.protocol,
        connect_timeout_ms=one.connect_timeout_ms or every.connect_timeout_ms,
        limits=one.limits or every.limits,
        passive_health_check=one.passive_health_check or every.passive_health_check,
    )
    if found.envoy_listener_json or found.envoy_cluster_json:
        key = "EnvoyListenerJSON" if found.envoy_listener_json else "EnvoyClusterJSON"
        raise ConfigError(
            f"service-defaults/{service}: UpstreamConfig.{key} is not supported: raw configuration would go round the "
            "checks of what the mesh allows; take it out"
        )
    return replace(found, name="")
