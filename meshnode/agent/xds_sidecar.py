"""A sidecar's state, from what the API says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from meshnode.agent.xds_round import Round
from meshnode.config_entries.chain import Chain
from meshnode.config_entries.defaults import ServiceDefaults
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import DestinationType, ProxyConfig, Upstream
from meshnode.proxy.definition import parse_service
from meshnode.xds.service_defaults import public_with_defaults, upstream_defaults
from meshnode.xds.settings import own_config, parse_envoy_settings
from meshnode.xds.state import Material, ProxyState

__all__ = ["sidecar_state"]


def sidecar_state(round_: Round, proxy_id: str, body: Mapping[str, Any]) -> ProxyState | None:
    """Everything at this moment; ``None`` while something was never told. ``body``: the proxy's registration."""
    settings = parse_envoy_settings(own_config(body), round_.proxy_defaults())
    config = parse_service(body)
    own, roots = round_.material(config.service), round_.roots()
    decided = round_.intentions(config.service)
    spoken, defaults = round_.chain(config.service), round_.service_defaults(config.service)
    chains = {one.name: round_.chain(one.destination, one.datacenter) for one in _services(config)}
    known = {name: chain for name, chain in chains.items() if chain is not None}
    if own is None:
        return None
    instances = _instances(round_, config, known, own)
    if not round_.complete or roots is None or decided is None or spoken is None or defaults is None:
        return None
    return ProxyState(
        proxy_id=proxy_id,
        config=_by_defaults(config, body, spoken.protocol, defaults),
        trust_domain=own.trust_domain,
        datacenter=own.datacenter,
        certificate_pem=own.certificate_pem,
        key_pem=own.key_pem,
        roots_pem=roots,
        intentions=decided[0],
        default=decided[1],
        instances=instances,
        chains=known,
        logs=settings.logs,
        defaults={
            one.name: upstream_defaults(defaults, config.service, one.destination) for one in config.upstreams
        },
        local_request_timeout=defaults.local_request_timeout_ms / 1000.0,
    )


def _services(config: ProxyConfig) -> list[Upstream]:
    return [one for one in config.upstreams if one.destination_type is DestinationType.SERVICE]


def _instances(
    round_: Round, config: ProxyConfig, chains: Mapping[str, Chain], own: Material
) -> dict[str, tuple[Instance, ...]]:
    found: dict[str, tuple[Instance, ...]] = {}
    for chain in chains.values():
        found |= round_.targets(chain, own)
    for one in config.upstreams:
        if one.destination_type is DestinationType.PREPARED_QUERY:
            found[one.name] = round_.query(one, own)
    return found


def _by_defaults(
    config: ProxyConfig, body: Mapping[str, Any], protocol: str, defaults: ServiceDefaults
) -> ProxyConfig:
    """What the service speaks and may take is in its defaults, unless the proxy's own registration says it."""
    if config.public is None:
        return config
    public = public_with_defaults(config.public, own_config(body), protocol, defaults)
    return replace(config, public=public)
