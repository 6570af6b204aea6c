"""Linear regular expressions, with Python's backtracking engine as the foreign witness where both give an answer."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.base.regexp import MAX_PROGRAM_STEPS, Work, compile_regexp
from meshnode.base.regexp_syntax import MAX_GROUPS, MAX_PATTERN_CHARS, MAX_PATTERN_DEPTH, MAX_REPEAT

_atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", r"\.", "^", "$", r"\b"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("({})".format, inner),
        # Repetitions of one character only: Python and Go differ in the captures of empty repetitions.
        st.builds(
            "{}{}".format,
            st.sampled_from(["a", "b", ".", "[ab]", r"\d", "(a)", "(?:ab)"]),
            st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{1,}"]),
        ),
    )


_patterns = st.recursive(_atoms, _grown, max_leaves=8)


@settings(max_examples=300, deadline=None)
@given(_patterns, st.text("ab1. \n", max_size=8))
def test_it_finds_what_the_backtracking_engine_finds(pattern: str, subject: str) -> None:
    witness = re.search(pattern.replace("$", r"\Z"), subject)
    ours = compile_regexp(pattern)
    assert ours.search(subject) == (witness is not None)
    expected = None if witness is None else (witness[0], *(part or "" for part in witness.groups()))
    assert ours.match_groups(subject) == expected


@settings(max_examples=300, deadline=None)
@given(st.text(r"ab()[]{}^$|*+?.\,1-:<>Pi", max_size=20), st.text("ab1", max_size=5))
def test_any_text_is_an_expression_or_an_error_that_quotes_it(pattern: str, subject: str) -> None:
    refusal = ""
    try:
        compile_regexp(pattern).search(subject)
    except ConfigError as error:
        refusal = str(error)
    assert not refusal or "regular expression" in refusal


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "^(a*)*$", "(.*a){12}$", "((a?){9}a{9}){3}b"])
def test_expressions_that_explode_elsewhere_are_cheap(pattern: str) -> None:
    work = Work(2 * MAX_PROGRAM_STEPS * 61)
    assert not compile_regexp(pattern).search("a" * 60 + "!", work)


def test_a_place_where_no_match_can_start_costs_nothing() -> None:
    for pattern, subject in (("^a+b", "x" * 5000), ("needle.", "x" * 5000), ("^needle.", "x" * 5000)):
        work = Work(10)
        assert not compile_regexp(pattern).search(subject, work)
        assert work.left >= 6


def test_work_is_bounded_over_all_searches() -> None:
    pattern, measured = compile_regexp("a.*b.*c"), Work(1000)
    pattern.search("abab", measured)
    work = Work(2 * (1000 - measured.left))
    pattern.search("abab", work)
    pattern.search("abab", work)
    assert work.left == 0
    with pytest.raises(ConfigError, match="takes too long"):
        pattern.search("abab", work)


@pytest.mark.parametrize(
    ("pattern", "subject", "groups"),
    [
        (
            r"^geo-db-(.*?)-([^\-]+?)$",
            "geo-db-customer-primary",
            ("geo-db-customer-primary", "customer", "primary"),
        ),
        ("(?i)WEB(?P<n>[0-9]+)?", "a web", ("web", "")),
        ("a|ab", "ab", ("a",)),
        ("x{", "x{", ("x{",)),
        ("[]a]+", "a]", ("a]",)),
    ],
)
def test_groups_are_those_that_go_gives(pattern: str, subject: str, groups: tuple[str, ...]) -> None:
    assert compile_regexp(pattern).match_groups(subject) == groups


@pytest.mark.parametrize(
    ("pattern", "because"),
    [
        ("a(", "a \\( that is never closed, character 3"),
        ("a)", "a \\) that closes nothing, character 2"),
        ("*", "a repetition of nothing"),
        ("a**", "a repetition of a repetition"),
        ("[b-a]", "a range that runs backwards"),
        ("[a", "an end where more is needed"),
        (r"(a)\1", "an escape"),
        ("(?=a)", "a kind of group"),
        ("(?<=a)", "a look-behind"),
        ("[[:alpha:]]", "a named class"),
        (f"a{{{MAX_REPEAT + 1}}}", f"outside of 0 to {MAX_REPEAT}"),
        ("(" * MAX_PATTERN_DEPTH + ")" * MAX_PATTERN_DEPTH, "groups"),
        ("()" * (MAX_GROUPS + 1), f"more than {MAX_GROUPS} groups"),
        ("x" * (MAX_PATTERN_CHARS + 1), f"at most {MAX_PATTERN_CHARS}"),
        ("(?:a{1000}){3}", f"more than {MAX_PROGRAM_STEPS} steps"),
        ("(?:(?:){1000}){1000}", f"more than {MAX_PROGRAM_STEPS} steps"),
    ],
)
def test_what_is_refused_is_refused_with_its_reason(pattern: str, because: str) -> None:
    with pytest.raises(ConfigError, match=because):
        compile_regexp(pattern)


def test_bounds_hold_at_the_limit() -> None:
    assert compile_regexp("x" * MAX_PATTERN_CHARS).search("x" * MAX_PATTERN_CHARS)
    assert compile_regexp("(a)" * MAX_GROUPS).groups == MAX_GROUPS
    assert compile_regexp(f"a{{{MAX_REPEAT}}}").search("a" * MAX_REPEAT)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("", "", True),
        ("web", "my-web-1", True),
        ("^web$", "my-web-1", False),
        ("^(ours|theirs)1$", "theirs1", True),
        ("^web-[0-9]{2,3}$", "web-1", False),
        ("^web-[0-9]{2,3}$", "web-123", True),
        ("^[^a-c]+$", "xyz", True),
        ("^[]x-]+$", "x]-", True),
        (r"^\d+\.\d+$", "1.25", True),
        (r"^\d+\.\d+$", "1x25", False),
        (r"\bdc1\b", "a dc1 b", True),
        (r"\bdc1\b", "adc1b", False),
        (r"\Aa\z", "a", True),
        ("(?i)WEB", "web", True),
        ("(?i:W)eb", "wEB", False),
        ("a(?:b|)c", "ac", True),
        ("(?P<name>a)+?", "b", False),
        ("a{,2}", "a{,2}", True),
        (".", "\n", False),
        (r"[\w-]+\s[\]x]", "a-b ]", True),
        ("é", "café", True),
    ],
)
def test_expressions_match_as_re2_has_it(pattern: str, subject: str, expected: bool) -> None:
    assert compile_regexp(pattern).search(subject) is expected
