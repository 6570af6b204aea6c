"""Flags read as in Go: each form, each refusal, and the help text."""

from __future__ import annotations

import contextlib
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.goflags import FlagError, FlagSet, HelpRequested, parse_boolean

FLAGS = FlagSet("kv get", "Usage: consul kv get [options] KEY", "Prints a value.")
TOKEN = FLAGS.string("token", "ACL token.", env="CONSUL_HTTP_TOKEN", group="HTTP API Options")
RECURSE = FLAGS.boolean("recurse", "Print every key below KEY.")
SHELL = FLAGS.boolean("shell", "Use a shell.", default=True)
COUNT = FLAGS.integer("n", "How many.", default=1, minimum=0, maximum=5)
WAIT = FLAGS.duration("wait", "How long.", default=2.0)
META = FLAGS.strings("node-meta", "Filter.")


@pytest.mark.parametrize("args", [["-token", "x"], ["-token=x"], ["--token", "x"], ["--token=x"]])
def test_a_value_follows_a_space_or_an_equals_sign_after_one_dash_or_two(args: list[str]) -> None:
    assert FLAGS.parse(args)[TOKEN] == "x"


@pytest.mark.parametrize(
    ("args", "value"),
    [
        (["-recurse"], True),
        (["--recurse"], True),
        (["-recurse=false"], False),
        (["-recurse=1"], True),
        ([], False),
    ],
)
def test_a_boolean_stands_alone_or_takes_its_value_after_an_equals_sign(args: list[str], value: bool) -> None:
    assert FLAGS.parse(args)[RECURSE] is value


def test_a_word_after_a_boolean_is_a_positional() -> None:
    parsed = FLAGS.parse(["-recurse", "false"])
    assert parsed[RECURSE] is True
    assert parsed.positionals == ("false",)


def test_a_boolean_that_is_true_by_default_can_be_turned_off() -> None:
    assert FLAGS.parse([])[SHELL] is True
    assert FLAGS.parse(["-shell=false"])[SHELL] is False


def test_a_value_may_be_empty_or_hold_equals_signs_or_begin_with_a_dash() -> None:
    assert FLAGS.parse(["-token="])[TOKEN] == ""
    assert FLAGS.parse(["-token=a=b=="])[TOKEN] == "a=b=="
    assert FLAGS.parse(["-token", "-recurse"])[TOKEN] == "-recurse"


def test_a_repeated_flag_wins_over_its_earlier_self_and_a_list_grows() -> None:
    parsed = FLAGS.parse(["-token", "a", "-node-meta", "x=1", "-token", "b", "-node-meta=y=2"])
    assert parsed[TOKEN] == "b"
    assert parsed[META] == ("x=1", "y=2")


def test_numbers_and_durations_are_typed() -> None:
    parsed = FLAGS.parse(["-n", "3", "-wait=1m30s"])
    assert parsed[COUNT] == 3
    assert parsed[WAIT] == 90.0


def test_flags_end_at_the_first_positional_and_at_two_dashes() -> None:
    assert FLAGS.parse(["key", "-recurse"]).positionals == ("key", "-recurse")
    assert FLAGS.parse(["--", "-recurse"]).positionals == ("-recurse",)
    assert FLAGS.parse(["-", "x"]).positionals == ("-", "x")


def test_flags_written_after_a_positional_can_be_named() -> None:
    assert FLAGS.parse(["key", "-recurse", "-1", "--token=x"]).misplaced() == ("-recurse", "--token=x")


def test_what_was_given_is_told_from_a_default() -> None:
    parsed = FLAGS.parse(["-n", "1"])
    assert parsed.given(COUNT)
    assert not parsed.given(TOKEN)
    assert parsed.given_names() == {"n"}


