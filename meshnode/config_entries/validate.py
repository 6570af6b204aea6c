"""What one entry may not be, whatever the others are. The texts are Consul's where Consul has one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from meshnode.base.suggest import did_you_mean
from meshnode.config_entries.defaults import (
    Expose,
    MeshGateway,
    ProxyDefaults,
    ServiceDefaults,
    TransparentProxy,
    Upstream,
    UpstreamConfig,
)
from meshnode.config_entries.gateways import IngressGateway, TerminatingGateway
from meshnode.config_entries.model import PROXY_DEFAULTS_NAME, ConfigEntry
from meshnode.config_entries.protocol import PROTOCOLS
from meshnode.config_entries.routing import ServiceResolver, ServiceRouter, ServiceSplitter
from meshnode.config_entries.sources import ServiceIntentions, Source, intention_from
from meshnode.config_entries.validate_gateways import ingress_faults, terminating_faults
from meshnode.config_entries.validate_routing import resolver_faults, router_faults, splitter_faults
from meshnode.intentions.model import WILDCARD
from meshnode.intentions.validate import (
    MAX_META_KEY_CHARS,
    MAX_META_PAIRS,
    MAX_META_VALUE_CHARS,
    MAX_NAME_CHARS,
    UNPRINTABLE,
    intention_fault,
)

__all__ = ["MAX_FAULTS", "MAX_PORT", "entry_fault", "join_faults"]

#: Reasons that are told of one entry.
MAX_FAULTS: Final = 20
MAX_PORT: Final = 65535
_MODES: Final = ("", "direct", "transparent")
_GATEWAY_MODES: Final = ("", "none", "local", "remote")


def entry_fault(entry: ConfigEntry) -> str:
    """Why it can't be stored, every reason with the name of its field; ``""`` when it can."""
    return join_faults([*_name_faults(entry), *_meta_faults(entry.meta), *_spec_faults(entry)])


def join_faults(faults: Sequence[str]) -> str:
    """The first of them as one text, which says how many more there are."""
    more = len(faults) - MAX_FAULTS
    return "; ".join((*faults[:MAX_FAULTS], *([f"and {more} more"] if more > 0 else [])))


def _name_faults(entry: ConfigEntry) -> Iterator[str]:
    name = entry.name
    if isinstance(entry.spec, ProxyDefaults) and name != PROXY_DEFAULTS_NAME:
        yield f'invalid name ("{name[:80]}"), only "{PROXY_DEFAULTS_NAME}" is supported'
    elif isinstance(entry.spec, ServiceIntentions):
        return  # the intentions say what is wrong with their destination
    elif not name:
        yield "Name is required"
    elif WILDCARD in name:
        yield f"Name: {WILDCARD} stands for all services in service-intentions only"
    elif len(name) > MAX_NAME_CHARS:
        yield f"Name has {len(name)} characters: at most {MAX_NAME_CHARS}"
    elif "/" in name or UNPRINTABLE.search(name) or name != name.strip():
        yield f"Name {name[:80]!a} can't be a name: leave out '/', control characters and outer spaces"


def _meta_faults(meta: Mapping[str, str]) -> Iterator[str]:
    if len(meta) > MAX_META_PAIRS:
        yield f"Meta exceeds maximum element count {MAX_META_PAIRS}"
    for key, value in meta.items():
        if not key or len(key) > MAX_META_KEY_CHARS:
            yield f'Meta key "{key[:40]}" can\'t be used: write 1 to {MAX_META_KEY_CHARS} characters'
        if len(value) > MAX_META_VALUE_CHARS:
            yield f'Meta value for key "{key[:40]}" exceeds maximum length {MAX_META_VALUE_CHARS}'


def _spec_faults(entry: ConfigEntry) -> Iterable[str]:
    match entry.spec:
        case ServiceDefaults() as spec:
            return _service_defaults_faults(spec)
        case ProxyDefaults() as spec:
            return _proxy_defaults_faults(spec)
        case ServiceResolver() as spec:
            return resolver_faults(entry.name, spec)
        case ServiceSplitter() as spec:
            return splitter_faults(entry.name, spec)
        case ServiceRouter() as spec:
            return router_faults(spec)
        case ServiceIntentions(sources):
            return _source_faults(entry, sources)
        case IngressGateway() as spec:
            return ingress_faults(spec)
        case TerminatingGateway() as spec:
            return terminating_faults(spec)


# Defaults


def _service_defaults_faults(spec: ServiceDefaults) -> Iterator[str]:
    yield from _one_of("Protocol", spec.protocol, ("", *PROTOCOLS))
    yield from _proxy_faults(spec.mode, spec.transparent_proxy, spec.mesh_gateway, spec.expose)
    figures = {
        "MaxInboundConnections": spec.max_inbound_connections,
        "LocalConnectTimeoutMs": spec.local_connect_timeout_ms,
        "LocalRequestTimeoutMs": spec.local_request_timeout_ms,
    }
    yield from _negative(figures)
    if spec.upstream_config is not None:
        yield from _upstream_config_faults(spec.upstream_config)


