"""The regular expressions of query filters."""

from __future__ import annotations

import random
import re
import warnings

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.serf.pattern import MAX_PATTERN_CHARS, matches


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
    assert matches(pattern, subject) is expected


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "[", "[b-a]", "*a", "a**", "a{2}{3}", r"\1", r"\p{L}", "(?=a)", "(?<=a)b", "[[:alpha:]]", "\\",
     "a{1001}", "a{3,2}"],
)  # fmt: skip
def test_what_is_malformed_or_not_supported_is_refused(pattern: str) -> None:
    with pytest.raises(RemoteProtocolError):
        matches(pattern, "a")


def test_expressions_that_blow_up_a_backtracking_engine_take_linear_time() -> None:
    assert not matches("^(a+)+$", "a" * 400 + "!")
    assert not matches("^(a|a)*(a|aa)*$", "a" * 400 + "!")
    assert matches(".*.*.*.*=.*", "x" * 400 + "=")


def test_the_length_and_the_compiled_size_are_bounded() -> None:
    assert not matches("a" * MAX_PATTERN_CHARS, "a")
    for pattern in ("a" * (MAX_PATTERN_CHARS + 1), "(a{100}){100}", "((){1000}){1000}", "(" * 60 + ")" * 60):
        with pytest.raises(RemoteProtocolError):
            matches(pattern, "a")


def test_random_expressions_agree_with_pythons_engine() -> None:
    seed = 11
    print(f"seed {seed}")
    rng = random.Random(seed)
    subjects = ("", "a", "ab1", "b-a", "aa bb", "B1")
    compared = 0
    for _ in range(20000):
        pattern = "".join(rng.choice("ab1-|().*+?[]^dwb{2}") for _ in range(rng.randint(1, 8)))
        try:
            ours = [matches(pattern, subject) for subject in subjects]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = [re.search(pattern, subject) is not None for subject in subjects]
        except (RemoteProtocolError, re.error):
            continue
        compared += 1
        assert ours == theirs, pattern
    assert compared > 5000
