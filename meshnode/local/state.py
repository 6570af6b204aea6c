"""The services and checks of this agent: the truth that the catalog is made equal to.

Ids are compared without regard to case, as the catalog compares them. Time is an argument in monotonic seconds.
``generation`` moves with every change that a reader can see. Source: Consul 1.2.3, agent/local and the documentation
of anti-entropy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.catalog.model import (
    CRITICAL,
    NODE_MAINTENANCE,
    SERVICE_MAINTENANCE_PREFIX,
    STATES,
    Check,
    Node,
    Service,
)
from meshnode.local.definitions import CheckDefinition, ServiceDefinition
from meshnode.local.entries import CheckEntry, ServiceEntry

__all__ = [
    "DEFAULT_MAINTENANCE_NOTES",
    "LocalSettings",
    "LocalState",
    "maintenance_check_id",
]

#: Notes of a maintenance check without a reason. Source: Consul 1.2.3, agent.
DEFAULT_MAINTENANCE_NOTES: Final = {
    "node": "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.",
    "service": "Maintenance mode is enabled for this service, but no reason was provided. This is a default message.",
}


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """``check_update_interval``: seconds in which a change of output alone is sent once, 0: at once.

    ``discard_check_output``: keep no output.
    """

    check_update_interval: float = 300.0
    discard_check_output: bool = False


def maintenance_check_id(service_id: str = "") -> str:
    """The id of the check that puts a service, or the node, in maintenance."""
    return f"{SERVICE_MAINTENANCE_PREFIX}:{service_id}" if service_id else NODE_MAINTENANCE


class LocalState:
    """``node`` is this node as the catalog shall have it. ``rng`` spreads what is deferred."""

    def __init__(self, node: Node, settings: LocalSettings, rng: random.Random) -> None:
        self.node = node
        self.node_in_sync = False
        self.settings = settings
        self.generation = 0
        self._rng: Final = rng
        self._listing: tuple[int, tuple[tuple[Service, ...], tuple[Check, ...]]] | None = None
        #: Tombstones included; keys are lower case. Read by ``sync``.
        self.service_entries: Final[dict[str, ServiceEntry]] = {}
        self.check_entries: Final[dict[str, CheckEntry]] = {}

    # Reading

    def services(self) -> tuple[Service, ...]:
        """The live services, by id; the same object until something changes."""
        return self._listed()[0]

    def checks(self) -> tuple[Check, ...]:
        """The live checks, by id; the same object until something changes."""
        return self._listed()[1]

    def _listed(self) -> tuple[tuple[Service, ...], tuple[Check, ...]]:
        if self._listing is None or self._listing[0] != self.generation:
            services, checks = self.service_entries, self.check_entries
            listed = (
                tuple(services[key].service for key in sorted(services) if not services[key].deleted),
                tuple(checks[key].check for key in sorted(checks) if not checks[key].deleted),
            )
            self._listing = (self.generation, listed)
        return self._listing[1]

    def service(self, service_id: str) -> ServiceEntry | None:
        """A live service."""
        entry = self.service_entries.get(service_id.lower())
        return None if entry is None or entry.deleted else entry

    def check(self, check_id: str) -> CheckEntry | None:
        """A live check."""
        entry = self.check_entries.get(check_id.lower())
        return None if entry is None or entry.deleted else entry

    def checks_of(self, service_id: str) -> list[CheckEntry]:
        """The live checks of a service; of the node when ``service_id`` is empty."""
        wanted = service_id.lower()
        return [e for e in self._live_checks() if e.check.service_id.lower() == wanted]

    @property
    def dirty(self) -> bool:
        """Whether something waits to be sent to the catalog."""
        return (
            not self.node_in_sync
            or any(not entry.in_sync for entry in self.service_entries.values())
            or any(not entry.in_sync for entry in self.check_entries.values())
        )

    def _live_checks(self) -> Iterator[CheckEntry]:
        return (entry for entry in self.check_entries.values() if not entry.deleted)

    # Services

    def set_node(self, node: Node) -> None:
        """Another address or other metadata of this node."""
        if not node.same_as(self.node):
            self.node, self.node_in_sync = node, False
            self.generation += 1

    def add_service(self, definition: ServiceDefinition) -> None:
        """Insert or replace a service; ``definition.checks`` are added by who calls, one by one."""
        service = definition.service()
        self.service_entries[definition.id.lower()] = ServiceEntry(definition.without_checks(), service)
        for entry in self.checks_of(definition.id):
            check = replace(
                entry.check, service_id=service.id, service_name=service.name, service_tags=service.tags
            )
            if check != entry.check:
                entry.check, entry.in_sync = check, False
        self.generation += 1

    def remove_service(self, service_id: str) -> tuple[str, ...]:
        """Remove a service and its checks; the ids of those checks. Raises :class:`MeshError` when it isn't there."""
        entry = self.service(service_id)
        if entry is None:
            raise MeshError(f'Service "{service_id}" does not exist')
        removed = tuple(check.definition.id for check in self.checks_of(service_id))
        for check_id in removed:
            self.remove_check(check_id)
        entry.deleted, entry.in_sync = True, False
        self.generation += 1
        return removed

    # Checks

    def add_check(self, definition: CheckDefinition, now: float, *, keep_status: bool = False) -> None:
        """Insert or replace a check; with ``keep_status`` it goes on where the one that it replaces was.

        Raises :class:`MeshError` when it belongs to a service that isn't there.
        """
        owner = self.service(definition.service_id) if definition.service_id else None
        if definition.service_id and owner is None:
            raise MeshError(f'ServiceID "{definition.service_id}" does not exist')
        old = self.check(definition.id)
        check = definition.check(self.node.name, owner.service if owner is not None else None)
        if owner is not None:
            check = replace(check, service_id=owner.service.id)
        entry = CheckEntry(definition, check)
        if keep_status and old is not None:
            entry.check = replace(check, status=old.check.status, output=old.check.output)
            entry.critical_since = old.critical_since
        if entry.check.status != CRITICAL:
            entry.critical_since = None
        elif entry.critical_since is None:
            entry.critical_since = now
        self.check_entries[definition.id.lower()] = entry
        self.generation += 1

    def remove_check(self, check_id: str) -> bool:
        """Remove a check; whether it was there."""
        entry = self.check(check_id)
        if entry is None:
            return False
        entry.deleted, entry.in_sync, entry.deferred_until = True, False, None
        self.generation += 1
        return True

    def update_check(self, check_id: str, status: str, output: str, now: float) -> bool:
        """Set status and output, which is bounded already; whether something changed.

        A change of the output alone is sent later. Raises :class:`ValueError` for a status that there
        isn't: a mistake in our own code.
        """
        if status not in STATES:
            raise ValueError(status)
        entry = self.check(check_id)
        if entry is None:
            return False
        output = "" if self.settings.discard_check_output else output
        old = entry.check
        if (old.status, old.output) == (status, output):
            return False
        if status != CRITICAL:
            entry.critical_since = None
        elif entry.critical_since is None:
            entry.critical_since = now
        entry.check = replace(old, status=status, output=output)
        self.generation += 1
        interval = self.settings.check_update_interval
        if old.status != status or interval <= 0:
            entry.in_sync, entry.deferred_until = False, None
        elif entry.in_sync and entry.deferred_until is None:
            entry.deferred_until = now + interval / 2 + self._rng.random() * interval
        return True

    # Maintenance

    def enable_maintenance(
        self, service_id: str, reason: str, token: str, now: float
    ) -> CheckDefinition | None:
        """Put a service, or the node when ``service_id`` is empty, in maintenance; the check, unless it was there.

        Raises :class:`MeshError` when there is no such service.
        """
        self._require_service(service_id)
        check_id = maintenance_check_id(service_id)
        if self.check(check_id) is not None:
            return None
        kind = "service" if service_id else "node"
        definition = CheckDefinition(
            id=check_id,
            name=f"{kind.title()} Maintenance Mode",
            run=None,
            notes=reason or DEFAULT_MAINTENANCE_NOTES[kind],
            service_id=service_id,
            token=token,
            status=CRITICAL,
        )
        self.add_check(definition, now)
        return definition

    def disable_maintenance(self, service_id: str) -> bool:
        """The opposite; whether it was in maintenance. Raises :class:`MeshError` when there is no such service."""
        self._require_service(service_id)
        return self.remove_check(maintenance_check_id(service_id))

    def _require_service(self, service_id: str) -> None:
        if service_id and self.service(service_id) is None:
            raise MeshError(f'No service registered with ID "{service_id}"')

    # Time

    def advance(self, now: float) -> bool:
        """Let go of the outputs that were held back until ``now``; whether there were any."""
        due = [e for e in self._live_checks() if e.deferred_until is not None and e.deferred_until <= now]
        for entry in due:
            entry.deferred_until, entry.in_sync = None, False
        return bool(due)

    def next_deadline(self) -> float | None:
        """When :meth:`advance` has something to do next."""
        moments = (e.deferred_until for e in self._live_checks())
        return min((moment for moment in moments if moment is not None), default=None)

    def overdue_services(self, now: float) -> list[tuple[str, str]]:
        """(service id, check id) of services with a check that has been critical for too long."""
        found: dict[str, str] = {}
        for entry in self._live_checks():
            after, since = entry.definition.deregister_critical_service_after, entry.critical_since
            if after > 0 and since is not None and entry.check.service_id and now - since > after:
                found.setdefault(entry.check.service_id, entry.definition.id)
        return sorted(found.items())
