"""Durations are read and printed as Go does: the vectors are those of Go's own documentation and tests."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.duration import (
    MAX_DURATION_CHARS,
    MAX_NANOSECONDS,
    format_duration,
    format_nanoseconds,
    parse_duration,
    parse_nanoseconds,
)
from meshnode.base.errors import ConfigError

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("5s", 5),
        ("30s", 30),
        ("1478s", 1478),
        ("-5s", -5),
        ("+5s", 5),
        ("-0", 0),
        ("5.0s", 5),
        ("5.6s", 5.6),
        ("5.s", 5),
        (".5s", 0.5),
        ("1.004s", 1.004),
        ("11us", 11e-6),
        ("12µs", 12e-6),
        ("12μs", 12e-6),
        ("13ms", 0.013),
        ("15m", 900),
        ("16h", 57600),
        ("3h30m", 12600),
        ("1h2m3.5s", 3723.5),
        ("10.5s4m", 250.5),
        ("-2m3.4s", -123.4),
        ("72h", 259200),
        ("100ms", 0.1),
    ],
)
def test_a_go_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "-",
        "s",
        ".",
        "-.",
        ".s",
        "+.s",
        "10",
        "1d",
        "1 s",
        " 1s",
        "1s ",
        "1e3s",
        "\uff11s",
        "\u0661s",
        "1S",
    ],
)
def test_what_is_no_duration_is_quoted_and_an_example_is_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration(text)
    assert f'"{text}" is not a duration' in str(caught.value)
    assert '"1m30s"' in str(caught.value)


def test_the_longest_duration_is_accepted_and_one_past_it_is_refused() -> None:
    assert parse_nanoseconds(f"{MAX_NANOSECONDS}ns") == MAX_NANOSECONDS
    with pytest.raises(ConfigError, match="too long a duration"):
        parse_nanoseconds(f"{MAX_NANOSECONDS + 1}ns")


def test_a_text_at_the_limit_is_read_and_one_past_it_is_refused() -> None:
    zeros = "0" * (MAX_DURATION_CHARS - 2)
    assert parse_nanoseconds(f"{zeros}1s") == SECOND
    with pytest.raises(ConfigError, match="is not a duration"):
        parse_nanoseconds(f"{zeros}01s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1e-9, "1ns"),
        (1.1e-6, "1.1µs"),
        (0.0022, "2.2ms"),
        (3.3, "3.3s"),
        (245, "4m5s"),
        (245.001, "4m5.001s"),
        (18367.001, "5h6m7.001s"),
        (480.000000001, "8m0.000000001s"),
        (259200, "72h0m0s"),
        (0.2, "200ms"),
        (-1.5, "-1.5s"),
    ],
)
def test_seconds_are_printed_as_go_prints_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=-MAX_NANOSECONDS, max_value=MAX_NANOSECONDS))
def test_printing_and_reading_a_duration_round_trips(nanoseconds: int) -> None:
    assert parse_nanoseconds(format_nanoseconds(nanoseconds)) == nanoseconds


@given(st.text(max_size=120) | st.text("0123456789.-+nuµmsh", max_size=120))
def test_any_text_ends_in_a_duration_or_in_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert abs(parse_nanoseconds(text)) <= MAX_NANOSECONDS
