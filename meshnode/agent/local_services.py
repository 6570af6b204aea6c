"""The services and checks of this agent while it runs: the local state, its files, and the checks that run for it.

Definitions come from configuration, from the API, and from the files of a former run; what is configured wins. Every
verb is synchronous, so that the state, the files and the running checks never disagree in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from meshnode.agent.local_changes import LocalChanges
from meshnode.agent.local_config import by_key, check_keys
from meshnode.agent.local_policy import InvalidDefinitionError, LocalPolicy, Runners
from meshnode.agent.local_proxies import LocalProxies, is_port_free
from meshnode.base.errors import MeshError
from meshnode.catalog.model import SERVICE_MAINTENANCE_PREFIX
from meshnode.local.check_type import IntervalCheck, TtlCheck
from meshnode.local.definitions import CheckDefinition, ServiceDefinition, dns_warnings
from meshnode.local.persisted import SavedStatus
from meshnode.local.state import LocalState, maintenance_check_id
from meshnode.runtime.local_files import LocalFiles

__all__ = ["REAP_INTERVAL", "InvalidDefinitionError", "LocalPolicy", "LocalServices", "Runners"]

_log = logging.getLogger("meshnode.agent")
#: Seconds between looks for services that have been critical for too long (``check_reap_interval``).
REAP_INTERVAL: Final = 30.0


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
        is_port_free: Callable[[int], bool] = is_port_free,
    ) -> None:
        self.state = state
        self.changes = changes
        self.policy = policy
        self._runners = runners
        self._files = files
        self._clock = clock
        self._wall_clock = wall_clock
        self._proxies = LocalProxies(state, files, policy.proxies, is_port_free)
        self._saved: dict[str, SavedStatus] = {}
        #: Check id in lower case -> the key that it runs under.
        self._running: dict[str, str] = {}
        #: What the configuration defines, by key.
        self._configured_services: dict[str, ServiceDefinition] = {}
        self._configured_checks: dict[str, CheckDefinition] = {}

    # From configuration and files

    def load(self, services: Iterable[ServiceDefinition], checks: Iterable[CheckDefinition]) -> None:
        """At the start: what is configured, then what was saved and isn't configured.

        Raises :class:`MeshError` for a configured definition that can't be used.
        """
        if self._files is None:
            self.reload(services, checks)
            return
        self._saved = self._files.load_status(self._wall_clock())
        saved = self._files.load_services()
        wanted = by_key(services)
        configured = wanted.keys() | by_key(self._proxies.configured(wanted.values())).keys()
        self._restore_services(service for service in saved if service.id.lower() not in configured)
        self.reload(wanted.values(), checks)
        for service in saved:
            if service.id.lower() in configured:
                _log.info('service "%s" is configured: its saved definition is dropped', service.id)
        for check in self._files.load_checks():
            self._restore_check(check)
        self._saved = {}

    def check(self, services: Iterable[ServiceDefinition], checks: Iterable[CheckDefinition]) -> None:
        """Raise what :meth:`reload` would raise; nothing changes."""
        self._refuse_faults(by_key(self._configured(services)), by_key(checks))

    def _configured(self, services: Iterable[ServiceDefinition]) -> list[ServiceDefinition]:
        return self._proxies.configured(services, going=self._configured_services)

    def reload(self, services: Iterable[ServiceDefinition], checks: Iterable[CheckDefinition]) -> None:
        """Make what is configured equal to this; what is the same already goes on undisturbed.

        Raises :class:`MeshError` before anything changes when a definition can't be used.
        """
        wanted_services, wanted_checks = by_key(self._configured(services)), by_key(checks)
        self._refuse_faults(wanted_services, wanted_checks)
        # Everything goes before anything comes: a check may have moved from one service to another.
        before = check_keys(self._configured_services, self._configured_checks)
        for key in sorted(before - check_keys(wanted_services, wanted_checks)):
            self._remove_check(key)
        for key in sorted(self._configured_services.keys() - wanted_services.keys()):
            if self.state.service(key) is not None:
                self._remove_service(key)
        for service in wanted_services.values():
            entry, alone = self.state.service(service.id), service.without_checks()
            if entry is None or entry.definition != alone:
                self._drop_saved(service.id, [])
                self._put_service(alone)
        for service in wanted_services.values():
            for check in service.checks:
                self._configure_check(check)
        for check in wanted_checks.values():
            self._configure_check(check)
        self._configured_services, self._configured_checks = wanted_services, wanted_checks
        self._proxies.remember()
        self.changes.notify()

    def _configure_check(self, check: CheckDefinition) -> None:
        known = self.state.check(check.id)
        if known is None or known.definition != check:
            self._drop_saved("", [check.id])
            self._add_check(check, keep_status=True)

    def _refuse_faults(
        self, services: dict[str, ServiceDefinition], checks: dict[str, CheckDefinition]
    ) -> None:
        for check in (*checks.values(), *(check for one in services.values() for check in one.checks)):
            if fault := self.policy.scripts.fault(check, remote=False):
                raise MeshError(f'check "{check.id}": {fault}')
        for check in checks.values():
            owner = check.service_id.lower()
            stays = owner not in self._configured_services and self.state.service(owner) is not None
            if owner and owner not in services and not stays:
                raise MeshError(f'check "{check.id}": ServiceID "{check.service_id}" does not exist')

    def _restore_services(self, saved: Iterable[ServiceDefinition]) -> None:
        # A proxy is restored behind the service that it came with, and not without it.
        for service in sorted(saved, key=lambda one: bool(one.parent)):
            if service.parent and self.state.service(service.parent) is None:
                _log.info('saved service "%s" is dropped: service "%s" is gone', service.id, service.parent)
                self._drop_saved(service.id, [])
                continue
            try:
                for one in self._proxies.restored(service, allow_managed=self.policy.allow_managed_proxies):
                    self.state.add_service(one)
                    for check in one.checks:
                        self._add_check(check)
            except MeshError as error:
                _log.error('saved service "%s" is not restored: %s', service.id, error)

    def _restore_check(self, check: CheckDefinition) -> None:
        if self.state.check(check.id) is not None:
            _log.info('check "%s" is configured: its saved definition is dropped', check.id)
            self._drop_saved("", [check.id])
        elif check.service_id and self.state.service(check.service_id) is None:
            _log.warning('saved check "%s" is dropped: there is no service "%s"', check.id, check.service_id)
            self._drop_saved("", [check.id])
        elif fault := self.policy.scripts.fault(check, remote=True):
            _log.error('saved check "%s" is not restored: %s', check.id, fault)
        else:
            # Nobody has looked since: it proves itself before it passes.
            self._add_check(replace(check, status=""))

    # Services

    def register_service(self, definition: ServiceDefinition, *, replace_checks: bool = False) -> None:
        """As the API asks. Raises :class:`InvalidDefinitionError`, or another :class:`MeshError` when not allowed."""
        if definition.managed_proxy is not None and not self.policy.allow_managed_proxies:
            raise InvalidDefinitionError("Managed proxy registration via the API is disallowed.")
        planned = self._proxies.registered(definition)
        for service in planned:
            for check in service.checks:
                self._refuse_remote(check)
        wanted = {service.id.lower() for service in planned}
        for service in planned:
            if service.managed is None:
                self._save(service, service.checks)
        proxies = self._proxies.of(definition.id)
        for proxy in proxies:
            if proxy.id.lower() not in wanted:
                self._remove_service(proxy.id)
        for service in planned:
            self._put_service(service)
            self._replace_checks(service, all_others=replace_checks or service.managed is not None)
        if proxies or len(planned) > 1:
            self._proxies.remember()
        self.changes.notify()

    def _replace_checks(self, service: ServiceDefinition, *, all_others: bool) -> None:
        """Add the checks of ``service``; with ``all_others`` those that it had go, unless they are of maintenance."""
        kept = {check.id.lower() for check in service.checks}
        for entry in self.state.checks_of(service.id) if all_others else ():
            check_id = entry.definition.id
            if check_id.lower() not in kept and not check_id.startswith(SERVICE_MAINTENANCE_PREFIX):
                self._remove_check(check_id)
        for check in service.checks:
            self._add_check(check, keep_status=True)

    def _put_service(self, definition: ServiceDefinition) -> None:
        for warning in dns_warnings(definition):
            _log.warning("%s", warning)
        self.state.add_service(definition)

    def deregister_service(self, service_id: str) -> None:
        """Remove a service with its checks and proxies; one that isn't there is a line in the log.

        Raises :class:`InvalidDefinitionError` for a managed proxy.
        """
        entry = self.state.service(service_id)
        if entry is not None and entry.definition.managed is not None:
            raise InvalidDefinitionError(
                "Managed proxy service cannot be deregistered directly. Deregister the service that has a managed "
                "proxy to automatically deregister the managed proxy itself."
            )
        if entry is None:
            _log.warning(
                'service "%s" is not deregistered: Service "%s" does not exist', service_id, service_id
            )
            return
        proxies = self._proxies.of(service_id)
        try:
            for proxy in proxies:
                self._remove_service(proxy.id)
            self._remove_service(service_id)
        finally:
            if proxies:
                self._proxies.remember()
            self.changes.notify()

    def _remove_service(self, service_id: str) -> None:
        removed = self.state.remove_service(service_id)
        for check_id in removed:
            self._stop(check_id)
        self._forget_files(service_id, removed)

    # Checks

    def register_check(self, definition: CheckDefinition) -> None:
        """As the API asks; raises :class:`MeshError` when it isn't allowed or its service isn't there."""
        self._refuse_remote(definition)
        if definition.service_id and self.state.service(definition.service_id) is None:
            raise MeshError(f'ServiceID "{definition.service_id}" does not exist')
        self._save(None, [definition])
        self._add_check(definition)
        self.changes.notify()

    def _refuse_remote(self, definition: CheckDefinition) -> None:
        if fault := self.policy.scripts.fault(definition, remote=True):
            raise MeshError(fault)

    def _add_check(self, definition: CheckDefinition, *, keep_status: bool = False) -> None:
        self.state.add_check(definition, self._clock(), keep_status=keep_status)
        self._start(definition)

    def look_again(self, service_id: str) -> None:
        """Run the checks of a service that look at something now, not when their time has come."""
        for entry in self.state.checks_of(service_id):
            if isinstance(entry.definition.run, IntervalCheck):
                self._start(entry.definition, at_once=True)

    def _start(self, definition: CheckDefinition, *, at_once: bool = False) -> None:
        key = definition.id.lower()
        self._stop(key)
        if definition.run is None:
            return
        self._running[key] = definition.id
        run = definition.run
        if isinstance(run, IntervalCheck | TtlCheck):
            run = replace(run, output_max_size=min(run.output_max_size, self.policy.output_max_size))
        saved = self._saved.pop(key, None) if isinstance(definition.run, TtlCheck) else None
        last_output, remaining = "", None
        if saved is not None:
            last_output, remaining = saved.output, saved.expires - self._wall_clock()
            self.state.update_check(definition.id, saved.status, saved.output, self._clock())
        self._runners.start(
            definition.id,
            run,
            lambda status, output: self._on_result(key, status, output),
            last_output=last_output,
            ttl_remaining=remaining,
            at_once=at_once,
        )

    def _stop(self, check_id: str) -> None:
        if (running := self._running.pop(check_id.lower(), None)) is not None:
            self._runners.stop(running)

    def _on_result(self, key: str, status: str, output: str) -> None:
        before = self.state.check(key)
        was = before.check.status if before is not None else ""
        if self.state.update_check(key, status, output, self._clock()):
            if was != status:
                _log.info('check "%s" is now %s', key, status)
            self.changes.notify()

    def deregister_check(self, check_id: str) -> None:
        """Remove a check; nothing happens when it isn't there."""
        self._remove_check(check_id)
        self.changes.notify()

    def _remove_check(self, check_id: str) -> None:
        self._stop(check_id)
        if self.state.remove_check(check_id):
            self._forget_files("", [check_id])

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """Somebody reports the status of a TTL check; raises :class:`MeshError` for any other check."""
        entry = self.state.check(check_id)
        if entry is None or not isinstance(entry.definition.run, TtlCheck):
            unknown = "" if entry is not None else ": there is no such check on this agent"
            raise MeshError(f'CheckID "{check_id}" does not have associated TTL{unknown}')
        self._runners.ttl_update(entry.definition.id, status, output)
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
            self.changes.notify()
            self._save(None, [definition])
            _log.info("%s is now in maintenance mode", subject)
        else:
            if not self.state.disable_maintenance(service_id):
                return
            self.changes.notify()
            self._forget_files("", [maintenance_check_id(service_id)])
            _log.info("%s has left maintenance mode", subject)

    async def reap_for_ever(self) -> None:
        """:meth:`reap` again and again."""
        while True:
            await asyncio.sleep(REAP_INTERVAL)
            self.reap()

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

    def _save(self, service: ServiceDefinition | None, checks: Sequence[CheckDefinition]) -> None:
        """Before the state changes: what can't be saved isn't registered, now or after a restart."""
        if self._files is None:
            return
        try:
            if service is not None:
                self._files.save_service(service)
            for check in checks:
                self._files.save_check(check)
        except MeshError:
            with contextlib.suppress(MeshError):
                if service is not None and self.state.service(service.id) is None:
                    self._files.remove_service(service.id)
                for check in checks:
                    if self.state.check(check.id) is None:
                        self._files.remove_check(check.id)
            raise

    def _drop_saved(self, service_id: str, check_ids: Iterable[str]) -> None:
        """Remove files that something else has taken the place of; they are passed over if they stay."""
        try:
            self._forget_files(service_id, check_ids)
        except MeshError as error:
            _log.error("%s", error)

    def _forget_files(self, service_id: str, check_ids: Iterable[str]) -> None:
        if self._files is None:
            return
        if service_id:
            self._files.remove_service(service_id)
        for check_id in check_ids:
            self._files.remove_check(check_id)
