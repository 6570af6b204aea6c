"""What the catalog holds, as frozen values. Text is as the agents wrote it; names are compared without regard to case.

Mappings are never changed once they are inside a value: the store hands the same objects to every reader.
Source: Consul 1.2.3, agent/structs/structs.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

__all__ = [
    "ANY",
    "CONNECT_PROXY",
    "CRITICAL",
    "INGRESS_GATEWAY",
    "MAINTENANCE",
    "NODE_MAINTENANCE",
    "PASSING",
    "SERF_CHECK_ID",
    "SERVICE_MAINTENANCE_PREFIX",
    "SIDECAR_SUFFIX",
    "STATES",
    "TERMINATING_GATEWAY",
    "WARNING",
    "Check",
    "CheckDefinition",
    "Instance",
    "Node",
    "NodeDump",
    "Service",
    "ServiceAddress",
    "Weights",
    "serf_check",
]

PASSING: Final = "passing"
WARNING: Final = "warning"
CRITICAL: Final = "critical"
#: What an aggregate says of an instance in maintenance; no check has this status.
MAINTENANCE: Final = "maintenance"
#: What a query asks for when every status will do.
ANY: Final = "any"
#: The statuses of a check, worst last.
STATES: Final = (PASSING, WARNING, CRITICAL)

#: The check that the leader keeps for each gossip member.
SERF_CHECK_ID: Final = "serfHealth"
NODE_MAINTENANCE: Final = "_node_maintenance"
SERVICE_MAINTENANCE_PREFIX: Final = "_service_maintenance"
#: What the id and the name of a sidecar end in, after those of its service.
SIDECAR_SUFFIX: Final = "-sidecar-proxy"

#: ``kind`` of a service that is a proxy for another one; empty for a typical service.
CONNECT_PROXY: Final = "connect-proxy"
#: ``kind`` of a gateway: from clients outside into the mesh, and from the mesh to services outside. Consul 1.8.
INGRESS_GATEWAY: Final = "ingress-gateway"
TERMINATING_GATEWAY: Final = "terminating-gateway"


@dataclass(frozen=True, slots=True)
class Node:
    """A machine. ``id`` is a UUID or empty (external nodes have none)."""

    name: str
    address: str = ""
    id: str = ""
    datacenter: str = ""
    tagged_addresses: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    create_index: int = 0
    modify_index: int = 0

    def same_as(self, other: Node) -> bool:
        """Equal in everything but the indexes."""
        return bool(_NODE_CONTENT(self) == _NODE_CONTENT(other))


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of the traffic (SRV weights) while an instance passes and while it warns."""

    passing: int = 1
    warning: int = 1


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """A further way to a service; ``port`` 0 is the service's own."""

    address: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """One instance on one node; ``id`` is unique on its node and defaults to ``name``.

    ``native`` is Connect.Native, ``managed_proxy`` Connect.Proxy (``ExecMode``, ``Command``, ``Config``), ``proxy`` the
    proxy configuration of Consul 1.3 and later; both are JSON values and mean nothing to the catalog.
    ``tagged_addresses`` (Consul 1.6) are further ways to it by name, ``wan`` is the one from other datacenters.
    ``socket_path`` (Consul 1.10) is the path of a unix socket, in place of ``address`` and ``port``.
    """

    name: str
    id: str = ""
    kind: str = ""
    tags: tuple[str, ...] = ()
    address: str = ""
    port: int = 0
    meta: Mapping[str, str] = field(default_factory=dict)
    weights: Weights = Weights()
    enable_tag_override: bool = False
    proxy_destination: str = ""
    native: bool = False
    managed_proxy: Mapping[str, Any] | None = None
    proxy: Mapping[str, Any] | None = None
    create_index: int = 0
    modify_index: int = 0
    tagged_addresses: Mapping[str, ServiceAddress] = field(default_factory=dict)
    socket_path: str = ""

    def same_as(self, other: Service) -> bool:
        """Equal in everything but the indexes."""
        return bool(_SERVICE_CONTENT(self) == _SERVICE_CONTENT(other))

    @property
    def connect_name(self) -> str:
        """The service that a Connect client reaches through this instance; empty when it can't."""
        if self.kind == CONNECT_PROXY:
            return self.proxy_destination
        return self.name if self.native else ""


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """How a check is run, for who runs it (``DeregisterCriticalServiceAfter`` and the durations in seconds)."""

    http: str = ""
    tls_skip_verify: bool = False
    header: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    method: str = ""
    tcp: str = ""
    interval: float = 0.0
    timeout: float = 0.0
    deregister_critical_service_after: float = 0.0


_NO_DEFINITION: Final = CheckDefinition()


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a node (``service_id`` empty) or of a service on it.

    ``service_name`` and ``service_tags`` are the store's: it copies them from the service.
    """

    node: str
    check_id: str
    name: str = ""
    status: str = CRITICAL
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: tuple[str, ...] = ()
    definition: CheckDefinition = _NO_DEFINITION
    create_index: int = 0
    modify_index: int = 0

    def same_as(self, other: Check) -> bool:
        """Equal in everything but the indexes."""
        return bool(_CHECK_CONTENT(self) == _CHECK_CONTENT(other))


@dataclass(frozen=True, slots=True)
class Instance:
    """A service on its node, with the checks that decide its health: the node's first, then its own."""

    node: Node
    service: Service
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeDump:
    """A node with everything on it; services and checks by id."""

    node: Node
    services: tuple[Service, ...]
    checks: tuple[Check, ...] = ()


def serf_check(node: str, *, alive: bool) -> Check:
    """The check that says whether gossip sees ``node``, with Consul's words."""
    return Check(
        node=node,
        check_id=SERF_CHECK_ID,
        name="Serf Health Status",
        status=PASSING if alive else CRITICAL,
        output="Agent alive and reachable" if alive else "Agent not live or unreachable",
    )


def _content(of: type[Node | Service | Check]) -> attrgetter[tuple[Any, ...]]:
    names = [name for name in of.__dataclass_fields__ if name not in {"create_index", "modify_index"}]
    return attrgetter(*names)


_NODE_CONTENT: Final = _content(Node)
_SERVICE_CONTENT: Final = _content(Service)
_CHECK_CONTENT: Final = _content(Check)
