"""Which proxies come with the services of this agent, and on which ports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from meshnode.base.errors import ConfigError
from meshnode.catalog.model import SIDECAR_SUFFIX
from meshnode.local.definitions import ServiceDefinition
from meshnode.local.managed import ProxyDefaults, bind_port, managed_proxy, managed_service
from meshnode.local.proxy import MANAGED_SUFFIX, without_empty
from meshnode.local.sidecar import sidecar_service

__all__ = ["MANAGED_PORTS", "SIDECAR_PORTS", "PortRange", "ProxyRules", "companion_ids", "plan_proxies"]


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports to choose from, both ends included; ``first`` below 1: none, every proxy has to name its own."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        return 1 <= self.first <= port <= self.last

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1) if self.first >= 1 else ())


SIDECAR_PORTS: Final = PortRange(21000, 21255)
MANAGED_PORTS: Final = PortRange(20000, 20255)


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """What the configuration says about proxies that come with services."""

    sidecar_ports: PortRange = SIDECAR_PORTS
    managed_ports: PortRange = MANAGED_PORTS
    defaults: ProxyDefaults = ProxyDefaults()  # noqa: RUF009 - frozen


def companion_ids(service: ServiceDefinition) -> tuple[str, ...]:
    """The ids of the proxies that come with ``service``."""
    sidecar = [service.id + SIDECAR_SUFFIX] if service.sidecar is not None else []
    return (*sidecar, *([service.id + MANAGED_SUFFIX] if service.managed_proxy is not None else []))


def plan_proxies(
    services: Iterable[ServiceDefinition],
    rules: ProxyRules,
    *,
    held: Mapping[str, int],
    taken: Iterable[int],
    usable: Callable[[int], bool],
) -> list[ServiceDefinition]:
    """``services`` with the proxies that come with them as services of their own, each behind the one it is for.

    ``held`` are the ports that proxies have had, by their ids in lower case, which they keep; ``taken`` the ports of
    other services. Of the free ports of a range the lowest one that is ``usable`` is taken, the lowest one if none is.
    Raises :class:`ConfigError` when two services want one id, or no port is left.
    """
    wanted = list(services)
    _refuse_double(wanted)
    ports = _Ports(held, {*taken, *(service.port for service in wanted)}, usable)
    for service in wanted:
        _reserve(service, rules, ports)
    found: list[ServiceDefinition] = []
    for service in wanted:
        alone = replace(service, sidecar=None)
        if service.managed_proxy is None:
            found.append(alone)
        else:
            port = ports.of(service.id + MANAGED_SUFFIX, rules.managed_ports, "connect.proxy", "proxy")
            proxy = managed_proxy(service, rules.defaults, port)
            written = without_empty({**service.managed_proxy, "ExecMode": proxy.exec_mode})
            alone = replace(alone, managed_proxy=written)
            found += [alone, managed_service(alone, proxy)]
        if service.sidecar is not None:
            port = ports.of(service.id + SIDECAR_SUFFIX, rules.sidecar_ports, "sidecar_service", "sidecar")
            found.append(sidecar_service(service, port))
    return found


def _refuse_double(services: Iterable[ServiceDefinition]) -> None:
    owners = {service.id.lower(): service.id for service in services}
    for service in services:
        for identifier in companion_ids(service):
            other = owners.setdefault(identifier.lower(), service.id)
            if other != service.id:
                raise ConfigError(
                    f'the id "{identifier}" is that of the proxy of service "{service.id}" and of another service: '
                    "give the other one another id"
                )


def _reserve(service: ServiceDefinition, rules: ProxyRules, ports: _Ports) -> None:
    """What is written or was held goes before what is chosen."""
    if service.sidecar is not None:
        ports.reserve(service.id + SIDECAR_SUFFIX, service.sidecar.port, rules.sidecar_ports)
    if service.managed_proxy is not None:
        asked = bind_port(service, rules.defaults)
        ports.reserve(service.id + MANAGED_SUFFIX, asked, rules.managed_ports)


class _Ports:
    def __init__(self, held: Mapping[str, int], taken: set[int], usable: Callable[[int], bool]) -> None:
        self._held = held
        self._taken = taken
        self._usable = usable
        self._chosen: dict[str, int] = {}

    def reserve(self, identifier: str, asked: int, ports: PortRange) -> None:
        held = self._held.get(identifier.lower(), 0)
        port = asked or (held if held in ports and held not in self._taken else 0)
        if port:
            self._chosen[identifier] = port
            self._taken.add(port)

    def of(self, identifier: str, ports: PortRange, what: str, prefix: str) -> int:
        if identifier in self._chosen:
            return self._chosen[identifier]
        free = [port for port in ports if port not in self._taken]
        if not free and ports.first < 1:
            raise ConfigError(
                f"no port provided for {what} and auto-assignment disabled in config: write one, or set "
                f"ports.{prefix}_min_port and ports.{prefix}_max_port"
            )
        if not free:
            raise ConfigError(
                f"no port provided for {what} and none left in the configured range "
                f"[{ports.first}, {ports.last}]: write one, or raise ports.{prefix}_max_port"
            )
        port = next(filter(self._usable, free), free[0])
        self._taken.add(port)
        return port
