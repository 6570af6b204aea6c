"""The fields of ``service-resolver``, ``service-splitter`` and ``service-router``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshnode.config_entries.codec import NO_TIME, Duration
from meshnode.config_entries.defaults import HeaderModifiers
from meshnode.intentions.model import HeaderMatch

__all__ = [
    "CookieConfig",
    "Failover",
    "FailoverTarget",
    "HashPolicy",
    "LeastRequestConfig",
    "LoadBalancer",
    "QueryParam",
    "Redirect",
    "RingHashConfig",
    "Route",
    "RouteDestination",
    "RouteHttp",
    "RouteMatch",
    "ServiceResolver",
    "ServiceRouter",
    "ServiceSplitter",
    "Split",
    "Subset",
]


@dataclass(frozen=True, slots=True)
class Subset:
    """The instances of a service that ``filter`` fits; ``only_passing`` leaves out those with warnings."""

    filter: str = ""
    only_passing: bool = False


@dataclass(frozen=True, slots=True)
class Redirect:
    """What is resolved in place of the service; what is empty stays as it was."""

    service: str = ""
    service_subset: str = ""
    datacenter: str = ""


@dataclass(frozen=True, slots=True)
class FailoverTarget:
    """One place to go on at; what is empty stays as it was."""

    service: str = ""
    service_subset: str = ""
    datacenter: str = ""


@dataclass(frozen=True, slots=True)
class Failover:
    """Where to go on when no instance is healthy: ``targets``, or a service in each of the datacenters."""

    service: str = ""
    service_subset: str = ""
    datacenters: tuple[str, ...] = ()
    targets: tuple[FailoverTarget, ...] = ()


@dataclass(frozen=True, slots=True)
class RingHashConfig:
    """Of the policy ``ring_hash``; 0 is the proxy's default."""

    minimum_ring_size: int = 0
    maximum_ring_size: int = 0


@dataclass(frozen=True, slots=True)
class LeastRequestConfig:
    """Of the policy ``least_request``; 0 is the proxy's default."""

    choice_count: int = 0


@dataclass(frozen=True, slots=True)
class CookieConfig:
    """A cookie that the proxy makes."""

    session: bool = False
    ttl: Duration = NO_TIME
    path: str = ""


@dataclass(frozen=True, slots=True)
class HashPolicy:
    """What is hashed: a ``field`` of the request, or the source's address."""

    field: str = ""
    field_value: str = ""
    cookie_config: CookieConfig | None = None
    source_ip: bool = False
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """How an instance is chosen; an empty policy is the proxy's default."""

    policy: str = ""
    ring_hash_config: RingHashConfig | None = None
    least_request_config: LeastRequestConfig | None = None
    hash_policies: tuple[HashPolicy, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceResolver:
    """Which instances stand for a service. With ``redirect`` nothing else counts."""

    default_subset: str = ""
    subsets: Mapping[str, Subset] = field(default_factory=dict)
    redirect: Redirect | None = None
    #: By subset; ``*`` is any that isn't named.
    failover: Mapping[str, Failover] = field(default_factory=dict)
    connect_timeout: Duration = NO_TIME
    request_timeout: Duration = NO_TIME
    load_balancer: LoadBalancer | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """A share of the requests, in percent, and who gets it; what is empty is the splitter's service."""

    weight: float = field(default=0.0, metadata={"always": True})
    service: str = ""
    service_subset: str = ""
    request_headers: HeaderModifiers | None = None
    response_headers: HeaderModifiers | None = None


@dataclass(frozen=True, slots=True)
class ServiceSplitter:
    """Shares that make up 100 percent."""

    splits: tuple[Split, ...] = field(default=(), metadata={"always": True})


@dataclass(frozen=True, slots=True)
class QueryParam:
    """A condition on the parameter ``name``: one of the three."""

    name: str
    present: bool = False
    exact: str = ""
    regex: str = ""


@dataclass(frozen=True, slots=True)
class RouteHttp:
    """Conditions on a request, of which all must hold; as in an intention's permission, and on the query."""

    path_exact: str = ""
    path_prefix: str = ""
    path_regex: str = ""
    header: tuple[HeaderMatch, ...] = ()
    query_param: tuple[QueryParam, ...] = ()
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Without conditions it fits every request."""

    http: RouteHttp | None = None


@dataclass(frozen=True, slots=True)
class RouteDestination:
    """Where a request goes, and what is changed and tried on the way; an empty service is the router's."""

    service: str = ""
    service_subset: str = ""
    prefix_rewrite: str = ""
    request_timeout: Duration = NO_TIME
    idle_timeout: Duration = NO_TIME
    num_retries: int = 0
    retry_on_connect_failure: bool = False
    retry_on: tuple[str, ...] = ()
    retry_on_status_codes: tuple[int, ...] = ()
    request_headers: HeaderModifiers | None = None
    response_headers: HeaderModifiers | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The first one that fits decides."""

    match: RouteMatch | None = None
    destination: RouteDestination | None = None


@dataclass(frozen=True, slots=True)
class ServiceRouter:
    """Routes by path, header, query and method; what none is about goes to the service itself."""

    routes: tuple[Route, ...] = ()
