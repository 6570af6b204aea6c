"""A config entry, and which kinds there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from meshnode.config_entries.defaults import ProxyDefaults, ServiceDefaults
from meshnode.config_entries.gateways import IngressGateway, TerminatingGateway
from meshnode.config_entries.routing import ServiceResolver, ServiceRouter, ServiceSplitter
from meshnode.config_entries.sources import ServiceIntentions
from meshnode.intentions.model import DEFAULT_NAMESPACE

__all__ = [
    "INGRESS_GATEWAY",
    "KINDS",
    "KIND_OF",
    "PROXY_DEFAULTS",
    "PROXY_DEFAULTS_NAME",
    "SERVICE_DEFAULTS",
    "SERVICE_INTENTIONS",
    "SERVICE_RESOLVER",
    "SERVICE_ROUTER",
    "SERVICE_SPLITTER",
    "TERMINATING_GATEWAY",
    "ConfigEntry",
    "Key",
    "Spec",
]

SERVICE_DEFAULTS: Final = "service-defaults"
PROXY_DEFAULTS: Final = "proxy-defaults"
SERVICE_RESOLVER: Final = "service-resolver"
SERVICE_SPLITTER: Final = "service-splitter"
SERVICE_ROUTER: Final = "service-router"
SERVICE_INTENTIONS: Final = "service-intentions"
INGRESS_GATEWAY: Final = "ingress-gateway"
TERMINATING_GATEWAY: Final = "terminating-gateway"
#: The only name of ``proxy-defaults``.
PROXY_DEFAULTS_NAME: Final = "global"

#: The fields of one kind.
Spec: TypeAlias = (
    ServiceDefaults
    | ProxyDefaults
    | ServiceResolver
    | ServiceSplitter
    | ServiceRouter
    | ServiceIntentions
    | IngressGateway
    | TerminatingGateway
)

#: Kind -> its fields.
KINDS: Final[Mapping[str, type[Spec]]] = {
    SERVICE_DEFAULTS: ServiceDefaults,
    PROXY_DEFAULTS: ProxyDefaults,
    SERVICE_RESOLVER: ServiceResolver,
    SERVICE_SPLITTER: ServiceSplitter,
    SERVICE_ROUTER: ServiceRouter,
    SERVICE_INTENTIONS: ServiceIntentions,
    INGRESS_GATEWAY: IngressGateway,
    TERMINATING_GATEWAY: TerminatingGateway,
}
KIND_OF: Final[Mapping[type[object], str]] = {spec: kind for kind, spec in KINDS.items()}

#: What no two entries share: the kind, and the name in lower case.
Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """``namespace`` is other than the default for ``service-intentions`` only; indexes are 0 until it is stored."""

    name: str
    spec: Spec
    meta: Mapping[str, str] = field(default_factory=dict)
    namespace: str = DEFAULT_NAMESPACE
    create_index: int = 0
    modify_index: int = 0
    #: The other services that a router, splitter or resolver names, each once, in order.
    references: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Kept, since every change of an entry asks all the others for it."""
        object.__setattr__(self, "references", _references(self))

    @property
    def kind(self) -> str:
        """``service-defaults``."""
        return KIND_OF[type(self.spec)]

    @property
    def key(self) -> Key:
        """What no other entry shares."""
        return self.kind, self.name.lower()


def _references(entry: ConfigEntry) -> tuple[str, ...]:
    match entry.spec:
        case ServiceRouter(routes):
            named = [route.destination.service for route in routes if route.destination is not None]
        case ServiceSplitter(splits):
            named = [split.service for split in splits]
        case ServiceResolver(redirect=redirect, failover=failover):
            named = [redirect.service] if redirect is not None else []
            for option in failover.values():
                named += [option.service, *(target.service for target in option.targets)]
        case _:
            named = []
    return tuple(dict.fromkeys(name for name in named if name and name.lower() != entry.name.lower()))
