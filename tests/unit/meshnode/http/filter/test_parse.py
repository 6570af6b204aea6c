"""Filter expressions: what parses to what, what is refused and how, and that any text ends in one of the two."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.http.filter.fields import HEALTH_SERVICE
from meshnode.http.filter.parse import MAX_FILTER_DEPTH, MAX_SELECTOR_PARTS, parse_expression, parse_filter
from meshnode.http.filter.scan import MAX_FILTER_CHARS, FilterError
from meshnode.http.filter.tree import AllOf, AnyOf, Expression, Match, Not, Relation, serialize
from tests.support.filter_expressions import expressions

A = Match(("a",), Relation.EQUAL, "1")
B = Match(("b",), Relation.EQUAL, "2")
C = Match(("c",), Relation.EQUAL, "3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Service.Meta.version == "1"', Match(("Service", "Meta", "version"), Relation.EQUAL, "1")),
        ("Service.Port != 80", Match(("Service", "Port"), Relation.EQUAL, "80", negated=True)),
        ("Port==-1.5", Match(("Port",), Relation.EQUAL, "-1.5")),
        ('"web" in Service.Tags', Match(("Service", "Tags"), Relation.IN, "web")),
        ("web not in Tags", Match(("Tags",), Relation.IN, "web", negated=True)),
        ("ServiceTags contains `x`", Match(("ServiceTags",), Relation.IN, "x")),
        ('ServiceTags not contains "x"', Match(("ServiceTags",), Relation.IN, "x", negated=True)),
        ("Meta is empty", Match(("Meta",), Relation.EMPTY)),
        ("Meta is not empty", Match(("Meta",), Relation.EMPTY, negated=True)),
        ("Node matches `^n\\d`", Match(("Node",), Relation.MATCHES, "^n\\d")),
        ('Node not matches "x"', Match(("Node",), Relation.MATCHES, "x", negated=True)),
        ('Meta["my key"].x == "\\"\\n\\u00e9"', Match(("Meta", "my key", "x"), Relation.EQUAL, '"\né')),
        ('"/Service/Meta/a~1b~0c" == "1"', Match(("Service", "Meta", "a/b~c"), Relation.EQUAL, "1")),
        ('"/x" in Tags', Match(("Tags",), Relation.IN, "/x")),
        ('x in "/Node/Meta"', Match(("Node", "Meta"), Relation.IN, "x")),
        ("a == b.c", Match(("a",), Relation.EQUAL, "b.c")),
        ("Checks.0.Status == x", Match(("Checks", "0", "Status"), Relation.EQUAL, "x")),
        ("\t( a == 1\n)", A),
        ("not a == 1", Not(A)),
        ("not(a == 1)", Not(A)),
        ("a == 1 or b == 2 and c == 3", AnyOf((A, AllOf((B, C))))),
        ("(a == 1 or b == 2) and c == 3", AllOf((AnyOf((A, B)), C))),
        ("not a == 1 and b == 2", AllOf((Not(A), B))),
        ("a == 1 or b == 2 or c == 3", AnyOf((A, B, C))),
    ],
)
def test_an_expression_means_what_consul_documents(text: str, expected: Expression) -> None:
    assert parse_expression(text) == expected


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("", "it is empty: write for instance"),
        ("  ", "it is empty"),
        ("a = 1", "character 3 is '=': write \"==\" for equal"),
        ("a == 'x'", 'character 6 is "\'": quote with'),
        ('a == "x', "character 6 is '\"': a quoted text is never closed"),
        ("a == `x", "a quoted text is never closed"),
        ("a == 1 && b == 2", "character 8 is '&': write \"and\""),
        ("a > 1", "character 3 is '>': there is no order"),
        ("a == web-1", "character 9 is '-': quote a value"),
        ("a == 10.0.0.1", 'character 10: expected "and", "or" or the end, found ".": quote a value'),
        ('a == "\\q"', "character 7 starts the unknown escape"),
        ("a", 'character 2: expected "==", .* found the end'),
        ("a contain 1", r'character 3: expected .* found "contain": did you mean contains\?'),
        ("a ==", "character 5: expected a value, found the end"),
        ("a == and", 'character 6: expected a value, found "and": quote it if it is a value'),
        ("a is 1", 'character 6: expected "empty" or "not empty", found "1": write "=="'),
        ("a is not 1", 'expected "empty", found "1"'),
        ("(a == 1", 'character 8: expected "and", "or" or "\\)", found the end'),
        ("a == 1)", 'character 7: expected "and", "or" or the end, found "\\)"'),
        ("a == 1 b == 2", 'character 8: expected "and", "or" or the end, found "b"'),
        ("a[b] == 1", "character 3: expected a quoted key"),
        ('a["b" == 1', 'expected "]"'),
        ("a. == 1", "expected a name after the dot"),
        ('"a" == 1', 'character 1: expected a selector, found the value "a"'),
        ("1 is empty", "character 1: expected a selector"),
        ('x in "tags"', 'character 6: expected a selector, found the value "tags"'),
        ("a matches `(`", "character 1: the regular expression"),
        ("not", "character 4: expected a selector, a value"),
    ],
)
def test_a_refusal_names_the_place_and_the_fix(text: str, because: str) -> None:
    with pytest.raises(FilterError, match=f"^Invalid filter: .*{because}") as refused:
        parse_filter(text)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("Service.Met.x == 1", r"character 1: Service.Met.x is no field of these rows"),
        ("Service.Prot == 1", r"Service.Prot is no field of these rows: did you mean Service.Port\?"),
        ("Port == 1", r"Port is no field of these rows: did you mean Service.Port\?"),
        ("Nothing == 1", "Nothing is no field of these rows: it has Node.ID, "),
        ("Service == web", r"Service is a struct: name a field in it, such as Service.Address"),
        ("Service.Meta.a.b == 1", "is no field"),
        ("Service.Tags == x", 'Service.Tags is a list of texts and can\'t be asked "==": use "contains"'),
        ("Service.Port matches x", "Service.Port is a number and can't be asked"),
        ("x == 1 and Service.Port == web", "x is no field"),
        ("Service.Port == web", 'Service.Port is a number and can\'t be compared with "web"'),
        ("Service.EnableTagOverride == yes", 'is true or false and can\'t be compared with "yes"'),
    ],
)
def test_rows_of_known_fields_are_not_asked_for_others(text: str, because: str) -> None:
    with pytest.raises(FilterError, match=because):
        parse_filter(text, HEALTH_SERVICE)


@pytest.mark.parametrize(
    "text",
    [
        'Service.Meta.version == "1"',
        'Node.Datacenter == dc1 and Checks.Status != "passing"',
        '"web" in Service.Tags',
        "Service.Connect.Native == true or Service.Proxy.Upstreams is empty",
        'Node.TaggedAddresses["wan"] == "10.0.0.1"',
    ],
)
def test_rows_of_known_fields_are_asked_for_those(text: str) -> None:
    parse_filter(text, HEALTH_SERVICE)


def test_bounds_hold_at_the_limit_and_one_past_it() -> None:
    parse_filter("a == `" + "x" * (MAX_FILTER_CHARS - 7) + "`")
    with pytest.raises(FilterError, match=f"at most {MAX_FILTER_CHARS} are allowed"):
        parse_filter("a == `" + "x" * (MAX_FILTER_CHARS - 6) + "`")
    deepest = MAX_FILTER_DEPTH - 1
    parse_filter("(" * deepest + "a == 1" + ")" * deepest)
    with pytest.raises(FilterError, match=f"more than {MAX_FILTER_DEPTH} deep"):
        parse_filter("not " * MAX_FILTER_DEPTH + "a == 1")
    parse_filter(".".join(["a"] * MAX_SELECTOR_PARTS) + " == 1")
    with pytest.raises(FilterError, match=f"at most {MAX_SELECTOR_PARTS}"):
        parse_filter(".".join(["a"] * (MAX_SELECTOR_PARTS + 1)) + " == 1")


@settings(deadline=None)
@given(expressions)
def test_an_expression_survives_the_round_trip(expression: Expression) -> None:
    assert parse_expression(serialize(expression)) == expression


_words = st.sampled_from(
    ["a", "and", "or", "not", "in", "is", "empty", "contains", "matches", "==", "!=", "(", ")", ".", "[", "]",
     '"x"', "`y`", "1", "-1.5", " ", " ", "\\", '"', "'", "é", "\x00"]
)  # fmt: skip
#: Whole ones, so that some of what is put together can be read.
_matches = st.sampled_from(
    ["a == 1", "b.c is empty", '"x" in a', "not a != `y`", "(a matches x)", "and", "or", "é"]
)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(_matches, max_size=4).map(" ".join)
    | st.lists(_words, max_size=12).map(" ".join)
    | st.lists(_words, max_size=12).map("".join)
    | st.text()
)
def test_any_text_is_a_filter_or_an_error_of_status_400(text: str) -> None:
    try:
        found = parse_expression(text)
    except FilterError as error:
        status = error.status
    else:
        status = 200
        assert parse_expression(serialize(found)) == found
    assert status in {200, 400}
