"""From the secret of a request to its rights.

A token's rules are those of its policies, of its roles' policies, of its service identities and, for a legacy token,
its own. What was found out is kept in the store until anything about access control changes.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from meshnode.acl.authorizer import ALLOW_ALL, Access, Authorizer, Resource
from meshnode.acl.model import (
    ANONYMOUS_SECRET,
    GLOBAL_MANAGEMENT,
    AclNotFoundError,
    Policy,
    ServiceIdentity,
    Token,
)
from meshnode.acl.policy_authorizer import NamedRules, PolicyAuthorizer
from meshnode.acl.rules import Rule, RuleSet, parse_rules
from meshnode.acl.store import AclStore

__all__ = ["MAX_RESOLVED", "AclSettings", "authorizer_of_texts", "policy_texts", "resolve"]

#: Authorizers that are kept; then all are forgotten and found out again.
MAX_RESOLVED: Final = 4096


@dataclass(frozen=True, slots=True)
class AclSettings:
    """Configuration of access control. ``default_allow``: ``acl_default_policy`` is ``allow``.

    The secrets are empty when they aren't set: that of the master token grants everything, that of the agent's master
    token this agent (``node_name``, write) and reading every node.
    """

    enabled: bool = False
    default_allow: bool = True
    key_list_policy: bool = False
    datacenter: str = ""
    node_name: str = ""
    master_token: str = field(default="", repr=False)
    agent_master_token: str = field(default="", repr=False)


def resolve(store: AclStore, secret: str, settings: AclSettings, at: float) -> Authorizer:
    """The rights of ``secret`` (empty: the anonymous token) at ``at``, unix seconds.

    Raises :class:`AclNotFoundError` when no token has this secret, or its token is over.
    """
    if not settings.enabled:
        return ALLOW_ALL
    kept = store.resolved.get((secret, settings))
    if kept is not None:
        authorizer, until = kept
        if not 0 < until <= at:
            return authorizer
    special = _of_settings(secret, settings)
    if special is not None:
        return _keep(store, (secret, settings), special, 0.0)
    token = store.token_by_secret(secret or ANONYMOUS_SECRET)
    if token is None or token.expired(at):
        raise AclNotFoundError
    return _keep(store, (secret, settings), _of_token(store, token, settings), token.expiration_time)


def policy_texts(store: AclStore, token: Token, datacenter: str) -> tuple[tuple[str, str, bool], ...]:
    """What the token's rights are made of, for agents without the store: (where from, rules, whether legacy)."""
    texts = [(f"policy {policy.name}", policy.rules, False) for policy in _policies(store, token, datacenter)]
    texts += [
        (f"service identity {i.service_name}", i.rules(), False)
        for i in _identities(store, token, datacenter)
    ]
    if token.rules:
        texts.append((_LEGACY, token.rules, True))
    return tuple(texts)


def authorizer_of_texts(texts: Iterable[tuple[str, str, bool]], settings: AclSettings) -> Authorizer:
    """The inverse of :func:`policy_texts`; raises :class:`~meshnode.base.errors.ConfigError` for bad rules."""
    named = [NamedRules(origin, parse_rules(rules, origin, legacy=legacy)) for origin, rules, legacy in texts]
    return _authorizer(named, settings)


_LEGACY: Final = "the token's own rules"
_MANAGEMENT: Final = NamedRules("the master token", parse_rules(GLOBAL_MANAGEMENT.rules))


def _of_settings(secret: str, settings: AclSettings) -> Authorizer | None:
    if _same(secret, settings.master_token):
        return _authorizer([_MANAGEMENT], settings)
    if _same(secret, settings.agent_master_token):
        rules = (
            Rule(Resource.AGENT, settings.node_name, True, Access.WRITE),
            Rule(Resource.NODE, "", False, Access.READ),
        )
        return _authorizer([NamedRules("the agent master token", RuleSet(rules))], settings)
    return None


def _same(secret: str, configured: str) -> bool:
    if not configured:
        return False
    return hmac.compare_digest(*(text.encode("utf-8", "surrogatepass") for text in (secret, configured)))


def _of_token(store: AclStore, token: Token, settings: AclSettings) -> Authorizer:
    """Tokens with the same policies share one authorizer."""
    policies = _policies(store, token, settings.datacenter)
    identities = _identities(store, token, settings.datacenter)
    key = (tuple(policy.id for policy in policies), identities, token.rules, settings)
    known = store.resolved.get(key)
    if known is not None:
        return known[0]
    named = [NamedRules(f"policy {policy.name}", store.rules_of(policy.id)) for policy in policies]
    named += [NamedRules(f"service identity {i.service_name}", parse_rules(i.rules())) for i in identities]
    if token.rules:
        named.append(NamedRules(_LEGACY, parse_rules(token.rules, legacy=True)))
    return _keep(store, key, _authorizer(named, settings), 0.0)


def _policies(store: AclStore, token: Token, datacenter: str) -> list[Policy]:
    ids = dict.fromkeys(token.policies)
    for role_id in token.roles:
        role = store.role(role_id)
        ids.update(dict.fromkeys(role.policies if role is not None else ()))
    found = [policy for policy in map(store.policy, ids) if policy is not None]
    return [policy for policy in found if not policy.datacenters or datacenter in policy.datacenters]


def _identities(store: AclStore, token: Token, datacenter: str) -> tuple[ServiceIdentity, ...]:
    every = dict.fromkeys(token.service_identities)
    for role_id in token.roles:
        role = store.role(role_id)
        every.update(dict.fromkeys(role.service_identities if role is not None else ()))
    return tuple(i for i in every if not i.datacenters or datacenter in i.datacenters)


def _authorizer(named: Iterable[NamedRules], settings: AclSettings) -> Authorizer:
    return PolicyAuthorizer(
        named, default_allow=settings.default_allow, key_list_policy=settings.key_list_policy
    )


def _keep(store: AclStore, key: object, authorizer: Authorizer, until: float) -> Authorizer:
    if len(store.resolved) >= MAX_RESOLVED:
        store.resolved.clear()
    store.resolved[key] = authorizer, until
    return authorizer