def test_the_environment_is_used_when_the_flag_is_absent() -> None:
    environ = {"CONSUL_HTTP_TOKEN": "from-environment"}
    assert FLAGS.parse([], environ)[TOKEN] == "from-environment"
    assert not FLAGS.parse([], environ).given(TOKEN)
    assert FLAGS.parse(["-token", "from-flag"], environ)[TOKEN] == "from-flag"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-tokne", "x"], "flag provided but not defined: -tokne: did you mean -token?"),
        (["-zzzzzz"], "flag provided but not defined: -zzzzzz"),
        (["-token"], "flag needs an argument: -token"),
        (["---token"], "bad flag syntax: ---token"),
        (["-=x"], "bad flag syntax: -=x"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-n", "x"], 'flag -n: "x" is not a whole number'),
        (["-n", "6"], "flag -n: 6 is too large: the largest is 5"),
        (["-n", "-1"], "flag -n: -1 is too small: the smallest is 0"),
        (["-recurse=maybe"], 'flag -recurse: "maybe" is not a boolean: write true or false'),
        (["-wait", "10"], 'flag -wait: "10" is not a duration'),
    ],
)
def test_a_command_line_that_cannot_be_read_is_refused_by_name(args: list[str], message: str) -> None:
    with pytest.raises(FlagError) as caught:
        FLAGS.parse(args)
    assert str(caught.value).startswith(message)


def test_a_bad_environment_variable_is_named() -> None:
    flags = FlagSet("x", "Usage: x")
    flags.boolean("ssl", "TLS.", env="CONSUL_HTTP_SSL")
    with pytest.raises(FlagError, match="environment variable CONSUL_HTTP_SSL"):
        flags.parse([], {"CONSUL_HTTP_SSL": "maybe"})


def test_positionals_can_be_refused_and_the_flag_behind_them_is_shown() -> None:
    FLAGS.parse(["-recurse"]).reject_positionals()
    with pytest.raises(FlagError, match="kv get takes no arguments, got 'key': -recurse must come before it"):
        FLAGS.parse(["key", "-recurse"]).reject_positionals()


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_help_is_the_usage_with_each_flag_its_meaning_and_default(flag: str) -> None:
    with pytest.raises(HelpRequested) as caught:
        FLAGS.parse([flag])
    text = str(caught.value)
    assert text.startswith("Usage: consul kv get [options] KEY\n\n  Prints a value.\n\nHTTP API Options\n\n")
    assert "  -token=<value>\n     ACL token. The environment variable" in text
    assert "CONSUL_HTTP_TOKEN does the" in text
    assert "  -recurse\n     Print every key below KEY.\n" in text
    assert "  -shell\n     Use a shell. The default is true." in text
    assert "  -wait=<duration>\n     How long. The default is 2s." in text
    assert text.index("HTTP API Options") < text.index("Command Options")


def test_a_paragraph_that_is_too_long_is_filled_and_what_is_set_out_stays_as_it_is() -> None:
    long = "Words with a flag such as -no-merge, " * 5
    example = "  consul kv get -recurse foo \\\n      -separator=/ " + "x" * 80
    text = FlagSet("a", "Usage: a", f"\nShort,\nin lines.\n\n{long}\n\n{example}\n").help()
    head, lines, paragraph, shown = text.rstrip("\n").split("\n\n")
    assert (head, lines) == ("Usage: a", "  Short,\n  in lines.")
    assert shown == textwrap.indent(example, "  ")
    assert " ".join(paragraph.split()) == long.strip()
    assert paragraph.count("-no-merge") == 5, "no flag is broken at its hyphens"
    filled = paragraph.split("\n")
    assert len(filled) == 3
    assert all(line.startswith("  ") and len(line) <= 78 for line in filled)


def test_a_shared_set_of_flags_is_taken_over() -> None:
    flags = FlagSet("kv put", "Usage: consul kv put")
    flags.include(FLAGS)
    assert flags.parse(["-token", "x"])[TOKEN] == "x"
    assert flags.names() == FLAGS.names()


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_every_true_of_go_is_true(text: str) -> None:
    assert parse_boolean(text) is True


@given(st.text(), st.lists(st.text()), st.booleans())
def test_any_value_and_any_positionals_round_trip(token: str, positionals: list[str], recurse: bool) -> None:
    parsed = FLAGS.parse([f"-recurse={str(recurse).lower()}", f"-token={token}", "--", *positionals])
    assert (parsed[TOKEN], parsed[RECURSE], parsed.positionals) == (token, recurse, tuple(positionals))


@given(
    st.lists(
        st.text("-=nhtoken1 ", max_size=8) | st.sampled_from(["-n", "-wait", "-node-meta", "1", "-recurse"])
    )
)
def test_any_command_line_ends_in_values_in_help_or_in_a_flag_error(args: list[str]) -> None:
    with contextlib.suppress(FlagError, HelpRequested):
        FLAGS.parse(args)
