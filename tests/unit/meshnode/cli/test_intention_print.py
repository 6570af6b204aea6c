"""Intentions in text."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.intention_print import intention_table, intention_text, positionals, title


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_a_time_is_that_of_the_place_as_go_prints_it() -> None:
    text = intention_text({"CreatedAt": "2018-06-27T17:53:05.123456789Z"})
    assert text.splitlines()[-1] == "Created At:   Thursday, 28-Jun-18 02:53:05 JST"


@pytest.mark.parametrize("at", ["", "never", "9999-99-99T00:00:00Z"])
def test_a_time_that_is_none_is_shown_as_it_is(at: str) -> None:
    assert intention_text({"CreatedAt": at}).splitlines()[-1] == f"Created At:   {at}".rstrip()


def test_what_others_wrote_does_not_move_the_cursor() -> None:
    text = intention_text({"Description": "a\x1b[2J\nb", "Meta": {"k\r": "\u202ev"}})
    assert "a\\x1b[2J\\nb" in text
    assert "Meta[k\\r]:" in text
    assert all(line.isprintable() for line in text.splitlines())


def test_fields_that_an_agent_leaves_out_are_empty() -> None:
    assert title({}) == " =>  ()"
    assert title({"SourceName": "a", "DestinationName": "b", "Permissions": [1]}) == "a => b (1 permission)"
    assert intention_table([{}]).splitlines()[0] == "ID  Source  Action  Destination  Precedence"


def test_as_many_arguments_are_taken_as_one_of_the_usages_has() -> None:
    parsed = FlagSet("x", "Usage: x").parse(["a", "b"])
    assert positionals(parsed, "SRC DST", "ID") == ("a", "b")
    with pytest.raises(FlagError, match="Error: give ID, not 2 arguments"):
        positionals(parsed, "ID")
    with pytest.raises(FlagError):
        positionals(FlagSet("x", "Usage: x").parse([""]), "ID")
    assert positionals(FlagSet("x", "Usage: x").parse(["b"]), "SRC DST", before=["a"]) == ("a", "b")
