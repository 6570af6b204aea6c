"""The services and checks of this agent while it runs: the local state, its files, and the checks that run for it.

Definitions come from configuration, from the API, and from the files of a former run; what is configured wins. Every
verb is synchronous, so that the state, the files and the running checks never disagree in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from meshnode.agent.local_changes import LocalChanges
from meshnode.base.errors import MeshError
from meshnode.catalog.model import SERVICE_MAINTENANCE_PREFIX
from meshnode.local.check_type import CheckType, TtlCheck
from meshnode.local.definitions import CheckDefinition, ScriptPolicy, ServiceDefinition, definition_fault
from meshnode.local.persisted import SavedStatus
from meshnode.local.state import LocalState, maintenance_check_id
from meshnode.runtime.local_files import LocalFiles

__all__ = ["REAP_INTERVAL", "InvalidDefinitionError", "LocalPolicy", "LocalServices", "Runners"]

_log = logging.getLogger("meshnode.agent")
#: Seconds between looks for services that have been critical for too long (``check_reap_interval``).
REAP_INTERVAL: Final = 30.0


class InvalidDefinitionError(MeshError):
    """A definition that whoever sent it has to change."""


class Runners(Protocol):
    """What runs checks: :class:`~meshnode.runtime.checks.runner.CheckRunners`. Keys are check ids in lower case."""

    def start(
        self,
        key: str,
        check: CheckType,
        on_result: Callable[[str, str], None],
        *,
        last_output: str = "",
        ttl_remaining: float | None = None,
    ) -> None:
        """Run ``check`` from now on, in place of the one that ran under ``key``."""

    def stop(self, key: str) -> None:
        """End a check; unknown keys are passed over."""

    def ttl_update(self, key: str, status: str, output: str) -> None:
        """Somebody reports the status of a TTL check; raises :class:`MeshError` for any other."""


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """What the configuration allows; a reload may give another one."""

    scripts: ScriptPolicy = ScriptPolicy()
    allow_managed_proxies: bool = False


class LocalServices:
    """``files`` is ``None`` with ``-dev``; ``clock`` is monotonic seconds, ``wall_clock`` unix seconds."""

    def __init__(
        self,
        state: LocalState,
        changes: LocalChanges,
        runners: Runners,
        files: LocalFiles | None,
        policy: LocalPolicy,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self.state = state
        self.changes = changes
        self.policy = policy
        self._runners = runners
        self._files = files
        self._clock = clock
        self._wall_clock = wall_clock
        self._saved: dict[str, SavedStatus] = {}
        #: Keys of what the configuration defines.
        self._configured_services: set[str] = set()
        self._configured_checks: set[str] = set()

    # From configuration and files

    def load(self, services: Iterable[ServiceDefinition], checks: Iterable[CheckDefinition]) -> None:
        """At the start: what is configured, then what was saved and isn't configured.

        Raises :class:`MeshError` for a configured definition that can't be used.
        """
        if self._files is not None:
            self._saved = self._files.load_status(self._wall_clock())
        self.reload(services, checks)
        if self._files is not None:
            self._restore(self._files)
        self._saved = {}

    def reload(self, services: Iterable[ServiceDefinition], checks: Iterable[CheckDefinition]) -> None:
        """Make what is configured equal to this; what is the same already goes on undisturbed.

        Raises :class:`MeshError` before anything changes when a definition can't be used.
        """
        wanted_services = {definition.id.lower(): definition for definition in services}
        wanted_checks = {definition.id.lower(): definition for definition in checks}
        self._refuse_faults(wanted_services, wanted_checks)
        for key in sorted(self._configured_checks - wanted_checks.keys()):
            self.deregister_check(key)
        for key in sorted(self._configured_services - wanted_services.keys()):
            self.deregister_service(key)
        for key, service in wanted_services.items():
            if not self._is_in_force(service):
                self._add_service(service, replace_checks=key in self._configured_services, save=False)
                self._forget_files(service.id, [check.id for check in service.checks])
        for check in wanted_checks.values():
            entry = self.state.check(check.id)
            if entry is None or entry.definition != check:
                self._add_check(check, save=False)
                self._forget_files("", [check.id])
        self._configured_services = set(wanted_services)
        self._configured_checks = set(wanted_checks)
        self.changes.notify()

    def _refuse_faults(
        self, services: dict[str, ServiceDefinition], checks: dict[str, CheckDefinition]
    ) -> None:
        for service in services.values():
            if fault := definition_fault(service, self.state.node.name):
                raise MeshError(f'service "{service.id}": {fault}')
        for check in (*checks.values(), *(check for one in services.values() for check in one.checks)):
            if fault := self.policy.scripts.fault(check, remote=False):
                raise MeshError(f'check "{check.id}": {fault}')
        for check in checks.values():
            owner = check.service_id.lower()
            gone = owner in self._configured_services and owner not in services
            if owner and owner not in services and (gone or self.state.service(owner) is None):
                # The service may come from a file, but then the check should be next to it.
                raise MeshError(f'check "{check.id}": ServiceID "{check.service_id}" does not exist')

    def _is_in_force(self, definition: ServiceDefinition) -> bool:
        entry = self.state.service(definition.id)
        if entry is None or entry.definition != definition.without_checks():
            return False
        own = {check.definition.id: check.definition for check in self.state.checks_of(definition.id)}
        own.pop(maintenance_check_id(definition.id), None)
        return all(own.get(check.id) == check for check in definition.checks)

    def _restore(self, files: LocalFiles) -> None:
        for service in files.load_services():
            if self.state.service(service.id) is not None:
                _log.info('service "%s" is configured: its saved definition is dropped', service.id)
                self._forget_files(service.id, [])
            elif fault := definition_fault(service, self.state.node.name):
                _log.error('saved service "%s" is not restored: %s', service.id, fault)
            else:
                self._add_service(service, save=False)
        for check in files.load_checks():
            self._restore_check(check)

    def _restore_check(self, check: CheckDefinition) -> None:
        if self.state.check(check.id) is not None:
            _log.info('check "%s" is configured: its saved definition is dropped', check.id)
            self._forget_files("", [check.id])
        elif check.service_id and self.state.service(check.service_id) is None:
            _log.warning('saved check "%s" is dropped: there is no service "%s"', check.id, check.service_id)
            self._forget_files("", [check.id])
        elif fault := self.policy.scripts.fault(check, remote=True):
            _log.error('saved check "%s" is not restored: %s', check.id, fault)
        else:
            # Nobody has looked since: it proves itself before it passes.
            self._add_check(replace(check, status=""), save=False)

    # Services

    def register_service(self, definition: ServiceDefinition, *, replace_checks: bool = False) -> None:
        """As the API asks. Raises :class:`InvalidDefinitionError`, or another :class:`MeshError` when not allowed."""
        if fault := definition_fault(definition, self.state.node.name):
            raise InvalidDefinitionError(fault)
        if definition.managed_proxy is not None and not self.policy.allow_managed_proxies:
            raise InvalidDefinitionError("Managed proxy registration via the API is disallowed.")
        for check in definition.checks:
            self._refuse_remote(check)
        self._add_service(definition, replace_checks=replace_checks, save=True)
        self.changes.notify()

    def _add_service(
        self, definition: ServiceDefinition, *, replace_checks: bool = False, save: bool
    ) -> None:
        self.state.add_service(definition)
        if save and self._files is not None:
            self._files.save_service(definition)
        if replace_checks:
            kept = {check.id.lower() for check in definition.checks}
            for entry in self.state.checks_of(definition.id):
                check_id = entry.definition.id
                if check_id.lower() not in kept and not check_id.startswith(SERVICE_MAINTENANCE_PREFIX):
                    self._remove_check(check_id)
        for check in definition.checks:
            self._add_check(check, keep_status=True, save=save)

    def deregister_service(self, service_id: str) -> None:
        """Remove a service with its checks; one that isn't there is a line in the log."""
        try:
            removed = self.state.remove_service(service_id)
        except MeshError as error:
            _log.warning('service "%s" is not deregistered: %s', service_id, error)
            return
        for check_id in removed:
            self._runners.stop(check_id.lower())
        self._configured_services.discard(service_id.lower())
        self._forget_files(service_id, removed)
        self.changes.notify()

    # Checks

    def register_check(self, definition: CheckDefinition) -> None:
        """As the API asks; raises :class:`MeshError` when it isn't allowed or its service isn't there."""
        self._refuse_remote(definition)
        self._add_check(definition, save=True)
        self.changes.notify()

    def _refuse_remote(self, definition: CheckDefinition) -> None:
        if fault := self.policy.scripts.fault(definition, remote=True):
            raise MeshError(fault)

    def _add_check(self, definition: CheckDefinition, *, keep_status: bool = False, save: bool) -> None:
        self.state.add_check(definition, self._clock(), keep_status=keep_status)
        entry = self.state.check(definition.id)
        assert entry is not None, "it was just added"
        if save and self._files is not None:
            self._files.save_check(definition, entry.check)
        self._start(definition)

    def _start(self, definition: CheckDefinition) -> None:
        key = definition.id.lower()
        if definition.run is None:
            self._runners.stop(key)
            return
        saved = self._saved.pop(key, None) if isinstance(definition.run, TtlCheck) else None
        last_output, remaining = "", None
        if saved is not None:
            last_output, remaining = saved.output, saved.expires - self._wall_clock()
            self.state.update_check(definition.id, saved.status, saved.output, self._clock())
        self._runners.start(
            key,
            definition.run,
            lambda status, output: self._on_result(key, status, output),
            last_output=last_output,
            ttl_remaining=remaining,
        )

    def _on_result(self, key: str, status: str, output: str) -> None:
        before = self.state.check(key)
        was = before.check.status if before is not None else ""
        if self.state.update_check(key, status, output, self._clock()):
            if was != status:
                _log.info('check "%s" is now %s', key, status)
            self.changes.notify()

    def deregister_check(self, check_id: str) -> None:
        """Remove a check; nothing happens when it isn't there."""
        if self._remove_check(check_id):
            self._configured_checks.discard(check_id.lower())
            self.changes.notify()

    def _remove_check(self, check_id: str) -> bool:
        self._runners.stop(check_id.lower())
        removed = self.state.remove_check(check_id)
        if removed:
            self._forget_files("", [check_id])
        return removed

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """Somebody reports the status of a TTL check; raises :class:`MeshError` for any other check."""
        entry = self.state.check(check_id)
        if entry is None or not isinstance(entry.definition.run, TtlCheck):
            unknown = "" if entry is not None else ": there is no such check on this agent"
            raise MeshError(f'CheckID "{check_id}" does not have associated TTL{unknown}')
        self._runners.ttl_update(check_id.lower(), status, output)
        if self._files is not None:
            expires = self._wall_clock() + entry.definition.run.ttl
            # The state has the output as it was bounded.
            held = entry.check.output if entry.check.status == status else ""
            self._files.save_status(SavedStatus(entry.definition.id, status, held, expires))

    # Maintenance and time

    def set_maintenance(self, service_id: str, reason: str, token: str, *, enable: bool) -> None:
        """Put a service, or the node when ``service_id`` is empty, into maintenance or out of it.

        Raises :class:`MeshError` when there is no such service.
        """
        subject = f'service "{service_id}"' if service_id else "the node"
        if enable:
            definition = self.state.enable_maintenance(service_id, reason, token, self._clock())
            if definition is None:
                return
            entry = self.state.check(definition.id)
            if self._files is not None and entry is not None:
                self._files.save_check(definition, entry.check)
            _log.info("%s is now in maintenance mode", subject)
        else:
            if not self.state.disable_maintenance(service_id):
                return
            self._forget_files("", [maintenance_check_id(service_id)])
            _log.info("%s has left maintenance mode", subject)
        self.changes.notify()

    def reap(self) -> None:
        """Deregister the services that have been critical for longer than their checks allow."""
        for service_id, check_id in self.state.overdue_services(self._clock()):
            _log.info(
                'service "%s" is deregistered: check "%s" is critical for too long', service_id, check_id
            )
            try:
                self.deregister_service(service_id)
            except MeshError as error:
                _log.error("%s", error)

    def _forget_files(self, service_id: str, check_ids: Iterable[str]) -> None:
        if self._files is None:
            return
        if service_id:
            self._files.remove_service(service_id)
        for check_id in check_ids:
            self._files.remove_check(check_id)
