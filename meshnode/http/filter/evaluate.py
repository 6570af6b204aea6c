"""Whether a row matches. Rows are JSON: objects, lists, texts, numbers, true, false and null.

- A list on the way to the value is looked through: the question holds when it holds for any item, also a negated one
  (``Checks.Status != "passing"``: some check is not passing; ``not Checks.Status == "passing"``: none is).
- A key that isn't there, or null, matches nothing and is empty: ``==``, ``in``, ``matches`` are false, and ``!=``,
  ``not in``, ``not matches``, ``is empty`` are true.
- ``in`` asks for a part of a text, an item of a list or a key of an object.

Regular expressions run in linear time (``base.regexp``: a backtracking engine could be stopped by one pattern), all
rows of one request together for at most ``MAX_REGEXP_STEPS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from meshnode.base.errors import ConfigError
from meshnode.base.regexp import Work, compile_regexp
from meshnode.http.filter.scan import FilterError
from meshnode.http.filter.tree import AllOf, AnyOf, Expression, Match, Not, Relation, selector_text

__all__ = ["MAX_REGEXP_STEPS", "Evaluator", "as_flag", "as_number"]

#: Steps of all regular expressions over all rows: about a second.
MAX_REGEXP_STEPS: Final = 5_000_000

#: Go's strconv.ParseBool.
_FLAGS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?")
_Asks: TypeAlias = Callable[[Mapping[str, Any]], bool]


def as_number(text: str) -> float | None:
    """A decimal number; ``None``: it isn't one."""
    if not _NUMBER.fullmatch(text):
        return None
    return float(text) if "." in text else int(text)


def as_flag(text: str) -> bool | None:
    """True or false as Go reads them; ``None``: it is neither."""
    return _FLAGS.get(text)


class Evaluator:
    """An expression made ready: regular expressions are compiled. Raises :class:`FilterError` for one that can't be."""

    def __init__(self, expression: Expression) -> None:
        self._work: Final = Work(MAX_REGEXP_STEPS)
        self._asks: Final = self._ready(expression)

    def matches(self, row: Mapping[str, Any]) -> bool:
        """See ``Filter.matches``."""
        return self._asks(row)

    def _ready(self, expression: Expression) -> _Asks:
        match expression:
            case Not(part):
                asks = self._ready(part)
                return lambda row: not asks(row)
            case AllOf(parts):
                every = [self._ready(part) for part in parts]
                return lambda row: all(asks(row) for asks in every)
            case AnyOf(parts):
                some = [self._ready(part) for part in parts]
                return lambda row: any(asks(row) for asks in some)
            case Match():
                leaf = self._leaf(expression)
                return lambda row: _walk(row, expression, 0, leaf)

    def _leaf(self, match: Match) -> Callable[[Any], bool]:
        if match.relation is not Relation.MATCHES:
            return lambda value: _holds(match, value) != match.negated
        try:
            pattern = compile_regexp(match.value)
        except ConfigError as error:
            raise FilterError(f"{_place(match)}: {error}") from None

        def found(value: Any) -> bool:
            if value is None:
                return match.negated
            if not isinstance(value, str):
                raise _unfit(match, value)
            try:
                return pattern.search(value, self._work) != match.negated
            except ConfigError as error:
                raise FilterError(f"{_place(match)}: {error}") from None

        return found


def _walk(value: Any, match: Match, depth: int, leaf: Callable[[Any], bool]) -> bool:
    if depth == len(match.selector):
        return leaf(value)
    name = match.selector[depth]
    if isinstance(value, Mapping):
        return _walk(value.get(name), match, depth + 1, leaf)
    if isinstance(value, list | tuple):
        if name.isascii() and name.isdigit():
            position = int(name[:9])
            return _walk(value[position] if position < len(value) else None, match, depth + 1, leaf)
        return any(_walk(item, match, depth, leaf) for item in value)
    if value is None:
        return leaf(None)
    whole, part = selector_text(match.selector[:depth]), selector_text((name,))
    raise FilterError(f"{_place(match)}: {whole} is {_called(value)} and has no {part} in it")


def _holds(match: Match, value: Any) -> bool:
    """The answer before ``negated``."""
    if match.relation is Relation.EMPTY:
        if value is not None and not isinstance(value, str | Mapping | list | tuple):
            raise _unfit(match, value)
        return not value
    if value is None:
        return False
    if match.relation is Relation.IN:
        if isinstance(value, str | Mapping):
            return match.value in value
        if isinstance(value, list | tuple):
            return any(_equals(match, item) for item in value)
        raise _unfit(match, value)
    return _equals(match, value)


def _equals(match: Match, value: Any) -> bool:
    if isinstance(value, str):
        return value == match.value
    meant: float | bool | None = None
    if isinstance(value, bool):
        meant = as_flag(match.value)
    elif isinstance(value, int | float):
        meant = as_number(match.value)
    if meant is None:
        raise _unfit(match, value)
    return bool(value == meant)


def _unfit(match: Match, value: Any) -> FilterError:
    name, kind = selector_text(match.selector), _called(value)
    if match.relation is Relation.EQUAL and isinstance(value, int | float):
        return FilterError(
            f'{_place(match)}: {name} is {kind} and can\'t be compared with "{match.value[:40]}"'
        )
    hint = ': use "contains" or "in"' if isinstance(value, list | tuple | Mapping) else ""
    return FilterError(f'{_place(match)}: {name} is {kind} and can\'t be asked "{match.relation}"{hint}')


def _called(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list | tuple) else "an object"


def _place(match: Match) -> str:
    return f"character {match.position + 1}"
