"""Intentions as Envoy's rules (``envoy.config.rbac.v3.RBAC``), which decide as :func:`meshnode.intentions.decide` does.

Envoy allows what any policy fits and denies the rest; it knows no precedence. So each intention becomes the policy that
allows what this intention, and none before it, allows; the last one is the default. What an intention that only audits
would deny is in no policy of the shadow rules, which Envoy counts and doesn't enforce.

Requests that servers may read in several ways are denied where a path or a header decides, which is stricter than
``decide``: it tries each reading. Source: Envoy 1.40, "Role Based Access Control", API v3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from meshnode.base.spiffe import PLAIN_IN_PATH
from meshnode.intentions.decide import DefaultDecision, names
from meshnode.intentions.model import (
    ALLOW,
    SOURCE_CONSUL,
    WILDCARD,
    HeaderMatch,
    HttpMatch,
    Intention,
    Permission,
    ServiceName,
)
from meshnode.xds.matching import header_condition, methods_condition
from meshnode.xds.schema import message

__all__ = ["AMBIGUOUS_PATH", "Rules", "compile_rules", "principal_pattern"]

#: Paths that servers read in different ways: escapes, parameters, backslashes, empty and dot segments.
AMBIGUOUS_PATH: Final = r".*(?:[%;\\\x00-\x20\x7f]|//|/\.\.?(?:/.*)?$).*"
_SEGMENT: Final = "[^/]+"


@dataclass(frozen=True, slots=True)
class Rules:
    """``enforced`` and ``shadow`` are ``RBAC`` messages; ``shadow`` is ``None`` while no intention only audits."""

    enforced: Any
    shadow: Any = None


def compile_rules(
    intentions: Iterable[Intention],
    destination: ServiceName,
    default: DefaultDecision,
    *,
    trust_domain: str,
    http: bool,
) -> Rules:
    """The rules of the service ``destination``. Without ``http``, permissions about requests deny connections."""
    ordered = sorted(
        (each for each in intentions if names(each, each.source, destination)), key=lambda each: each.order
    )
    enforced = _rules(ordered, default, trust_domain, http=http)
    if not any(intention.audit for intention in ordered):
        return Rules(enforced)
    plain = [replace(intention, audit=False) for intention in ordered]
    return Rules(enforced, _rules(plain, default, trust_domain, http=http))


def principal_pattern(trust_domain: str, service: ServiceName) -> str:
    """A regular expression (RE2) for the whole SPIFFE ID of ``service``, in any datacenter; names match in any case."""
    namespace, name = _name(service.namespace), _name(service.name)
    return f"spiffe://{re.escape(trust_domain)}/ns/{namespace}/dc/{_SEGMENT}/svc/{name}"


def _name(name: str) -> str:
    return _SEGMENT if name == WILDCARD else f"(?i:{''.join(map(_char, name))})"


def _char(char: str) -> str:
    if char.isascii():
        return re.escape(quote(char, safe=PLAIN_IN_PATH))
    # (?i) is about letters, and in an id these are bytes in hexadecimal digits.
    cases = dict.fromkeys((char, char.lower(), char.upper()))
    return f"(?:{'|'.join(quote(case, safe='') for case in cases)})"


def _rules(ordered: Sequence[Intention], default: DefaultDecision, trust_domain: str, *, http: bool) -> Any:
    policies: dict[str, Any] = {}
    before: list[Intention] = []
    for number, intention in enumerate(ordered):
        if any(_covers(earlier, intention) for earlier in before):
            continue
        allowed = _allowed(intention, default, http=http)
        if allowed:
            excluded = [each for each in before if _covers(intention, each)]
            policies[f"{number:03}-{intention.id}"] = _policy(
                allowed, _principal(trust_domain, [intention.source], [each.source for each in excluded])
            )
        before.append(intention)
    if default.allowed:
        everybody = ServiceName(WILDCARD, WILDCARD)
        rest = _principal(trust_domain, [everybody], [each.source for each in before])
        policies["default"] = _policy([message("config.rbac.v3.Permission")(any=True)], rest)
    return message("config.rbac.v3.RBAC")(action="ALLOW", policies=policies)


def _covers(wide: Intention, narrow: Intention) -> bool:
    """Whether each source of ``narrow`` is one of ``wide``, or may be."""
    pairs = ((wide.source_ns, narrow.source_ns), (wide.source_name, narrow.source_name))
    return all(one == WILDCARD or one.lower() == other.lower() for one, other in pairs)


def _policy(permissions: Sequence[Any], principal: Any) -> Any:
    return message("config.rbac.v3.Policy")(permissions=permissions, principals=[principal])


def _principal(trust_domain: str, those: Sequence[ServiceName], but: Sequence[ServiceName]) -> Any:
    principal = message("config.rbac.v3.Principal")
    found = _any_of(principal, [_authenticated(trust_domain, each) for each in those])
    if not but:
        return found
    others = _any_of(principal, [_authenticated(trust_domain, each) for each in but])
    return principal(and_ids={"ids": [found, principal(not_id=others)]})


def _any_of(principal: Any, ids: Sequence[Any]) -> Any:
    return ids[0] if len(ids) == 1 else principal(or_ids={"ids": ids})


def _authenticated(trust_domain: str, service: ServiceName) -> Any:
    pattern = {"safe_regex": {"regex": principal_pattern(trust_domain, service)}}
    return message("config.rbac.v3.Principal")(authenticated={"principal_name": pattern})


# What an intention allows: a list of which any has to fit.


def _allowed(intention: Intention, default: DefaultDecision, *, http: bool) -> list[Any]:
    permission = message("config.rbac.v3.Permission")
    if intention.source_type != SOURCE_CONSUL or (intention.permissions and intention.action):
        return []
    if intention.audit:
        return [permission(any=True)]
    if not intention.permissions:
        return [permission(any=True)] if intention.action == ALLOW else []
    return _requests(intention.permissions, default) if http else []


def _requests(permissions: Sequence[Permission], default: DefaultDecision) -> list[Any]:
    """What the first permission that fits allows, and what the default does where none fits."""
    permission = message("config.rbac.v3.Permission")
    unclear = _unclear(permissions)
    denied: list[Any] = []
    allowed: list[Any] = []
    for each in permissions:
        match = _request(each.http)
        if each.action == ALLOW:
            allowed.append(_but(match, [*unclear, *denied]))
        else:
            denied.append(match)
    if default.allowed:
        # What an earlier permission allows is allowed here as well, which changes nothing.
        allowed.append(_but(permission(any=True), [*unclear, *denied]))
    return allowed


def _but(match: Any, excluded: Sequence[Any]) -> Any:
    permission = message("config.rbac.v3.Permission")
    if not excluded:
        return match
    others = excluded[0] if len(excluded) == 1 else permission(or_rules={"rules": excluded})
    return permission(and_rules={"rules": [match, permission(not_rule=others)]})


def _unclear(permissions: Sequence[Permission]) -> list[Any]:
    """Requests that the application may read otherwise than Envoy does, as far as the permissions look at them."""
    permission = message("config.rbac.v3.Permission")
    matches = [each.http for each in permissions]
    found = []
    if any(http.path_exact or http.path_prefix or http.path_regex for http in matches):
        found.append(_path({"safe_regex": {"regex": AMBIGUOUS_PATH}}))
    headers = {each.name.strip().lower() for http in matches for each in http.header if not each.present}
    for name in sorted(headers):
        # A header that came several times reaches the rules as one, joined by commas.
        repeated = {"name": name, "string_match": {"safe_regex": {"regex": ".*,.*"}}}
        found.append(permission(header=repeated))
    return found


def _path(matcher: dict[str, Any]) -> Any:
    return message("config.rbac.v3.Permission")(url_path={"path": matcher})


def _request(http: HttpMatch) -> Any:
    permission = message("config.rbac.v3.Permission")
    conditions = []
    if http.path_exact:
        conditions.append(_path({"exact": http.path_exact}))
    if http.path_prefix:
        conditions.append(_path({"prefix": http.path_prefix}))
    if http.path_regex:
        conditions.append(_path({"safe_regex": {"regex": http.path_regex}}))
    if http.methods:
        conditions.append(permission(header=methods_condition(http.methods)))
    conditions += map(_header, http.header)
    if not conditions:
        return permission(any=True)
    return conditions[0] if len(conditions) == 1 else permission(and_rules={"rules": conditions})


def _header(match: HeaderMatch) -> Any:
    permission = message("config.rbac.v3.Permission")
    found = permission(header=header_condition(match))
    # Not Envoy's own inversion: absence meets an inverted condition here.
    return permission(not_rule=found) if match.invert else found
