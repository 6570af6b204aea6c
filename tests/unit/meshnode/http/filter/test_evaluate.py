"""Whether rows match: against a naive evaluator, and case by case as Consul documents it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings

from meshnode.http.filter.parse import parse_filter
from meshnode.http.filter.scan import FilterError
from meshnode.http.filter.tree import AllOf, AnyOf, Expression, Match, Not, Relation, serialize
from tests.support.filter_expressions import expressions, rows

ROW: dict[str, Any] = {
    "Node": {"Node": "n1", "Datacenter": "dc1", "Meta": None},
    "Service": {
        "Service": "web",
        "Tags": ["v1", "blue"],
        "Meta": {"version": "1", "a.b": "x", "empty": ""},
        "Port": 8080,
        "EnableTagOverride": False,
        "Weights": {"Passing": 1.5},
    },
    "Checks": [{"Status": "passing"}, {"Status": "critical"}],
}


def naive(expression: Expression, row: dict[str, Any]) -> bool:
    """As a beginner would write it, for the rows of ``filter_expressions`` only."""
    match expression:
        case Not(part):
            return not naive(part, row)
        case AllOf(parts):
            return all(naive(part, row) for part in parts)
        case AnyOf(parts):
            return any(naive(part, row) for part in parts)
        case Match(("Items", "Text"), relation, value, negated):
            return any(naive(Match(("Text",), relation, value, negated), item) for item in row["Items"])
        case Match(selector, relation, value, negated):
            found: Any = row
            for name in selector:
                found = None if found is None else found.get(name)
            return naive_question(relation, value, found) != negated


def naive_question(relation: Relation, value: str, found: Any) -> bool:
    if relation is Relation.EMPTY:
        return found is None or len(found) == 0
    if found is None:
        return False
    if relation is Relation.MATCHES:
        return re.search(value, found) is not None
    if relation is Relation.IN:
        return value in found
    if isinstance(found, bool):
        return found == (value == "true")
    return float(found) == float(value) if isinstance(found, int | float) else bool(found == value)


@settings(max_examples=300, deadline=None)
@given(expressions, rows)
def test_what_is_written_and_read_again_answers_as_the_naive_evaluator(
    expression: Expression, row: dict[str, Any]
) -> None:
    assert parse_filter(serialize(expression)).matches(row) == naive(expression, row)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Service.Meta.version == "1"', True),
        ("Service.Meta.version == 1", True),
        ('Service.Meta["a.b"] == x', True),
        ('"/Service/Meta/a.b" == x', True),
        ("Service.Meta.gone == 1", False),
        ("Service.Meta.gone != 1", True),
        ("Service.Meta.gone is empty", True),
        ("Service.Meta.empty is empty", True),
        ("Service.Meta.gone matches `.`", False),
        ("Service.Meta.gone not matches `.`", True),
        ("version in Service.Meta", True),
        ("Service.Meta not contains gone", True),
        ("Node.Meta.x == 1", False),
        ("x in Node.Meta", False),
        ("Node.Meta is empty", True),
        ('"we" in Service.Service', True),
        ("v1 in Service.Tags", True),
        ("v in Service.Tags", False),
        ("Service.Port == 8080 and Service.Port != 80", True),
        ("Service.Weights.Passing == 1.5", True),
        ("Service.EnableTagOverride == F", True),
        ("Checks.Status != passing", True),
        ("not Checks.Status == passing", False),
        ("Checks.0.Status == critical", False),
        ("Checks.1.Status == critical", True),
        ("Checks.2.Status == critical", False),
        ("Node.Node matches `^n[0-9]$`", True),
    ],
)
def test_a_row_matches_as_documented(text: str, expected: bool) -> None:
    assert parse_filter(text).matches(ROW) is expected


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("Service.Port == web", 'Service.Port is a number and can\'t be compared with "web"'),
        ("Service.Port matches 8", "Service.Port is a number and can't be asked"),
        ("8 in Service.Port", "Service.Port is a number"),
        ("Service.Port is empty", "Service.Port is a number"),
        ("Service.Tags == v1", 'Service.Tags is a list and can\'t be asked "==": use "contains" or "in"'),
        ("Service == web", "Service is an object"),
        ("Service.Port.x == 1", "Service.Port is a number and has no x in it"),
        ("Service.Service.x == 1", "Service.Service is text and has no x in it"),
    ],
)
def test_what_a_value_can_not_be_asked_is_an_error_with_its_place(text: str, because: str) -> None:
    with pytest.raises(FilterError, match=f"character [0-9]+: .*{because}"):
        parse_filter(text).matches(ROW)


def test_the_rows_that_match_keep_their_order() -> None:
    listed = [{"N": name} for name in ("b1", "a1", "b2")]
    assert parse_filter("N matches b").apply(listed) == [{"N": "b1"}, {"N": "b2"}]


def test_a_pattern_that_explodes_elsewhere_is_just_false() -> None:
    assert not parse_filter("N matches `^(a+)+$`").matches({"N": "a" * 5000 + "!"})


def test_the_regular_expressions_of_one_filter_have_one_budget_for_all_rows() -> None:
    patient = parse_filter("N matches `(.*a){20}b`")
    listed = [{"N": "a" * 100}] * 3000
    assert patient.apply(listed[:1]) == []
    with pytest.raises(FilterError, match="character 1: the regular expression takes too long"):
        patient.apply(listed)
    with pytest.raises(FilterError, match="takes too long"):
        patient.matches({"N": "a"})