def _proxy_defaults_faults(spec: ProxyDefaults) -> Iterator[str]:
    yield from _proxy_faults(spec.mode, spec.transparent_proxy, spec.mesh_gateway, spec.expose)
    protocol = spec.config.get("protocol", "")
    if not isinstance(protocol, str):
        yield "Config.protocol: expected string"
    else:
        yield from _one_of("Config.protocol", protocol.lower(), ("", *PROTOCOLS))


def _proxy_faults(
    mode: str, transparent: TransparentProxy, gateway: MeshGateway, expose: Expose
) -> Iterator[str]:
    yield from _one_of("Mode", mode, _MODES)
    yield from _one_of("MeshGateway.Mode", gateway.mode, _GATEWAY_MODES)
    yield from _port("TransparentProxy.OutboundListenerPort", transparent.outbound_listener_port)
    for number, path in enumerate(expose.paths):
        place = f"Expose.Paths[{number}]"
        if not path.path.startswith("/"):
            yield f'{place}.Path must begin with a slash, as "/metrics"'
        yield from _port(f"{place}.ListenerPort", path.listener_port)
        yield from _port(f"{place}.LocalPathPort", path.local_path_port)
        yield from _one_of(f"{place}.Protocol", path.protocol, ("http", "http2"))


def _upstream_config_faults(config: UpstreamConfig) -> Iterator[str]:
    seen: set[str] = set()
    for number, upstream in enumerate(config.overrides):
        place = f"UpstreamConfig.Overrides[{number}]"
        name = upstream.name.lower()
        if name in {"", WILDCARD}:
            yield f"{place}.Name is required, and can't be {WILDCARD}: Defaults are for every upstream"
        elif name in seen:
            yield f'{place}: the upstream "{upstream.name[:80]}" is there twice'
        seen.add(name)
        yield from _upstream_faults(place, upstream)
    if config.defaults is not None:
        if config.defaults.name:
            yield "UpstreamConfig.Defaults.Name must be empty: Overrides are for single upstreams"
        yield from _upstream_faults("UpstreamConfig.Defaults", config.defaults)


def _upstream_faults(place: str, upstream: Upstream) -> Iterator[str]:
    yield from _one_of(f"{place}.Protocol", upstream.protocol.lower(), ("", *PROTOCOLS))
    yield from _one_of(f"{place}.MeshGateway.Mode", upstream.mesh_gateway.mode, _GATEWAY_MODES)
    figures: dict[str, float] = {f"{place}.ConnectTimeoutMs": upstream.connect_timeout_ms}
    if (limits := upstream.limits) is not None:
        figures |= {
            f"{place}.Limits.MaxConnections": limits.max_connections,
            f"{place}.Limits.MaxPendingRequests": limits.max_pending_requests,
            f"{place}.Limits.MaxConcurrentRequests": limits.max_concurrent_requests,
        }
    if (check := upstream.passive_health_check) is not None:
        figures |= {
            f"{place}.PassiveHealthCheck.Interval": check.interval,
            f"{place}.PassiveHealthCheck.MaxFailures": check.max_failures,
        }
        if not 0 <= (check.enforcing_consecutive_5xx or 0) <= 100:
            yield f"{place}.PassiveHealthCheck.EnforcingConsecutive5xx must be a percentage, 0 to 100"
    yield from _negative(figures)


def _negative(figures: Mapping[str, float]) -> Iterator[str]:
    yield from (f"{name} must be >= 0" for name, figure in figures.items() if figure < 0)


def _port(name: str, port: int) -> Iterator[str]:
    if not 0 <= port <= MAX_PORT:
        yield f"{name}: {port} is no port: write 0 to {MAX_PORT}"


def _one_of(name: str, value: str, accepted: tuple[str, ...]) -> Iterator[str]:
    if value not in accepted:
        known = [each for each in accepted if each]
        hint = did_you_mean(value, known)
        yield f"{name}: {value[:80]!a} can't be used: write one of {', '.join(known)}{hint}"


# Intentions


def _source_faults(entry: ConfigEntry, sources: tuple[Source, ...]) -> Iterator[str]:
    if not sources:
        yield "At least one source is required"
        return
    seen: set[tuple[str, str, str, str]] = set()
    for source in sources:
        intention = intention_from(source, entry.name, entry.namespace)
        shown = source.name[:80]
        if intention.pair in seen:
            yield f'Source "{shown}" is there more than once'
        seen.add(intention.pair)
        if fault := intention_fault(intention):
            yield f'Source "{shown}": {fault}'
