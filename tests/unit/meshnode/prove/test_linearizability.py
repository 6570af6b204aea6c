"""The judge itself is judged: histories known to be right pass, and each way of being wrong is seen."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.prove.linearizability import Kind, Operation, Outcome, UndecidedError, violations

PUT, CAS, GET, DELETE = Kind.PUT, Kind.CAS, Kind.GET, Kind.DELETE
OK, REFUSED, FAILED, UNKNOWN = Outcome.OK, Outcome.REFUSED, Outcome.FAILED, Outcome.UNKNOWN


def op(
    kind: Kind,
    value: str | None,
    invoked: float,
    responded: float,
    outcome: Outcome = OK,
    expected: str | None = None,
) -> Operation:
    return Operation(0, kind, "k", value, outcome, invoked, responded, expected)


RIGHT = {
    "nothing": [],
    "a key begins without a value": [op(GET, None, 0, 1)],
    "a read sees the write before it": [op(PUT, "a", 0, 1), op(GET, "a", 2, 3)],
    "a read during a write sees either": [op(PUT, "a", 0, 5), op(GET, None, 1, 2), op(GET, "a", 3, 4)],
    "writes at once happen in any order": [op(PUT, "a", 0, 5), op(PUT, "b", 0, 5), op(GET, "a", 6, 7)],
    "an answer and a call at one moment are at once": [op(PUT, "a", 0, 1), op(GET, None, 1, 2)],
    "a cas of what is there": [op(PUT, "a", 0, 1), op(CAS, "b", 2, 3, expected="a"), op(GET, "b", 4, 5)],
    "a cas of what is not there": [op(PUT, "a", 0, 1), op(CAS, "b", 2, 3, REFUSED, expected="x"), op(GET, "a", 4, 5)],
    "a delete": [op(PUT, "a", 0, 1), op(DELETE, None, 2, 3), op(GET, None, 4, 5)],
    "a failed write never shows": [op(PUT, "a", 0, 1, FAILED), op(GET, None, 2, 3)],
    "a write in doubt that never happened": [op(PUT, "a", 0, 1, UNKNOWN), op(GET, None, 2, 3)],
    "a write in doubt that happened long after": [
        op(PUT, "a", 0, 1, UNKNOWN), op(GET, None, 2, 3), op(PUT, "b", 4, 5), op(GET, "a", 6, 7),
    ],
    "a cas in doubt": [
        op(PUT, "a", 0, 1), op(CAS, "b", 2, 3, UNKNOWN, expected="a"), op(GET, "a", 4, 5), op(GET, "b", 6, 7),
    ],
    "a delete in doubt": [op(PUT, "a", 0, 1), op(DELETE, None, 2, 3, UNKNOWN), op(GET, None, 4, 5)],
    "a write in doubt, unread, is why a cas was refused": [
        op(PUT, "a", 0, 1), op(PUT, "b", 2, 3, UNKNOWN), op(CAS, "c", 4, 5, REFUSED, expected="a"),
    ],
}  # fmt: skip
WRONG = {
    "a stale read": [op(PUT, "a", 0, 1), op(PUT, "b", 2, 3), op(GET, "a", 4, 5)],
    "a lost update": [op(PUT, "a", 0, 1), op(GET, None, 2, 3)],
    "a deleted value comes back": [
        op(PUT, "a", 0, 1), op(DELETE, None, 2, 3), op(GET, None, 4, 5), op(GET, "a", 6, 7),
    ],
    "one value is swapped twice": [
        op(PUT, "a", 0, 1), op(CAS, "b", 2, 5, expected="a"), op(CAS, "c", 2, 5, expected="a"),
    ],
    "a cas was refused though the value was there": [
        op(PUT, "a", 0, 1), op(CAS, "b", 2, 3, REFUSED, expected="a"), op(GET, "a", 4, 5),
    ],
    "a cas that was answered with false was made": [
        op(PUT, "a", 0, 1), op(CAS, "b", 2, 3, REFUSED, expected="x"), op(GET, "b", 4, 5),
    ],
    "reads go back in time": [op(PUT, "a", 0, 9), op(GET, "a", 1, 2), op(GET, None, 3, 4)],
    "a value from nowhere": [op(GET, "a", 0, 1)],
    "a failed write shows": [op(PUT, "a", 0, 1, FAILED), op(GET, "a", 2, 3)],
    "a write shows before it was asked for": [op(GET, "a", 0, 1), op(PUT, "a", 2, 3)],
    "a write in doubt happens twice": [
        op(PUT, "a", 0, 1, UNKNOWN), op(GET, "a", 2, 3), op(PUT, "b", 4, 5), op(GET, "b", 6, 7), op(GET, "a", 8, 9),
    ],
    "two readers disagree on the order": [
        op(PUT, "a", 0, 1), op(PUT, "b", 0, 9), op(PUT, "c", 0, 9),
        op(GET, "b", 2, 3), op(GET, "c", 4, 5), op(GET, "b", 6, 7),
    ],
}  # fmt: skip


@pytest.mark.parametrize("history", RIGHT.values(), ids=RIGHT)
def test_what_one_order_explains_is_linearizable(history: list[Operation]) -> None:
    assert violations(history) == []


@pytest.mark.parametrize("history", WRONG.values(), ids=WRONG)
def test_what_no_order_explains_is_named_with_where_it_got_stuck(history: list[Operation]) -> None:
    (found,) = violations(history)
    assert found.key == "k"
    assert "no order" in str(found)


def test_keys_are_judged_by_themselves() -> None:
    wrong = [replace(each, key="other") for each in WRONG["a stale read"]]
    assert [found.key for found in violations([*RIGHT["a delete"], *wrong])] == ["other"]


def test_a_value_under_two_indexes_was_written_twice() -> None:
    reads = [replace(op(GET, "a", 2 * n, 2 * n + 1), index=n + 4) for n in (1, 2)]
    (found,) = violations([op(PUT, "a", 0, 1), *reads])
    assert "index 5 and index 6" in found.why


def test_a_search_without_an_end_is_given_up() -> None:
    at_once = [op(CAS, f"{n}", 0, 9, expected=f"{n + 1}") for n in range(12)]
    with pytest.raises(UndecidedError):
        violations([*(op(PUT, f"v{n}", 0, 9) for n in range(12)), *at_once], max_steps=100)


def simulate(seed: int, count: int, clients: int = 6, doubt: float = 0.05) -> list[Operation]:
    """A correct register under concurrent clients: each operation happens at one moment between call and answer."""
    rng = random.Random(seed)
    value: str | None = None
    history = []
    free = [0.0] * clients
    moments = []
    for number in range(count):
        client = rng.randrange(clients)
        begins = free[client] + rng.random()
        happens, ends = sorted(begins + 2 * rng.random() for _ in range(2))
        free[client] = ends
        moments.append((happens, number, client, begins, ends, rng.choice(list(Kind)), rng.random() < doubt))
    recent: list[str | None] = [None]
    for _, number, client, begins, ends, kind, doubtful in sorted(moments):
        outcome, expected, written = OK, None, f"v{number}"
        if kind is CAS:
            expected = rng.choice(recent[-2:])
            outcome = OK if expected == value else REFUSED
        shown = value if kind is GET else None if kind is DELETE else written
        if doubtful:
            outcome = UNKNOWN
        happened = not doubtful or rng.random() < 0.5
        if happened and kind is not GET and not (kind is CAS and expected != value):
            value = None if kind is DELETE else written
            recent.append(value)
        history.append(Operation(client, kind, "k", shown, outcome, begins, ends, expected))
    return history


@given(st.integers(0, 2**32))
def test_a_simulated_register_is_linearizable(seed: int) -> None:
    assert violations(simulate(seed, 60)) == []


@given(st.integers(0, 2**32))
def test_a_read_of_a_value_two_writes_old_is_always_seen(seed: int) -> None:
    history = simulate(seed, 40, doubt=0)
    end = max(each.responded for each in history) + 1
    history += [op(PUT, "x", end, end + 1), op(PUT, "y", end + 2, end + 3), op(GET, "x", end + 4, end + 5)]
    assert violations(history) != []


@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_the_search_agrees_with_trying_every_order(seed: int, rng: random.Random) -> None:
    history = simulate(seed, 5, clients=3, doubt=0.2)
    position = rng.randrange(len(history))
    changed = replace(history[position], value=rng.choice([None, *(each.value for each in history)]))
    if changed.kind is GET:
        history[position] = changed
    assert (violations(history) == []) == any_order_explains(history)


def any_order_explains(history: list[Operation]) -> bool:
    known = [each for each in history if each.outcome is not UNKNOWN]
    doubtful = [each for each in history if each.outcome is UNKNOWN and each.kind is not GET]
    for count in range(len(doubtful) + 1):
        for happened in itertools.combinations(doubtful, count):
            for order in itertools.permutations([*known, *happened]):
                if follows_time(order) and explains(order):
                    return True
    return False


def follows_time(order: tuple[Operation, ...]) -> bool:
    return not any(
        later.outcome is not UNKNOWN and later.responded < earlier.invoked
        for earlier, later in itertools.combinations(order, 2)
    )


def explains(order: tuple[Operation, ...]) -> bool:
    value: str | None = None
    for each in order:
        if each.kind is GET and each.value != value:
            return False
        if each.kind is CAS:
            if each.outcome is not UNKNOWN and (each.outcome is OK) != (each.expected == value):
                return False
            if each.expected == value:
                value = each.value
        elif each.kind is not GET:
            value = each.value
    return True


def test_thousands_of_operations_of_a_key_are_decided() -> None:
    assert violations(simulate(1, 5000, clients=8, doubt=0.01)) == []
