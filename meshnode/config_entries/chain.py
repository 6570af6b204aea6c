"""The discovery chain: what routers, splitters and resolvers make of one service, as a graph to walk.

Router (requests by path, header, method) -> splitter (shares) -> resolver (instances, redirects, failover) -> target.
Nested splitters become one. Source: Consul 1.10, documentation of the discovery chain; the names of nodes and targets
are those of its examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from meshnode.base.errors import MeshError
from meshnode.config_entries.defaults import HeaderModifiers, ProxyDefaults, ServiceDefaults
from meshnode.config_entries.protocol import is_http_like, resolve_protocol
from meshnode.config_entries.routing import (
    Failover,
    LoadBalancer,
    Route,
    RouteDestination,
    RouteHttp,
    RouteMatch,
    ServiceResolver,
    ServiceRouter,
    ServiceSplitter,
    Split,
    Subset,
)
from meshnode.config_entries.table import EntryTable
from meshnode.intentions.model import DEFAULT_NAMESPACE, WILDCARD

__all__ = [
    "CONNECT_TIMEOUT",
    "MAX_REDIRECTS",
    "MAX_SHARES",
    "MAX_SPLITTER_DEPTH",
    "Chain",
    "ChainError",
    "Node",
    "Overrides",
    "ResolverNode",
    "RouterNode",
    "SplitterNode",
    "Target",
    "compile_chain",
]

#: Seconds to connect to an instance where no resolver says (Consul, ``service-resolver``).
CONNECT_TIMEOUT: Final = 5.0
#: Redirects in a row, splitters inside splitters, and shares of the one that they become.
MAX_REDIRECTS: Final = 32
MAX_SPLITTER_DEPTH: Final = 32
MAX_SHARES: Final = 1024


_ALL: Final = Subset()


class ChainError(MeshError):
    """These entries make no chain; the text is Consul's where Consul has one."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a proxy's own configuration says otherwise; empty and 0 say nothing. ``connect_timeout`` is in seconds."""

    protocol: str = ""
    connect_timeout: float = 0.0
    mesh_gateway: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A set of instances to ask the health API for; ``sni`` is what to ask for in the handshake."""

    service: str
    service_subset: str
    datacenter: str
    subset: Subset = _ALL
    mesh_gateway: str = ""
    external: bool = False
    sni: str = ""
    name: str = ""

    @property
    def id(self) -> str:
        """``v1.web.default.dc1``."""
        parts = (self.service_subset, self.service, DEFAULT_NAMESPACE, self.datacenter)
        return ".".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class ResolverNode:
    """``default``: no resolver is written for the service. ``failover``: the ids of targets, best first."""

    target: str
    connect_timeout: float
    request_timeout: float = 0.0
    default: bool = False
    failover: tuple[str, ...] = ()
    load_balancer: LoadBalancer | None = None


@dataclass(frozen=True, slots=True)
class SplitterNode:
    """Shares in percent, each with the node that gets it."""

    service: str
    splits: tuple[tuple[Split, str], ...]


@dataclass(frozen=True, slots=True)
class RouterNode:
    """Routes in order, each with the node that it leads to; the last one fits everything."""

    service: str
    routes: tuple[tuple[Route, str], ...]


Node: TypeAlias = ResolverNode | SplitterNode | RouterNode


@dataclass(frozen=True, slots=True)
class Chain:
    """``start`` is the name of the node to begin with. ``customization`` tells apart chains of other overrides."""

    service: str
    datacenter: str
    protocol: str
    start: str
    nodes: Mapping[str, Node]
    targets: Mapping[str, Target]
    customization: str = ""


def compile_chain(
    entries: EntryTable,
    service: str,
    datacenter: str,
    *,
    trust_domain: str = "",
    overrides: Overrides = Overrides(),
) -> Chain:
    """The chain of ``service``, seen from ``datacenter``. Raises :class:`ChainError`."""
    return _Compiler(entries, service, datacenter, trust_domain, overrides).chain()


