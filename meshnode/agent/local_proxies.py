"""The proxies that come with this agent's services: their ports, which they keep over restarts."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from meshnode.agent.local_policy import InvalidDefinitionError
from meshnode.base.errors import ConfigError, MeshError
from meshnode.catalog.model import SIDECAR_SUFFIX
from meshnode.local.definitions import ServiceDefinition, definition_fault
from meshnode.local.proxy import MANAGED_SUFFIX
from meshnode.local.proxy_plan import ProxyRules, companion_ids, plan_proxies
from meshnode.local.state import LocalState
from meshnode.runtime.local_files import LocalFiles

__all__ = ["LocalProxies", "is_port_free"]

_log: Final = logging.getLogger("meshnode.agent")


class LocalProxies:
    """``usable`` says whether a port could be listened on now; ``files`` is ``None`` with ``-dev``."""

    def __init__(
        self,
        state: LocalState,
        files: LocalFiles | None,
        rules: ProxyRules,
        usable: Callable[[int], bool],
    ) -> None:
        self.rules = rules
        self._state: Final = state
        self._files: Final = files
        self._usable: Final = usable
        self._saved = files.load_ports() if files is not None else {}

    def configured(
        self, services: Iterable[ServiceDefinition], going: Iterable[str] = ()
    ) -> list[ServiceDefinition]:
        """``services`` and the proxies that come with them; nothing changes.

        ``going`` are ids in lower case whose ports may be given away. Raises :class:`MeshError` for the first fault.
        """
        wanted = list(services)
        for service in wanted:
            if fault := definition_fault(service, self._state.node.name):
                raise MeshError(f'service "{service.id}": {fault}')
        planned = self._plan(wanted, going)
        for service in planned:
            if fault := definition_fault(service, self._state.node.name):
                raise MeshError(f'service "{service.id}": {fault}')
        return planned

    def registered(self, definition: ServiceDefinition) -> list[ServiceDefinition]:
        """``definition`` and the proxies that come with it; nothing changes. Raises :class:`InvalidDefinitionError`."""
        own = self._state.service(definition.id)
        if own is not None and own.definition.managed is not None:
            raise InvalidDefinitionError(
                f'"{definition.id}" is the managed proxy of service "{own.definition.parent}": change the definition '
                "of that service"
            )
        if fault := definition_fault(definition, self._state.node.name):
            raise InvalidDefinitionError(fault)
        if not companion_ids(definition):
            return [definition]
        try:
            planned = self._plan([definition], ())
        except ConfigError as error:
            raise InvalidDefinitionError(str(error)) from None
        for proxy in planned[1:]:
            known = self._state.service(proxy.id)
            if known is not None and known.definition.parent.lower() != definition.id.lower():
                raise InvalidDefinitionError(
                    f'the proxy of service "{definition.id}" would be called "{proxy.id}", which is another service: '
                    "deregister that one first"
                )
            if fault := definition_fault(proxy, self._state.node.name):
                raise InvalidDefinitionError(f"{proxy.id}: {fault}")
        return planned

    def restored(self, service: ServiceDefinition, *, allow_managed: bool) -> list[ServiceDefinition]:
        """As :meth:`registered`, of a service that was saved; without a managed proxy when the API may have none."""
        if service.managed_proxy is not None and not allow_managed:
            _log.warning(
                'the managed proxy of saved service "%s" is dropped: set '
                "connect.proxy.allow_managed_api_registration to keep it", service.id,
            )  # fmt: skip
            service = replace(service, managed_proxy=None)
        return self.registered(service)

    def _plan(self, wanted: list[ServiceDefinition], going: Iterable[str]) -> list[ServiceDefinition]:
        gone = {*going, *(one.id.lower() for one in wanted)}
        gone |= {identifier.lower() for one in wanted for identifier in companion_ids(one)}
        live = self._live()
        return plan_proxies(
            wanted,
            self.rules,
            held={**self._saved, **{one.id.lower(): one.port for one in live if one.parent}},
            taken=[one.port for one in live if one.id.lower() not in gone],
            usable=self._usable,
        )

    def of(self, service_id: str) -> list[ServiceDefinition]:
        """The proxies that came with a service."""
        found = (self._state.service(service_id + suffix) for suffix in (SIDECAR_SUFFIX, MANAGED_SUFFIX))
        live = [entry.definition for entry in found if entry is not None]
        return [one for one in live if one.parent.lower() == service_id.lower()]

    def remember(self) -> None:
        """Keep the ports of all proxies on disk, as they are now."""
        if self._files is None:
            return
        ports = {one.id.lower(): one.port for one in self._live() if one.parent}
        if ports == self._saved:
            return
        self._saved = ports
        try:
            self._files.save_ports(ports)
        except MeshError as error:
            _log.warning("proxies may get other ports after a restart: %s", error)

    def _live(self) -> list[ServiceDefinition]:
        return [entry.definition for entry in self._state.service_entries.values() if not entry.deleted]


def is_port_free(port: int) -> bool:
    """Whether nobody on this machine listens on a TCP port; no when it can't be told."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", port))
        except OSError as error:
            # A port that only root may use is free: the proxy may be root's.
            return error.errno == errno.EACCES
    return True
