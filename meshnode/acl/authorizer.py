"""What callers ask of access control, and what they hear. Every answer has a reason, and no answer is a no.

An authorizer is a value: the same question has the same answer for as long as it is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, Protocol

from meshnode.base.errors import MeshError

__all__ = [
    "ALLOW_ALL",
    "Access",
    "AllowAll",
    "Authorizer",
    "Decision",
    "PermissionDeniedError",
    "Resource",
    "require",
]


class Resource(StrEnum):
    """What rules are written about, by the words of the rule language."""

    ACL = "acl"
    AGENT = "agent"
    EVENT = "event"
    INTENTION = "intention"
    KEY = "key"
    KEYRING = "keyring"
    NODE = "node"
    OPERATOR = "operator"
    QUERY = "query"
    SERVICE = "service"
    SESSION = "session"


class Access(IntEnum):
    """How much is asked for or granted; each includes those before it. ``LIST`` is of keys only."""

    DENY = 0
    READ = 1
    LIST = 2
    WRITE = 3


@dataclass(frozen=True, slots=True)
class Decision:
    """``because`` is a clause for people: ``key "app/x" is under key_prefix "app/" (read) of policy dev``."""

    allowed: bool
    because: str


class PermissionDeniedError(MeshError):
    """The text starts with Consul's ``Permission denied``, which clients look for."""


class Authorizer(Protocol):
    """The rights of one token at one moment."""

    @property
    def unrestricted(self) -> bool:
        """Whether every question is answered with yes, so that lists need not be filtered."""

    def decide(self, resource: Resource, name: str, access: Access) -> Decision:
        """Whether ``access`` to ``name`` is granted; ``name`` is empty for acl, keyring and operator.

        For ``KEY``, ``Access.LIST`` asks for listing under a prefix, and ``Access.WRITE`` with a name that ends in
        no key asks about that exact key; deleting a tree is :meth:`decide_tree`.
        """

    def decide_tree(self, prefix: str) -> Decision:
        """Whether every key under ``prefix`` may be written (a recursive delete)."""


class AllowAll:
    """The authorizer while access control is off."""

    unrestricted: Final = True

    def decide(self, resource: Resource, name: str, access: Access) -> Decision:
        """Yes."""
        del resource, name, access
        return _OFF

    def decide_tree(self, prefix: str) -> Decision:
        """Yes."""
        del prefix
        return _OFF


_OFF: Final = Decision(allowed=True, because="access control is off")
ALLOW_ALL: Final[Authorizer] = AllowAll()


def require(authorizer: Authorizer, resource: Resource, name: str, access: Access) -> None:
    """Return when ``access`` is granted, else raise :class:`PermissionDeniedError` with the reason."""
    if authorizer.unrestricted:
        return
    decision = authorizer.decide(resource, name, access)
    if not decision.allowed:
        raise PermissionDeniedError(f"Permission denied: {decision.because}")