class _Compiler:
    def __init__(
        self, entries: EntryTable, service: str, datacenter: str, trust_domain: str, overrides: Overrides
    ) -> None:
        self._entries: Final = entries
        self._service: Final = service
        self._datacenter: Final = datacenter
        self._trust_domain: Final = trust_domain
        self._overrides: Final = overrides
        self._protocol: Final = resolve_protocol(entries, service)
        asked = overrides.protocol or self._protocol
        self._layered: Final = is_http_like(self._protocol) and is_http_like(asked)
        self._nodes: Final[dict[str, Node]] = {}
        self._targets: Final[dict[str, Target]] = {}
        self._flat: Final[dict[str, list[tuple[Split, str]]]] = {}
        self._customized: Final[set[str]] = set()
        if asked != self._protocol:
            self._customized.add(f"protocol={asked}")

    def chain(self) -> Chain:
        router = self._entries.spec(ServiceRouter, self._service)
        splitter = self._entries.spec(ServiceSplitter, self._service)
        if not is_http_like(self._protocol) and (router is not None or splitter is not None):
            raise ChainError(
                f'discovery chain "{self._service}" uses a protocol "{self._protocol}" that does not permit advanced '
                "routing or splitting behavior"
            )
        if router is not None and router.routes and self._layered:
            start = self._router(router)
        else:
            start = self._next(self._service)
        digest = hashlib.sha256("\n".join(sorted(self._customized)).encode()).hexdigest()
        return Chain(
            self._service,
            self._datacenter,
            self._overrides.protocol or self._protocol,
            start,
            dict(sorted(self._nodes.items())),
            dict(sorted(self._targets.items())),
            digest[:8] if self._customized else "",
        )

    def _record(self, service: str) -> None:
        """Everything in a chain speaks one protocol."""
        found = resolve_protocol(self._entries, service)
        if found != self._protocol:
            raise ChainError(
                f'discovery chain "{self._service}" uses inconsistent protocols; service "{service}" has "{found}" '
                f'which is not "{self._protocol}"'
            )

    # Routers

    def _router(self, router: ServiceRouter) -> str:
        self._record(self._service)
        rest = Route(RouteMatch(RouteHttp(path_prefix="/")), RouteDestination(service=self._service))
        routes = []
        for route in (*router.routes, rest):
            destination = route.destination or RouteDestination()
            service, subset = destination.service or self._service, destination.service_subset
            routes.append((route, self._resolver(service, subset) if subset else self._next(service)))
        name = f"router:{self._service}"
        self._nodes[name] = RouterNode(self._service, tuple(routes))
        return name

    # Splitters

    def _next(self, service: str) -> str:
        """The splitter of a service if it has one, else its resolver."""
        if not self._layered or self._entries.spec(ServiceSplitter, service) is None:
            return self._resolver(service)
        name = f"splitter:{service}"
        if name not in self._nodes:
            self._nodes[name] = SplitterNode(service, tuple(self._shares(service, ())))
        return name

    def _shares(self, service: str, above: tuple[str, ...]) -> list[tuple[Split, str]]:
        """The shares of a service's splitter, those of the splitters that it leads to taken in."""
        key = service.lower()
        if key in above:
            raise ChainError(f"detected circular reference: {' -> '.join((*above, key))}")
        if len(above) == MAX_SPLITTER_DEPTH:
            raise ChainError(f'"{service}": splitters are nested more than {MAX_SPLITTER_DEPTH} deep')
        if key in self._flat:
            return self._flat[key]
        splitter = self._entries.spec(ServiceSplitter, service)
        assert splitter is not None
        self._record(service)
        shares: dict[tuple[str, str], tuple[Split, str]] = {}
        for split in splitter.splits:
            for share, following in self._parts(split, service, (*above, key)):
                # Of those that end alike there is one: otherwise nesting doubles their number at each level.
                alike = (following, repr((share.request_headers, share.response_headers)))
                if alike in shares:
                    share = replace(share, weight=round(share.weight + shares[alike][0].weight, 4))
                shares[alike] = share, following
        if len(shares) > MAX_SHARES:
            raise ChainError(f'"{service}" is split in {len(shares)} shares: at most {MAX_SHARES}')
        self._flat[key] = list(shares.values())
        return self._flat[key]

    def _parts(self, split: Split, service: str, above: tuple[str, ...]) -> list[tuple[Split, str]]:
        """A share as it is, or divided by the splitter of the service that it leads to."""
        other = split.service or service
        further = not split.service_subset and other.lower() != service.lower()
        if not further or self._entries.spec(ServiceSplitter, other) is None:
            return [(split, self._resolver(other, split.service_subset))]
        return [
            (
                replace(
                    inner,
                    weight=round(split.weight * inner.weight / 100, 4),
                    request_headers=_together(split.request_headers, inner.request_headers),
                    response_headers=_together(split.response_headers, inner.response_headers),
                ),
                following,
            )
            for inner, following in self._shares(other, above)
        ]

    # Resolvers

    def _resolver(self, service: str, subset: str = "") -> str:
        target, resolver = self._target(service, subset, self._datacenter)
        name = f"resolver:{target.id}"
        if name not in self._nodes:
            timeout = (resolver.connect_timeout if resolver is not None else 0.0) or CONNECT_TIMEOUT
            if self._overrides.connect_timeout and self._overrides.connect_timeout != timeout:
                timeout = self._overrides.connect_timeout
                self._customized.add(f"connect_timeout={timeout}")
            self._nodes[name] = ResolverNode(
                target.id,
                timeout,
                resolver.request_timeout if resolver is not None else 0.0,
                default=resolver is None,
                failover=self._failover(target, resolver),
                load_balancer=resolver.load_balancer if resolver is not None else None,
            )
        return name

    def _failover(self, target: Target, resolver: ServiceResolver | None) -> tuple[str, ...]:
        options = resolver.failover if resolver is not None else {}
        option = options.get(target.service_subset) or options.get(WILDCARD)
        if option is None:
            return ()
        found = [self._target(*place)[0].id for place in _places(option, target)]
        return tuple(dict.fromkeys(each for each in found if each != target.id))

    def _target(self, service: str, subset: str, datacenter: str) -> tuple[Target, ServiceResolver | None]:
        """Where redirects and default subsets lead to, and the resolver of the service there."""
        seen: list[tuple[str, str, str]] = []
        while True:
            self._record(service)
            place = (service.lower(), subset, datacenter)
            if place in seen:
                raise ChainError(
                    f"detected circular resolver redirect: {' -> '.join(each[0] for each in (*seen, place))}"
                )
            if len(seen) > MAX_REDIRECTS:
                raise ChainError(f'"{service}": more than {MAX_REDIRECTS} redirects in a row')
            seen.append(place)
            resolver = self._entries.spec(ServiceResolver, service)
            redirect = resolver.redirect if resolver is not None else None
            if redirect is None:
                break
            other = redirect.service or service
            kept = subset if other.lower() == service.lower() else ""
            changed = (other, redirect.service_subset or kept, redirect.datacenter or datacenter)
            if (changed[0].lower(), *changed[1:]) == place:
                break
            service, subset, datacenter = changed
        if resolver is not None and not subset:
            subset = resolver.default_subset
        known = resolver.subsets if resolver is not None else {}
        if subset and subset not in known:
            raise ChainError(f'service "{service}" does not have a subset named "{subset}"')
        return self._kept(Target(service, subset, datacenter, known.get(subset, _ALL))), resolver

    def _kept(self, target: Target) -> Target:
        """Put a target in, with what the defaults say about it."""
        if target.id in self._targets:
            return self._targets[target.id]
        own = self._entries.spec(ServiceDefaults, target.service)
        shared = self._entries.spec(ProxyDefaults, "")
        mode = own.mesh_gateway.mode if own is not None else ""
        mode = mode or (shared.mesh_gateway.mode if shared is not None else "")
        if self._overrides.mesh_gateway and self._overrides.mesh_gateway != mode:
            mode = self._overrides.mesh_gateway
            self._customized.add(f"mesh_gateway={mode}")
        name = f"{target.id}.internal.{self._trust_domain}" if self._trust_domain else target.id
        external = own.external_sni if own is not None else ""
        target = replace(target, mesh_gateway=mode, external=bool(external), sni=external or name, name=name)
        self._targets[target.id] = target
        return target


def _places(option: Failover, target: Target) -> list[tuple[str, str, str]]:
    """Service, subset and datacenter of each place to go on at."""

    def place(service: str, subset: str, datacenter: str) -> tuple[str, str, str]:
        other = service or target.service
        kept = target.service_subset if other.lower() == target.service.lower() else ""
        return other, subset or kept, datacenter or target.datacenter

    if option.targets:
        return [place(each.service, each.service_subset, each.datacenter) for each in option.targets]
    return [
        place(option.service, option.service_subset, datacenter) for datacenter in option.datacenters or ("",)
    ]


def _together(outer: HeaderModifiers | None, inner: HeaderModifiers | None) -> HeaderModifiers | None:
    """Both; where they speak of the same header, the inner one counts."""
    if outer is None or inner is None:
        return outer or inner
    return HeaderModifiers(
        {**outer.add, **inner.add},
        {**outer.set, **inner.set},
        tuple(dict.fromkeys((*outer.remove, *inner.remove))),
    )
