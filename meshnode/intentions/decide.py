"""Whether one service may connect to another: a pure decision that fails closed and says why.

Of the intentions that fit, the one with the greatest precedence decides, alone; where none fits, the default does. An
intention with permissions decides about HTTP requests: the first permission that fits one, else the default, as in
Consul. To a proxy that sees no requests it is a denial. What can't be understood is denied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from meshnode.base.errors import ConfigError
from meshnode.base.regexp import Work
from meshnode.intentions.model import (
    ACTIONS,
    ALLOW,
    DENY,
    SOURCE_CONSUL,
    WILDCARD,
    Intention,
    ServiceName,
)
from meshnode.intentions.request import MAX_REGEXP_STEPS, HttpRequest, Reading, fits, readings

__all__ = ["Decision", "DefaultDecision", "decide", "default_decision", "names"]

#: The end of a reason: it would have been denied.
_LET_THROUGH: Final = "Let through all the same: the intention only audits"


@dataclass(frozen=True, slots=True)
class DefaultDecision:
    """What holds where no intention does, and where that comes from."""

    allowed: bool
    because: str


def default_decision(
    policy: str = "", *, acls_enabled: bool = False, acls_allow: bool = True
) -> DefaultDecision:
    """``default_intention_policy`` when it is set, else what ACLs default to when they are on, else yes.

    A policy other than ``allow`` denies. Sources: Consul 1.2.3, authorize; Consul 1.18, ``default_intention_policy``.
    """
    if policy:
        return DefaultDecision(policy == ALLOW, "Default behavior configured by default_intention_policy")
    if acls_enabled:
        return DefaultDecision(acls_allow, "Default behavior configured by ACLs")
    return DefaultDecision(True, "ACLs disabled, access is allowed by default")


@dataclass(frozen=True, slots=True)
class Decision:
    """``intention`` is the one that decided, ``None`` for the default; ``permission`` which of its permissions did.

    ``candidates``: every intention that fits, in the order they are looked at. ``audited``: it would have been denied,
    is let through, and is to be reported.
    """

    allowed: bool
    because: str
    intention: Intention | None = None
    permission: int | None = None
    candidates: tuple[Intention, ...] = ()
    audited: bool = False


def decide(
    intentions: Iterable[Intention],
    source: ServiceName,
    destination: ServiceName,
    default: DefaultDecision,
    request: HttpRequest | None = None,
) -> Decision:
    """Decide about a connection, or about ``request`` on it; ``intentions`` may be any, in any order."""
    for end, service in (("source", source), ("destination", destination)):
        if not service.name or not service.namespace:
            return Decision(False, f"the {end} has no name")
    fitting = (intention for intention in intentions if names(intention, source, destination))
    candidates = tuple(sorted(fitting, key=lambda intention: intention.order))
    if not candidates:
        return Decision(default.allowed, default.because)
    winner = candidates[0]
    decision = replace(_judged(winner, default, request), intention=winner, candidates=candidates)
    if decision.allowed or not winner.audit or not _is_sound(winner):
        return decision
    because = f"{decision.because}. {_LET_THROUGH}"
    return replace(decision, allowed=True, because=because, audited=True)


def names(intention: Intention, source: ServiceName, destination: ServiceName) -> bool:
    """Whether the intention is about these two; a service called ``*`` is only what ``*`` is about."""
    return _names(intention.source, source) and _names(intention.destination, destination)


def _names(pattern: ServiceName, service: ServiceName) -> bool:
    pairs = ((pattern.namespace, service.namespace), (pattern.name, service.name))
    return all(known in {WILDCARD, asked} or known.lower() == asked.lower() for known, asked in pairs)


def _is_sound(intention: Intention) -> bool:
    """Whether it says what it wants: it was validated when it was stored, and this doesn't rely on it."""
    if intention.source_type != SOURCE_CONSUL:
        return False
    if intention.permissions:
        return not intention.action and all(each.action in ACTIONS for each in intention.permissions)
    return intention.action in ACTIONS


def _judged(intention: Intention, default: DefaultDecision, request: HttpRequest | None) -> Decision:
    if not _is_sound(intention):
        return Decision(False, f"The intention says neither allow nor deny: {intention}")
    if not intention.permissions:
        return Decision(intention.action == ALLOW, f"Matched intention: {intention}")
    if request is None:
        return Decision(
            False,
            f"Matched intention: {intention}. It is about HTTP requests, and a connection alone is denied",
        )
    ways = readings(request)
    if not ways:
        return Decision(
            False, f"Matched intention: {intention}. The path of the request can't be read safely"
        )
    work = Work(MAX_REGEXP_STEPS)
    decisions = [_judged_reading(intention, default, way, work) for way in ways]
    return next((decision for decision in decisions if not decision.allowed), decisions[0])


def _judged_reading(intention: Intention, default: DefaultDecision, way: Reading, work: Work) -> Decision:
    matched = f"Matched intention: {intention}"
    for number, permission in enumerate(intention.permissions):
        try:
            found = fits(permission.http, way, work)
        except ConfigError as error:
            return Decision(
                False, f"{matched}. Permission {number} can't be tried: {error}", permission=number
            )
        if found:
            word = ALLOW if permission.action == ALLOW else DENY
            because = f"{matched}. Permission {number} ({word}) is about {_shown(way)}"
            return Decision(word == ALLOW, because, permission=number)
    return Decision(
        default.allowed,
        f"{matched}. No permission is about {_shown(way)}, so the default decides: {default.because}",
    )


def _shown(way: Reading) -> str:
    path = way.path if len(way.path) <= 200 else f"{way.path[:200]}..."
    return f"{ascii(way.method[:20])[1:-1]} {path if path.isprintable() else ascii(path)}"
