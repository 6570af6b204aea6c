"""Tombstones keep the index of lists; reaping and taking back."""

from __future__ import annotations

import pytest

from meshnode.kv.graveyard import Graveyard, prefix_end


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("", None),
        ("a", "b"),
        ("a/", "a0"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff\U0010ffff", None),
        ("\ud7ff", "\ud800"),
    ],
)
def test_the_end_of_a_prefix_is_past_all_that_starts_with_it(prefix: str, end: str | None) -> None:
    assert prefix_end(prefix) == end
    if end is not None:
        assert prefix + "\U0010ffff" * 3 < end


@pytest.fixture
def graveyard() -> Graveyard:
    graveyard = Graveyard()
    graveyard.bury("a/x", 5)
    graveyard.bury("a/y", 7)
    graveyard.bury("b", 6)
    graveyard.fell("a/sub/", 8)
    return graveyard


@pytest.mark.parametrize(
    ("prefix", "index"),
    [
        ("", 8),
        ("a/", 8),
        ("a/x", 5),
        ("a/y", 7),
        ("b", 6),
        ("b/", 0),
        ("a/sub/deep/", 8),
        ("a/s", 8),
        ("c", 0),
    ],
)
def test_the_last_deletion_under_a_prefix_counts_a_tree_above_it_as_well(
    graveyard: Graveyard, prefix: str, index: int
) -> None:
    assert graveyard.last_index(prefix) == index


def test_a_key_that_is_deleted_again_moves_its_stone(graveyard: Graveyard) -> None:
    graveyard.bury("a/x", 9)
    assert graveyard.last_index("a/x") == 9
    assert len(graveyard.stones) == 3


def test_reaping_forgets_what_is_old_and_keeps_a_floor(graveyard: Graveyard) -> None:
    assert graveyard.reap(4) == 0
    assert graveyard.floor == 0
    assert graveyard.reap(6) == 2
    assert graveyard.floor == 6
    assert graveyard.last_index("a/x") == 0
    assert graveyard.last_index("a/") == 8
    assert graveyard.reap(100) == 2
    assert (graveyard.floor, graveyard.stones, graveyard.trees) == (8, {}, {})
    assert graveyard.last_index("") == 0


def test_each_burial_can_be_taken_back(graveyard: Graveyard) -> None:
    before = (dict(graveyard.stones), dict(graveyard.trees))
    undo = [
        graveyard.bury("a/x", 20),
        graveyard.bury("new", 20),
        graveyard.fell("a/sub/", 20),
        graveyard.fell("n", 20),
    ]
    for step in reversed(undo):
        step()
    assert (graveyard.stones, graveyard.trees) == before
    assert graveyard.last_index("n") == 0
    assert graveyard.last_index("a/") == 8
