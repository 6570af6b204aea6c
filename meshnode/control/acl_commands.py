"""The commands of access control; ``command`` puts all commands together."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshnode.acl.model import Policy, Role, Token

__all__ = [
    "AclBootstrap",
    "AclPolicyDelete",
    "AclPolicySet",
    "AclReapTokens",
    "AclRoleDelete",
    "AclRoleSet",
    "AclTokenDelete",
    "AclTokenSet",
]


@dataclass(frozen=True, slots=True)
class AclBootstrap:
    """Add the first token, once; again only if ``reset_index`` is the index of the last time. Result: the accessor."""

    accessor_id: str
    secret_id: str = field(repr=False)
    at: float
    reset_index: int = 0


@dataclass(frozen=True, slots=True)
class AclTokenSet:
    """Add a token (``create``), or change the one with its accessor. Result: the accessor."""

    token: Token
    create: bool


@dataclass(frozen=True, slots=True)
class AclTokenDelete:
    """Result: true, also when there is no such token."""

    accessor_id: str


@dataclass(frozen=True, slots=True)
class AclPolicySet:
    """Add a policy (``create``), or change the one with its id. Result: the id."""

    policy: Policy
    create: bool


@dataclass(frozen=True, slots=True)
class AclPolicyDelete:
    """Remove a policy and every link to it. Result: true, also when there is no such policy."""

    policy_id: str


@dataclass(frozen=True, slots=True)
class AclRoleSet:
    """Add a role (``create``), or change the one with its id. Result: the id."""

    role: Role
    create: bool


@dataclass(frozen=True, slots=True)
class AclRoleDelete:
    """Remove a role and every link to it. Result: true, also when there is no such role."""

    role_id: str


@dataclass(frozen=True, slots=True)
class AclReapTokens:
    """Remove the tokens that are over at ``at``: by the leader. Result: true."""

    at: float
    epoch: int = 0
