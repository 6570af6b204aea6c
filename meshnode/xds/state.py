"""Everything that one proxy's configuration is made of, as a value: of a sidecar, or of a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from meshnode.config_entries.chain import Chain
from meshnode.config_entries.defaults import HeaderModifiers, Upstream
from meshnode.config_entries.gateways import LinkedService
from meshnode.intentions.decide import DefaultDecision
from meshnode.intentions.model import Intention
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Endpoint, ProxyConfig
from meshnode.xds.settings import AccessLog

__all__ = [
    "IngressPort",
    "IngressRoute",
    "IngressState",
    "LinkedState",
    "Material",
    "ProxyState",
    "State",
    "TerminatingState",
]


@dataclass(frozen=True, slots=True)
class ProxyState:
    """``identity`` is the SPIFFE ID in ``certificate_pem``; ``roots_pem`` holds every root that is trusted.

    ``intentions`` are those about the proxy's service as destination, ``default`` holds where none of them fits.
    ``chains``: by the name of an upstream (:attr:`~meshnode.proxy.config.Upstream.name`); one without goes straight on.
    ``instances``: by the target of a chain (``v1.web.default.dc1``), by name for an upstream that a prepared query
    answers; failing ones too.
    """

    proxy_id: str
    config: ProxyConfig
    trust_domain: str
    datacenter: str
    certificate_pem: str
    key_pem: str = field(repr=False)
    roots_pem: str
    intentions: tuple[Intention, ...]
    default: DefaultDecision
    instances: Mapping[str, tuple[Instance, ...]] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)
    logs: tuple[AccessLog, ...] = ()
    #: By name of an upstream: how its service reaches it by default.
    defaults: Mapping[str, Upstream] = field(default_factory=dict)
    #: Seconds that the application has for a request; 0: all the time.
    local_request_timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class Material:
    """A service's certificate with its key, and the trust domain and datacenter that it is of."""

    trust_domain: str
    datacenter: str
    certificate_pem: str
    key_pem: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IngressRoute:
    """A service behind a port, for requests to ``hosts``."""

    chain: Chain
    hosts: tuple[str, ...] = ()
    request_headers: HeaderModifiers | None = None
    response_headers: HeaderModifiers | None = None


@dataclass(frozen=True, slots=True)
class IngressPort:
    """A listener for clients outside of the mesh; ``tls``: least and greatest version, each empty for Envoy's."""

    bind: Endpoint
    protocol: str
    routes: tuple[IngressRoute, ...]
    tls: tuple[str, str] | None = None
    cipher_suites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IngressState:
    """A gateway into the mesh; ``instances`` as in :class:`ProxyState`."""

    proxy_id: str
    own: Material
    roots_pem: str
    ports: tuple[IngressPort, ...]
    instances: Mapping[str, tuple[Instance, ...]] = field(default_factory=dict)
    logs: tuple[AccessLog, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkedState:
    """A service outside of the mesh as the mesh sees it: its identity, who may connect, and where it is."""

    linked: LinkedService
    own: Material
    protocol: str
    intentions: tuple[Intention, ...]
    default: DefaultDecision
    #: What clients may ask for in the handshake.
    server_names: tuple[str, ...]
    #: Where it is: addresses or names of hosts; nobody there has a SPIFFE ID.
    places: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True)
class TerminatingState:
    """A gateway out of the mesh."""

    proxy_id: str
    bind: Endpoint
    roots_pem: str
    services: tuple[LinkedState, ...]
    logs: tuple[AccessLog, ...] = ()


State: TypeAlias = ProxyState | IngressState | TerminatingState
