"""A budget gives what it has and no byte more."""

from __future__ import annotations

from meshnode.prove.budget import Budget


def test_it_gives_up_to_the_last_byte() -> None:
    budget = Budget(10)
    assert budget.take(10)
    assert not budget.take(1)
    budget.give_back(4)
    assert not budget.take(5)
    assert budget.take(4)
