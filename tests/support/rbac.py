"""Envoy's evaluation of RBAC rules, written after its documentation: what a policy must fit for a request to pass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Call", "allows"]


@dataclass(frozen=True)
class Call:
    """``uri`` is what the peer's certificate says; without ``headers`` it is a connection, not a request."""

    uri: str
    method: str = ""
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def allows(rules: Any, call: Call) -> bool:
    assert rules.action == 0, "ALLOW"
    return any(
        any(_permission(each, call) for each in policy.permissions)
        and any(_principal(each, call) for each in policy.principals)
        for policy in rules.policies.values()
    )


def _permission(rule: Any, call: Call) -> bool:
    match rule.WhichOneof("rule"):
        case "any":
            return bool(rule.any)
        case "and_rules":
            return all(_permission(each, call) for each in rule.and_rules.rules)
        case "or_rules":
            return any(_permission(each, call) for each in rule.or_rules.rules)
        case "not_rule":
            return not _permission(rule.not_rule, call)
        case "url_path":
            return _text(rule.url_path.path, call.path.partition("?")[0])
        case "header":
            value = {":method": call.method, **call.headers}.get(rule.header.name)
            if rule.header.WhichOneof("header_match_specifier") == "present_match":
                return value is not None
            return value is not None and _text(rule.header.string_match, value)
    raise AssertionError(rule)


def _principal(one: Any, call: Call) -> bool:
    match one.WhichOneof("identifier"):
        case "and_ids":
            return all(_principal(each, call) for each in one.and_ids.ids)
        case "or_ids":
            return any(_principal(each, call) for each in one.or_ids.ids)
        case "not_id":
            return not _principal(one.not_id, call)
        case "authenticated":
            return _text(one.authenticated.principal_name, call.uri)
    raise AssertionError(one)


def _text(matcher: Any, value: str) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "exact":
            return bool(value == matcher.exact)
        case "prefix":
            return value.startswith(matcher.prefix)
        case "suffix":
            return value.endswith(matcher.suffix)
        case "safe_regex":
            return re.fullmatch(matcher.safe_regex.regex, value, re.DOTALL) is not None
    raise AssertionError(matcher)
