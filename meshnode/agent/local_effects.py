"""The local state for the API: what handlers see of it, and the effects that they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from meshnode.agent.local_services import InvalidDefinitionError, LocalServices
from meshnode.base.errors import ConfigError
from meshnode.catalog.model import Check, Service
from meshnode.http.errors import HttpError
from meshnode.http.local_view import (
    DeregisterCheck,
    DeregisterService,
    LocalEffect,
    RegisterCheck,
    RegisterService,
    SetMaintenance,
    UpdateTtl,
    WaitForLocal,
)
from meshnode.local.entries import content_hash
from meshnode.local.managed import document_hash, proxy_document
from meshnode.local.parse import parse_check, parse_service
from meshnode.local.state import LocalState

__all__ = ["LocalPerformer", "LocalStateView"]


class LocalStateView:
    """A :class:`~meshnode.http.local_view.LocalView` of ``state``."""

    def __init__(self, state: LocalState) -> None:
        self._state: Final = state

    @property
    def generation(self) -> int:
        """Another number after every change."""
        return self._state.generation

    def services(self) -> Sequence[Service]:
        """By id."""
        return self._state.services()

    def checks(self) -> Sequence[Check]:
        """By id."""
        return self._state.checks()

    def service(self, service_id: str) -> Service | None:
        """One service."""
        entry = self._state.service(service_id)
        return None if entry is None else entry.service

    def check(self, check_id: str) -> Check | None:
        """One check."""
        entry = self._state.check(check_id)
        return None if entry is None else entry.check

    def proxy(self, service_id: str) -> Mapping[str, Any] | None:
        """What a proxy is told of itself, with its ``ContentHash``."""
        entry = self._state.service(service_id)
        document = None if entry is None else proxy_document(entry.definition)
        return None if document is None else {**document, "ContentHash": document_hash(document)}

    def service_hash(self, service_id: str) -> str:
        """The content hash of a service; empty when it isn't there."""
        found = self.service(service_id)
        return "" if found is None else content_hash(found)


class LocalPerformer:
    """Performs every :class:`~meshnode.http.local_view.LocalEffect`."""

    def __init__(self, services: LocalServices) -> None:
        self._services: Final = services

    async def perform(self, effect: LocalEffect) -> None:
        """Raises :class:`HttpError` 400 for a mistake in a definition, :class:`MeshError` for what isn't possible."""
        services = self._services
        try:
            match effect:
                case RegisterService(body, token, replace_checks):
                    service = parse_service(body)
                    checks = tuple(
                        replace(c, token=c.token or service.token or token) for c in service.checks
                    )
                    service = replace(service, token=service.token or token, checks=checks)
                    services.register_service(service, replace_checks=replace_checks)
                case DeregisterService(service_id):
                    services.deregister_service(service_id)
                case RegisterCheck(body, token):
                    check = parse_check(body)
                    services.register_check(replace(check, token=check.token or token))
                case DeregisterCheck(check_id):
                    services.deregister_check(check_id)
                case UpdateTtl(check_id, status, output):
                    services.update_ttl(check_id, status, output)
                case SetMaintenance(enable, reason, token, service_id):
                    services.set_maintenance(service_id, reason, token, enable=enable)
                case WaitForLocal(generation, timeout):
                    await services.changes.wait_past(generation, timeout)
        except (ConfigError, InvalidDefinitionError) as error:
            raise HttpError(400, str(error)) from None
