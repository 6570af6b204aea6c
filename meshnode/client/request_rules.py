"""What decides about the requests of a source, from the agent's answer of ``/v1/connect/intentions/explain``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from meshnode.base.errors import RemoteProtocolError
from meshnode.config_entries import codec
from meshnode.intentions.decide import DefaultDecision
from meshnode.intentions.model import SOURCE_CONSUL, Intention, Permission, ServiceName
from meshnode.l7.rules import IntentionRules
from meshnode.proxy.decision_cache import Decision

__all__ = ["EXPLAIN", "with_rules"]

EXPLAIN: Final = "/v1/connect/intentions/explain"


def with_rules(decision: Decision, answer: Any, source: ServiceName, destination: ServiceName) -> Decision:
    """``decision`` with rules about requests, where the intention that made it has permissions.

    Where the two don't agree on the reason something else decided (a revoked certificate), or something changed
    meanwhile: ``decision`` stays as it is. Raises :class:`RemoteProtocolError` for permissions that can't be read.
    """
    fields = _object(answer, "the answer")
    winner = _winner(fields)
    if winner is None or not winner.get("Permissions") or fields.get("Reason") != decision.because:
        return decision
    default = _object(fields.get("Default"), "Default")
    intention = _intention(winner)
    holds = DefaultDecision(default.get("Allowed") is True, str(default.get("Reason", "")))
    return replace(
        decision, rule=intention.id, requests=IntentionRules(intention, source, destination, holds)
    )


def _winner(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    rows = fields.get("Candidates")
    wanted = fields.get("IntentionID")
    if not wanted or not isinstance(rows, list):
        return None
    return next((row for row in rows if isinstance(row, Mapping) and row.get("ID") == wanted), None)


def _intention(row: Mapping[str, Any]) -> Intention:
    """As far as it decides."""
    permissions = row["Permissions"]
    if not isinstance(permissions, list):
        raise RemoteProtocolError("the intention's Permissions are not a list")
    problems: list[str] = []
    read = tuple(
        codec.read(Permission, _object(each, "a permission"), f"Permissions[{number}]", problems)
        for number, each in enumerate(permissions)
    )
    if problems:
        raise RemoteProtocolError(f"the intention {_text(row, 'ID')} can't be used: {'; '.join(problems)}")
    return Intention(
        id=_text(row, "ID"),
        source_name=_text(row, "SourceName"),
        destination_name=_text(row, "DestinationName"),
        action=_text(row, "Action"),
        source_ns=_text(row, "SourceNS"),
        destination_ns=_text(row, "DestinationNS"),
        source_type=_text(row, "SourceType") or SOURCE_CONSUL,
        permissions=read,
        audit=row.get("Audit") is True,
    )


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name, "")
    if not isinstance(value, str):
        raise RemoteProtocolError(f"the intention's {name} is not a text")
    return value


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RemoteProtocolError(f"{what} of {EXPLAIN} is not an object")
    return value
