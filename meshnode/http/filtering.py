"""``?filter=``: the one place where the rows of an answer go through a filter expression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from meshnode.base.later import Later
from meshnode.http.filter.fields import Fields
from meshnode.http.message import Request

if TYPE_CHECKING:
    from meshnode.http.filter import parse
else:
    parse = Later("meshnode.http.filter.parse")

__all__ = ["Rows", "filtered"]

#: Objects of an answer, ready for JSON.
Rows: TypeAlias = list[Mapping[str, Any]]


def filtered(request: Request, fields: Fields) -> Callable[[Rows], Rows]:
    """What leaves the rows that ``?filter=`` asks for; ``fields`` are those that the rows have.

    Raises ``FilterError`` (400) for an expression that can't be read, before any server is asked.
    """
    expression = request.query.get("filter") if request.raw_query else ""
    return parse.parse_filter(expression, fields).apply if expression else _as_they_are


def _as_they_are(rows: Rows) -> Rows:
    return rows
