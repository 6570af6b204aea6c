"""Filter expressions as values, and as text again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

__all__ = [
    "AllOf",
    "AnyOf",
    "Expression",
    "Match",
    "Not",
    "Relation",
    "Selector",
    "selector_text",
    "serialize",
]

#: The names on the way from the row to the value: ``Service.Meta["my version"]``.
Selector: TypeAlias = tuple[str, ...]

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Relation(StrEnum):
    """What is asked of the selected value. ``IN`` is ``"x" in S`` and ``S contains "x"``, which mean the same."""

    EQUAL = "=="
    IN = "in"
    EMPTY = "is empty"
    MATCHES = "matches"


@dataclass(frozen=True, slots=True)
class Match:
    """One question. ``position`` is where it stands in the text, from 0; it is not part of the meaning."""

    selector: Selector
    relation: Relation
    value: str = ""
    negated: bool = False
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of ``part``."""

    part: Expression


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part is true; there are at least two."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part is true; there are at least two."""

    parts: tuple[Expression, ...]


Expression: TypeAlias = Match | Not | AllOf | AnyOf


def selector_text(selector: Selector) -> str:
    """``Service.Meta["my version"]``."""
    first, *rest = selector
    return first + "".join(f".{name}" if _NAME.fullmatch(name) else f"[{_quote(name)}]" for name in rest)


def serialize(expression: Expression) -> str:
    """Text that ``parse_expression`` reads as an equal value."""
    match expression:
        case Not(part):
            return f"not {_grouped(part)}"
        case AllOf(parts):
            return " and ".join(map(_grouped, parts))
        case AnyOf(parts):
            return " or ".join(map(_grouped, parts))
        case Match(selector, relation, value, negated):
            return _question(selector_text(selector), relation, _quote(value), negated)


def _question(selector: str, relation: Relation, value: str, negated: bool) -> str:
    if relation is Relation.EQUAL:
        return f"{selector} {'!=' if negated else '=='} {value}"
    if relation is Relation.EMPTY:
        return f"{selector} is {'not ' if negated else ''}empty"
    operator = f"not {relation}" if negated else str(relation)
    return f"{value} {operator} {selector}" if relation is Relation.IN else f"{selector} {operator} {value}"


def _grouped(part: Expression) -> str:
    text = serialize(part)
    return text if isinstance(part, Match) else f"({text})"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'
