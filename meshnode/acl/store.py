"""The tables of access control: tokens by accessor and by secret, policies and roles by id and by name.

Two rows are always there: the anonymous token, which is what a request without a token has, and the policy
``global-management``. Ids and names ignore case, secrets don't. Each write is checked whole before anything changes; it
returns why it was refused, or ``""``.

Differences from Consul: a token whose policy or role is deleted loses the link at once, and its modify index moves
(Consul leaves the link and doesn't show it); the legacy rules of a token are checked when they are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, TypeAlias

from meshnode.acl.authorizer import Authorizer
from meshnode.acl.model import (
    ANONYMOUS,
    ANONYMOUS_ACCESSOR,
    GLOBAL_MANAGEMENT,
    GLOBAL_MANAGEMENT_ID,
    Policy,
    Role,
    Token,
    policy_fault,
    role_fault,
    token_fault,
)
from meshnode.acl.rules import RuleSet, parse_rules

__all__ = ["ACL", "AclStore", "WatchKey"]

WatchKey: TypeAlias = tuple[str, ...]

#: Touched by every change.
ACL: Final[WatchKey] = ("acl",)
_MANAGEMENT_RULES: Final = parse_rules(GLOBAL_MANAGEMENT.rules)


class AclStore:
    """The tables. ``touched`` collects the watch keys of what changes; ``index`` is that of the last change.

    ``bootstrap_index`` is that of the last bootstrap, 0 before it. ``resolved`` is for :mod:`meshnode.acl.resolve`:
    what it found out about the present state; every change empties it.
    """

    def __init__(self, touched: set[WatchKey]) -> None:
        self.index = 0
        self.bootstrap_index = 0
        self.resolved: Final[dict[object, tuple[Authorizer, float]]] = {}
        self._touched = touched
        self._tokens: Final[dict[str, Token]] = {}
        self._secrets: Final[dict[str, str]] = {}
        self._expiring: Final[dict[str, float]] = {}
        self._policies: Final[dict[str, Policy]] = {}
        self._policy_names: Final[dict[str, str]] = {}
        self._rules: Final[dict[str, RuleSet]] = {}
        self._roles: Final[dict[str, Role]] = {}
        self._role_names: Final[dict[str, str]] = {}
        self._put_policy(GLOBAL_MANAGEMENT, _MANAGEMENT_RULES)
        self._put_token(ANONYMOUS)

    # Reading

    def token(self, accessor_id: str) -> Token | None:
        """The token with this accessor, expired or not."""
        return self._tokens.get(accessor_id.lower())

    def token_by_secret(self, secret_id: str) -> Token | None:
        """The token with this secret, expired or not."""
        accessor = self._secrets.get(secret_id)
        return self._tokens[accessor] if accessor is not None else None

    def tokens(self) -> list[Token]:
        """Every token, by accessor."""
        return [self._tokens[key] for key in sorted(self._tokens)]

    def policy(self, policy_id: str) -> Policy | None:
        """The policy with this id."""
        return self._policies.get(policy_id.lower())

    def policy_named(self, name: str) -> Policy | None:
        """The policy with this name."""
        return self.policy(self._policy_names.get(name.lower(), ""))

    def policies(self) -> list[Policy]:
        """Every policy, by id."""
        return [self._policies[key] for key in sorted(self._policies)]

    def rules_of(self, policy_id: str) -> RuleSet:
        """The rules of a policy that is there, parsed."""
        return self._rules[policy_id.lower()]

    def role(self, role_id: str) -> Role | None:
        """The role with this id."""
        return self._roles.get(role_id.lower())

    def role_named(self, name: str) -> Role | None:
        """The role with this name."""
        return self.role(self._role_names.get(name.lower(), ""))

    def roles(self) -> list[Role]:
        """Every role, by id."""
        return [self._roles[key] for key in sorted(self._roles)]

    def next_expiration(self) -> float:
        """When the next token ends, unix seconds; 0 when none will."""
        return min(self._expiring.values(), default=0.0)

    # Tokens

    def reset_index(self) -> int:
        """What opens the bootstrap again: the index of the last one, else of the newest management token; 0: open."""
        if self.bootstrap_index:
            return self.bootstrap_index
        management = [t for t in self._tokens.values() if GLOBAL_MANAGEMENT_ID in t.policies]
        return max((token.create_index for token in management), default=0)

    def bootstrap(self, index: int, token: Token, reset_index: int) -> str:
        """Add the first token while nobody has the rights for everything; later only with ``reset_index``."""
        closed = self.reset_index()
        if closed and not reset_index:
            return f"ACL bootstrap no longer allowed (reset index: {closed})"
        if closed and reset_index != closed:
            return f"Invalid ACL bootstrap reset index {reset_index}: write {closed}"
        fault = self.set_token(index, token, create=True)
        if not fault:
            self.bootstrap_index = index
        return fault

    def set_token(self, index: int, token: Token, *, create: bool) -> str:
        """Add a token, or change the one with its accessor."""
        old = self.token(token.accessor_id)
        fault = token_fault(token) or self._links_fault(token.policies, token.roles)
        if not fault and create:
            fault = self._create_fault(token, old)
        elif not fault:
            fault = _update_fault(token, old)
        if fault:
            return fault
        created = old.create_index if old is not None else index
        policies, roles = _links(token.policies), _links(token.roles)
        self._put_token(
            replace(token, policies=policies, roles=roles, create_index=created, modify_index=index)
        )
        self._moved(index)
        return ""

    def delete_token(self, index: int, accessor_id: str) -> str:
        """Remove a token; one that isn't there is removed already."""
        if accessor_id.lower() == ANONYMOUS_ACCESSOR:
            return "Delete operation not permitted on the anonymous token"
        token = self.token(accessor_id)
        if token is not None:
            self._drop_token(token)
            self._moved(index)
        return ""

    def reap_tokens(self, index: int, at: float) -> int:
        """Remove the tokens that are over at ``at``; returns how many."""
        over = [key for key, until in self._expiring.items() if until <= at]
        for key in over:
            self._drop_token(self._tokens[key])
        if over:
            self._moved(index)
        return len(over)

    def _create_fault(self, token: Token, old: Token | None) -> str:
        if old is not None:
            return f'Invalid Token: AccessorID "{token.accessor_id}" is already in use'
        if token.secret_id in self._secrets:
            return "Invalid Token: SecretID is already in use"
        return ""

    def _links_fault(self, policies: Iterable[str], roles: Iterable[str]) -> str:
        for policy_id in policies:
            if policy_id.lower() not in self._policies:
                return f'No such ACL policy with ID "{policy_id}"'
        for role_id in roles:
            if role_id.lower() not in self._roles:
                return f'No such ACL role with ID "{role_id}"'
        return ""

    def _put_token(self, token: Token) -> None:
        key = token.accessor_id.lower()
        self._tokens[key] = token
        self._secrets[token.secret_id] = key
        if token.expiration_time > 0:
            self._expiring[key] = token.expiration_time

    def _drop_token(self, token: Token) -> None:
        key = token.accessor_id.lower()
        del self._tokens[key], self._secrets[token.secret_id]
        self._expiring.pop(key, None)

    # Policies

    def set_policy(self, index: int, policy: Policy, *, create: bool) -> str:
        """Add a policy, or change the one with its id. Of ``global-management`` only the words may change."""
        old = self.policy(policy.id)
        fault = policy_fault(policy) or _id_fault("Policy", policy.id, old is not None, create=create)
        holder = self.policy_named(policy.name)
        if not fault and holder is not None and holder.id.lower() != policy.id.lower():
            fault = f'Invalid Policy: A Policy with Name "{policy.name}" already exists'
        if not fault and policy.id.lower() == GLOBAL_MANAGEMENT_ID:
            fault = _builtin_fault(policy)
        if fault:
            return fault
        created = old.create_index if old is not None else index
        self._put_policy(replace(policy, create_index=created, modify_index=index), parse_rules(policy.rules))
        self._moved(index)
        return ""

    def delete_policy(self, index: int, policy_id: str) -> str:
        """Remove a policy and the links to it; one that isn't there is removed already."""
        key = policy_id.lower()
        if key == GLOBAL_MANAGEMENT_ID:
            return "Delete operation not permitted on the builtin global-management policy"
        policy = self._policies.pop(key, None)
        if policy is None:
            return ""
        del self._policy_names[policy.name.lower()], self._rules[key]
        for token in [*self._tokens.values()]:
            if key in token.policies:
                self._put_token(replace(token, policies=_without(key, token.policies), modify_index=index))
        for role in [*self._roles.values()]:
            if key in role.policies:
                self._put_role(replace(role, policies=_without(key, role.policies), modify_index=index))
        self._moved(index)
        return ""

    def _put_policy(self, policy: Policy, rules: RuleSet) -> None:
        key = policy.id.lower()
        old = self._policies.get(key)
        if old is not None:
            del self._policy_names[old.name.lower()]
        self._policies[key], self._rules[key] = policy, rules
        self._policy_names[policy.name.lower()] = key

    # Roles

    def set_role(self, index: int, role: Role, *, create: bool) -> str:
        """Add a role, or change the one with its id."""
        old = self.role(role.id)
        fault = (
            role_fault(role)
            or _id_fault("Role", role.id, old is not None, create=create)
            or self._links_fault(role.policies, ())
        )
        holder = self.role_named(role.name)
        if not fault and holder is not None and holder.id.lower() != role.id.lower():
            fault = f'Invalid Role: A Role with Name "{role.name}" already exists'
        if fault:
            return fault
        created = old.create_index if old is not None else index
        policies = _links(role.policies)
        self._put_role(replace(role, policies=policies, create_index=created, modify_index=index))
        self._moved(index)
        return ""

    def delete_role(self, index: int, role_id: str) -> str:
        """Remove a role and the links to it; one that isn't there is removed already."""
        key = role_id.lower()
        role = self._roles.pop(key, None)
        if role is None:
            return ""
        del self._role_names[role.name.lower()]
        for token in [*self._tokens.values()]:
            if key in token.roles:
                self._put_token(replace(token, roles=_without(key, token.roles), modify_index=index))
        self._moved(index)
        return ""

    def _put_role(self, role: Role) -> None:
        key = role.id.lower()
        old = self._roles.get(key)
        if old is not None:
            del self._role_names[old.name.lower()]
        self._roles[key] = role
        self._role_names[role.name.lower()] = key

    # Snapshots

    def load(self, policies: Iterable[Policy], roles: Iterable[Role], tokens: Iterable[Token]) -> None:
        """Put back rows from a snapshot: no index moves and nothing is touched.

        Raises :class:`~meshnode.base.errors.ConfigError` for rules that can't be read.
        """
        for policy in policies:
            self._put_policy(policy, parse_rules(policy.rules))
        for role in roles:
            self._put_role(role)
        for token in tokens:
            self._put_token(token)
        self.resolved.clear()

    def _moved(self, index: int) -> None:
        self.index = index
        self.resolved.clear()
        self._touched.add(ACL)


def _update_fault(token: Token, old: Token | None) -> str:
    if old is None:
        return f'Cannot find token "{token.accessor_id}"'
    if token.secret_id != old.secret_id:
        return "Changing a tokens SecretID is not permitted"
    if token.local != old.local:
        return f'cannot toggle local mode of "{token.accessor_id}"'
    if token.expiration_time != old.expiration_time:
        return "Cannot change expiration time"
    return ""


def _builtin_fault(policy: Policy) -> str:
    if policy.rules != GLOBAL_MANAGEMENT.rules:
        return "Changing the Rules for the builtin global-management policy is not permitted"
    if policy.datacenters:
        return "Changing the Datacenters of the builtin global-management policy is not permitted"
    return ""


def _id_fault(kind: str, row_id: str, known: bool, *, create: bool) -> str:
    if create and known:
        return f'Invalid {kind}: ID "{row_id}" is already in use'
    if not create and not known:
        return f'Cannot find {kind.lower()} "{row_id}"'
    return ""


def _links(ids: Iterable[str]) -> tuple[str, ...]:
    """In lower case, each once."""
    return tuple(dict.fromkeys(link.lower() for link in ids))


def _without(key: str, links: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(link for link in links if link != key)
