"""Services and checks as somebody defined them: the values. How they are read is in ``parse.py``.

Source: Consul 1.2.3, the documentation of agent/services and agent/checks, and of later versions where named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from meshnode.catalog.model import CONNECT_PROXY, CRITICAL, Check, Service, ServiceAddress, Weights
from meshnode.catalog.validate import service_fault
from meshnode.local.check_type import CheckType, DockerCheck, ScriptCheck

__all__ = [
    "MIN_DEREGISTER_AFTER",
    "CheckDefinition",
    "ManagedProxy",
    "ScriptPolicy",
    "ServiceDefinition",
    "definition_fault",
    "dns_warnings",
]

#: A shorter ``deregister_critical_service_after`` is lengthened to this (``check_deregister_interval_min``).
MIN_DEREGISTER_AFTER: Final = 60.0
_EQUAL: Final = Weights()
_DNS_LABEL: Final = re.compile(r"[A-Za-z0-9-]+")
#: Addresses that nobody can connect to.
_ANY: Final = frozenset({"0.0.0.0", "::", "[::]"})


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """One check: what it is called, what it belongs to (``service_id`` empty: the node) and how it is run.

    ``status`` is the one at the beginning, empty: critical. ``run`` is ``None`` for a check that only has a status
    (maintenance). ``deregister_critical_service_after`` is in seconds, 0: never.
    """

    id: str
    name: str
    run: CheckType | None
    notes: str = ""
    service_id: str = ""
    token: str = field(default="", repr=False)
    status: str = ""
    deregister_critical_service_after: float = 0.0

    def check(self, node: str, service: Service | None) -> Check:
        """The check as the catalog has it when it begins; ``service`` is the one that it belongs to."""
        return Check(
            node=node,
            check_id=self.id,
            name=self.name,
            status=self.status or CRITICAL,
            notes=self.notes,
            service_id=self.service_id,
            service_name=service.name if service is not None else "",
            service_tags=service.tags if service is not None else (),
        )


@dataclass(frozen=True, slots=True)
class ManagedProxy:
    """A proxy that the agent runs: for which service, by which command, and its whole configuration (JSON values).

    ``exec_mode`` is ``daemon`` (a process that runs as long as the service is there) or ``script`` (run to its end at
    the start and after each change of ``config``).
    """

    target_id: str
    target_name: str
    exec_mode: str
    command: tuple[str, ...]
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """One service of this agent with its checks; ``id`` is never empty.

    ``managed_proxy`` is Connect.Proxy of 1.2 (``ExecMode``, ``Command``, ``Config``), ``proxy`` the proxy's
    configuration of 1.3 and later; both are JSON values. ``sidecar`` is Connect.SidecarService, without what it leaves
    to defaults. ``parent`` is the id of the service whose definition this one came with, empty: its own definition;
    ``managed`` how the agent runs it.
    """

    id: str
    name: str
    kind: str = ""
    tags: tuple[str, ...] = ()
    address: str = ""
    port: int = 0
    meta: Mapping[str, str] = field(default_factory=dict)
    weights: Weights = _EQUAL
    enable_tag_override: bool = False
    proxy_destination: str = ""
    native: bool = False
    managed_proxy: Mapping[str, Any] | None = None
    proxy: Mapping[str, Any] | None = None
    sidecar: ServiceDefinition | None = None
    parent: str = ""
    managed: ManagedProxy | None = None
    token: str = field(default="", repr=False)
    checks: tuple[CheckDefinition, ...] = ()
    tagged_addresses: Mapping[str, ServiceAddress] = field(default_factory=dict)
    socket_path: str = ""

    def service(self) -> Service:
        """The service as the catalog has it."""
        return Service(
            name=self.name,
            id=self.id,
            kind=self.kind,
            tags=self.tags,
            address=self.address,
            port=self.port,
            meta=self.meta,
            weights=self.weights,
            enable_tag_override=self.enable_tag_override,
            proxy_destination=self.proxy_destination,
            native=self.native,
            managed_proxy=self.managed_proxy,
            proxy=self.proxy,
            tagged_addresses=self.tagged_addresses,
            socket_path=self.socket_path,
        )

    def without_checks(self) -> ServiceDefinition:
        """The same service alone: its checks live on their own once it is registered."""
        return replace(self, checks=())


@dataclass(frozen=True, slots=True)
class ScriptPolicy:
    """``enable_script_checks`` and ``enable_local_script_checks``: whether checks may run programs."""

    enabled: bool = False
    enabled_locally: bool = False

    def fault(self, definition: CheckDefinition, *, remote: bool) -> str:
        """Why this check may not be run, or nothing; ``remote``: it came over the API."""
        if not isinstance(definition.run, ScriptCheck | DockerCheck) or self.enabled:
            return ""
        if not remote:
            if self.enabled_locally:
                return ""
            return (
                "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or "
                "'enable_local_script_checks' to true"
            )
        return (
            "Scripts are disabled on this agent from remote calls; to enable, configure "
            "'enable_script_checks' to true"
        )


def dns_warnings(definition: ServiceDefinition) -> list[str]:
    """What of a service can't be found over DNS: its name or tags, when they hold more than letters, digits, dashes."""
    advice = "will not be discoverable via DNS: use letters, digits and dashes"
    found = [] if _DNS_LABEL.fullmatch(definition.name) else [f'service name "{definition.name}" {advice}']
    bad = [tag for tag in definition.tags if not _DNS_LABEL.fullmatch(tag)]
    return found + [f'tag "{tag}" of service "{definition.id}" {advice}' for tag in bad]


def definition_fault(definition: ServiceDefinition, node: str) -> str:
    """Why the service can't be registered, or nothing: the catalog's rules, before the catalog is asked."""
    if definition.address in _ANY:
        return f"Invalid service address: nobody can connect to {definition.address}: leave it empty or write one"
    if fault := _proxy_fault(definition):
        return fault
    return service_fault(definition.service(), node)


def _proxy_fault(definition: ServiceDefinition) -> str:
    """Why the service can't have the proxies that it asks for. The texts are Consul's where Consul has one."""
    has_managed = definition.managed_proxy is not None
    if definition.kind == CONNECT_PROXY and (has_managed or definition.sidecar is not None):
        return f'A service of kind "{CONNECT_PROXY}" cannot have a proxy of its own: leave Connect out'
    if has_managed and definition.native:
        return "Services that are Connect native may not have a proxy configuration"
    if has_managed and not definition.port:
        return "Services with a Connect managed proxy must have a port set"
    return ""
