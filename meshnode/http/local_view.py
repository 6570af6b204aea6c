"""What handlers see of this agent's services and checks, and the effects that change them.

The bodies of registrations go to the shell as they were decoded: reading them is the business of ``meshnode.local``,
and a mistake in one comes back as an :class:`~meshnode.http.errors.HttpError` 400.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from meshnode.catalog.model import Check, Service
from meshnode.http.context import Context
from meshnode.http.effects import Effect
from meshnode.http.view import AgentView

__all__ = [
    "DeregisterCheck",
    "DeregisterService",
    "LocalAgentView",
    "LocalEffect",
    "LocalView",
    "RegisterCheck",
    "RegisterService",
    "SetMaintenance",
    "UpdateTtl",
    "WaitForLocal",
    "local_of",
    "view_of",
]


class LocalView(Protocol):
    """The local state; every read is a look at memory. Ids are compared without regard to case."""

    @property
    def generation(self) -> int:
        """Another number after every change."""

    def services(self) -> Sequence[Service]:
        """By id. The *same object* until something changes: answers are cached by it."""

    def checks(self) -> Sequence[Check]:
        """By id; the same object until something changes."""

    def service(self, service_id: str) -> Service | None:
        """One service."""

    def check(self, check_id: str) -> Check | None:
        """One check."""

    def proxy(self, service_id: str) -> Mapping[str, Any] | None:
        """What a proxy is told of itself, with its ``ContentHash``; ``None`` for anything else."""

    def service_hash(self, service_id: str) -> str:
        """The content hash of a service that is there."""


class LocalAgentView(AgentView, Protocol):
    """The agent's view with the local state in it."""

    @property
    def local(self) -> LocalView:
        """This agent's services and checks."""

    @property
    def acl_enabled(self) -> bool:
        """Whether tokens count; without it everything is allowed."""


def view_of(context: Context) -> LocalAgentView:
    """The view of ``context``, with the local state."""
    return cast(LocalAgentView, context.view)


def local_of(context: Context) -> LocalView:
    """The local state that ``context`` sees."""
    return view_of(context).local


class LocalEffect(Effect[None]):
    """An effect on the local state; none has an outcome but its errors."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RegisterService(LocalEffect):
    """Register what ``body`` (decoded JSON) describes; with ``replace_checks`` the service's other checks go.

    ``token`` is for a body without one.
    """

    body: Mapping[str, Any] = field(repr=False)
    token: str = field(repr=False)
    replace_checks: bool = False


@dataclass(frozen=True, slots=True)
class DeregisterService(LocalEffect):
    """Remove a service with its checks; nothing happens when it isn't there."""

    service_id: str


@dataclass(frozen=True, slots=True)
class RegisterCheck(LocalEffect):
    """Register the check that ``body`` describes; ``token`` is for a body without one."""

    body: Mapping[str, Any] = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeregisterCheck(LocalEffect):
    """Remove a check; nothing happens when it isn't there."""

    check_id: str


@dataclass(frozen=True, slots=True)
class UpdateTtl(LocalEffect):
    """Report the status of a TTL check; an error for any other check."""

    check_id: str
    status: str
    output: str


@dataclass(frozen=True, slots=True)
class SetMaintenance(LocalEffect):
    """Put a service, or the node when ``service_id`` is empty, into maintenance or out of it."""

    enable: bool
    reason: str
    token: str = field(repr=False)
    service_id: str = ""


@dataclass(frozen=True, slots=True)
class WaitForLocal(LocalEffect):
    """Return when ``LocalView.generation`` is no longer ``generation``, or after ``timeout`` seconds."""

    abandoned = True
    generation: int
    timeout: float
