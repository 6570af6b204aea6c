"""The authorizer of a token: the rules of its policies merged, and the default where none of them speaks.

How rules are weighed (Consul 1.4 and later):

1. an exact rule beats every prefix rule, and among those the longest prefix wins, whatever policy they are of;
2. of several rules with the same word and name, deny beats write beats list beats read;
3. a service rule without ``intentions`` lets read intentions where it lets read or write the service;
4. where there is no rule, the default policy decides; it never grants ``acl``.

A look-up costs one step for each distinct length of prefix, not for each rule.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from meshnode.acl.authorizer import Access, Decision, Resource
from meshnode.acl.rules import UNNAMED, Rule, RuleSet

__all__ = ["NamedRules", "PolicyAuthorizer", "prevailing"]

#: Longest name that a reason shows.
MAX_SHOWN_CHARS: Final = 200
_STRENGTH: Final = {Access.READ: 1, Access.LIST: 2, Access.WRITE: 3, Access.DENY: 4}
#: A name for "all services", in intentions.
_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class NamedRules:
    """Rules and what a reason calls where they come from: ``policy dev``, ``the legacy rules of the token``."""

    origin: str
    rules: RuleSet


def prevailing(one: Access | None, other: Access | None) -> Access | None:
    """Which of two rules about the same counts: deny > write > list > read > nothing said."""
    if one is None or other is None:
        return other if one is None else one
    return max(one, other, key=_STRENGTH.__getitem__)


class PolicyAuthorizer:
    """Implements :class:`~meshnode.acl.authorizer.Authorizer` for merged policies.

    ``key_list_policy`` is ``acl_enable_key_list_policy``: while it is false, ``Access.LIST`` of keys is granted to
    everybody, and who lists leaves out each key that may not be read, as Consul does.
    """

    __slots__ = ("_default_allow", "_key_list_policy", "_tables", "unrestricted")

    def __init__(
        self, policies: Iterable[NamedRules], *, default_allow: bool, key_list_policy: bool = True
    ) -> None:
        self._default_allow = default_allow
        self._key_list_policy = key_list_policy
        self._tables = _merged(policies)
        #: Whether no question can be answered with no.
        self.unrestricted: bool = all(self._tree(resource, "", Access.WRITE).allowed for resource in Resource)

    def decide(self, resource: Resource, name: str, access: Access) -> Decision:
        """See the protocol. An intention's ``*`` is all services: any of them to read, every one to write."""
        if resource is Resource.INTENTION and name == _ANY:
            return self._tree(resource, "", access) if access is Access.WRITE else self._any(resource, access)
        if resource is Resource.KEY and access is Access.LIST and not self._key_list_policy:
            return Decision(True, "acl_enable_key_list_policy is off: lists hold what may be read")
        rule = self._tables[resource].find(name)
        if rule is None:
            return self._by_default(resource, f"{_subject(resource, name)}")
        return Decision(rule.access >= access, rule.about(resource, name))

    def decide_tree(self, prefix: str) -> Decision:
        """See the protocol: the rule of ``prefix`` must be write, and so must every rule below it."""
        return self._tree(Resource.KEY, prefix, Access.WRITE)

    def _tree(self, resource: Resource, prefix: str, access: Access) -> Decision:
        table = self._tables[resource]
        below = table.weaker_below(prefix, access)
        if below is not None:
            return Decision(False, f"{_tree_subject(resource, prefix)} holds what {below.clause} is about")
        over = table.longest_prefix(prefix)
        if over is None:
            return self._by_default(resource, _tree_subject(resource, prefix))
        return Decision(over.access >= access, over.about(resource, prefix))

    def _any(self, resource: Resource, access: Access) -> Decision:
        granting = self._tables[resource].any_of(access)
        if granting is None:
            over = self._tables[resource].longest_prefix("")
            if over is not None:
                return Decision(False, over.about(resource, _ANY))
            return self._by_default(resource, f"any {resource.value}")
        return Decision(True, f"any {resource.value} will do, and there is {granting.clause}")

    def _by_default(self, resource: Resource, subject: str) -> Decision:
        if resource is Resource.ACL:
            return Decision(False, "no rule is about acl, and the default policy never grants it")
        word = "allow" if self._default_allow else "deny"
        return Decision(self._default_allow, f"no rule is about {subject}, and the default policy is {word}")


@dataclass(frozen=True, slots=True)
class _Merged:
    """The rule that prevails for one word and name; ``clause`` names it: ``key_prefix "a/" (read) of policy dev``."""

    exact: bool
    access: Access
    clause: str

    def about(self, resource: Resource, name: str) -> str:
        """The reason for an answer about ``name``."""
        if resource in UNNAMED:
            return f"there is {self.clause}"
        return f"{_subject(resource, name)} is {'named by' if self.exact else 'under'} {self.clause}"


