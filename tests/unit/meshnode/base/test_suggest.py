"""Suggestions: near names are offered, far ones are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.suggest import closest, did_you_mean, edit_distance

KEYS = ("verify_incoming", "verify_incoming_rpc", "verify_outgoing", "data_dir", "ui")


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("encrypt", "encyrpt", 1), ("server", "sever", 1)],
)
def test_the_distance_counts_single_edits_and_swaps(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other) == edit_distance(other, one) == distance


def test_a_mistyped_name_brings_the_nearest_known_one() -> None:
    assert closest("verify_incomming", KEYS) == "verify_incoming"
    assert closest("datadir", KEYS) == "data_dir"
    assert did_you_mean("Data_Dir", KEYS) == ": did you mean data_dir?"


def test_a_far_name_brings_nothing() -> None:
    assert closest("telemetry", KEYS) is None
    assert did_you_mean("zz", KEYS) == ""


def test_a_very_long_word_is_not_compared() -> None:
    assert closest("x" * 81, ["x" * 82]) is None


@given(st.text(max_size=12), st.text(max_size=12))
def test_the_distance_is_bounded_by_the_longer_word(one: str, other: str) -> None:
    assert abs(len(one) - len(other)) <= edit_distance(one, other) <= max(len(one), len(other))