class _Table:
    """The merged rules about one resource."""

    __slots__ = ("_exact", "_lengths", "_prefixes", "_weak")

    def __init__(self, rules: dict[tuple[bool, str], _Merged]) -> None:
        self._exact = {segment: rule for (exact, segment), rule in rules.items() if exact}
        self._prefixes = {segment: rule for (exact, segment), rule in rules.items() if not exact}
        self._lengths = sorted({len(segment) for segment in self._prefixes}, reverse=True)
        #: Names with a rule that is less than write, in order, so that those below a prefix are neighbours.
        self._weak = sorted({segment for (_, segment), rule in rules.items() if rule.access < Access.WRITE})

    def find(self, name: str) -> _Merged | None:
        """The rule that decides about ``name``."""
        return self._exact.get(name) or self.longest_prefix(name)

    def longest_prefix(self, name: str) -> _Merged | None:
        """The prefix rule that decides about what starts with ``name``, unless another is below it."""
        size = len(name)
        for length in self._lengths:
            if length <= size and (rule := self._prefixes.get(name[:length])) is not None:
                return rule
        return None

    def weaker_below(self, prefix: str, access: Access) -> _Merged | None:
        """A rule below ``prefix``, its own included, that doesn't grant ``access``, which is write."""
        assert access is Access.WRITE
        at = bisect_left(self._weak, prefix)
        if at == len(self._weak) or not self._weak[at].startswith(prefix):
            return None
        segment = self._weak[at]
        found = [rules[segment] for rules in (self._prefixes, self._exact) if segment in rules]
        return next(rule for rule in found if rule.access < Access.WRITE)

    def any_of(self, access: Access) -> _Merged | None:
        """Some rule that grants ``access``."""
        every = (*self._prefixes.values(), *self._exact.values())
        return next((rule for rule in every if rule.access >= access), None)


@dataclass(slots=True)
class _Sum:
    """What all policies say about one word and name so far; each origin is the first with that access."""

    access: Access
    origin: str
    intentions: Access | None = None
    intentions_origin: str = ""

    def add(self, rule: Rule, origin: str) -> None:
        if prevailing(self.access, rule.access) is not self.access:
            self.access, self.origin = rule.access, origin
        if prevailing(self.intentions, rule.intentions) is not self.intentions:
            self.intentions, self.intentions_origin = rule.intentions, origin


def _merged(policies: Iterable[NamedRules]) -> dict[Resource, _Table]:
    sums: dict[tuple[Resource, bool, str], _Sum] = {}
    words: dict[tuple[Resource, bool, str], str] = {}
    for policy in policies:
        for rule in policy.rules.rules:
            key = (rule.resource, rule.exact, rule.segment)
            if key not in sums:
                sums[key] = _Sum(rule.access, policy.origin)
                words[key] = rule.word if rule.resource in UNNAMED else f"{rule.word} {_quoted(rule.segment)}"
            sums[key].add(rule, policy.origin)
    tables: dict[Resource, dict[tuple[bool, str], _Merged]] = {resource: {} for resource in Resource}
    for key, total in sums.items():
        resource, exact, segment = key
        clause = f"{words[key]} ({total.access.name.lower()}) of {total.origin}"
        tables[resource][exact, segment] = _Merged(exact, total.access, clause)
        if resource is Resource.SERVICE:
            tables[Resource.INTENTION][exact, segment] = _intentions(exact, words[key], total)
    return {resource: _Table(rules) for resource, rules in tables.items()}


def _intentions(exact: bool, words: str, total: _Sum) -> _Merged:
    if total.intentions is not None:
        said = f"intentions = {total.intentions.name.lower()}"
        return _Merged(exact, total.intentions, f"{words} ({said}) of {total.intentions_origin}")
    access = Access.READ if total.access >= Access.READ else Access.DENY
    said = f"{total.access.name.lower()}, so intentions = {access.name.lower()}"
    return _Merged(exact, access, f"{words} ({said}) of {total.origin}")


def _subject(resource: Resource, name: str) -> str:
    return resource.value if resource in UNNAMED else f"{resource.value} {_quoted(name)}"


def _tree_subject(resource: Resource, prefix: str) -> str:
    return resource.value if resource in UNNAMED else f"every {resource.value} under {_quoted(prefix)}"


def _quoted(name: str) -> str:
    shown = name if len(name) <= MAX_SHOWN_CHARS else f"{name[:MAX_SHOWN_CHARS]}..."
    return f'"{shown}"' if shown.isprintable() else ascii(shown)
