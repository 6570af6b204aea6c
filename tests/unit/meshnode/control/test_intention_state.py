"""Intentions inside the state machine: results of their commands, and snapshots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshnode.control.command import Command, IntentionDelete, IntentionSet, IntentionUpsert, KvPut
from meshnode.control.machine import Refusal, StateMachine
from meshnode.intentions.model import HeaderMatch, HttpMatch, Intention, Permission
from meshnode.intentions.store import INTENTIONS

ROW = Intention("i1", "web", "db", "deny", created_at=1.5, updated_at=1.5, meta={"k": "é"})
LAYERED = Intention(
    "i2", "*", "db", description="d", audit=True, default_addr="a", default_port=1,
    permissions=(Permission("deny", HttpMatch("", "/a", "", (HeaderMatch("x", exact="1", invert=True),), ("GET",))),),
)  # fmt: skip
#: Each command with its result.
HISTORY: list[tuple[Command, Any]] = [
    (IntentionSet(ROW, create=True), "i1"),
    (IntentionSet(replace(ROW, id="i9"), create=True),
     Refusal("duplicate intention found: DENY default/web => default/db (ID: i1, Precedence: 9)")),
    (IntentionSet(replace(ROW, id="i9", source_name="x"), create=False),
     Refusal("Cannot modify non-existent intention: 'i9'")),
    (IntentionSet(replace(ROW, source_name="w*"), create=False),
     Refusal("SourceName: wildcard character '*' cannot be used with partial values")),
    (IntentionUpsert(replace(ROW, action="")), Refusal("Action must be set to 'allow' or 'deny'")),
    (IntentionUpsert(LAYERED), "i2"),
    (IntentionUpsert(replace(LAYERED, id="i7", description="other")), "i2"),
    (IntentionSet(replace(ROW, action="allow"), create=False), "i1"),
    (IntentionDelete("gone"), "gone"),
    (IntentionSet(Intention("i3", "a", "b", "allow"), create=True), "i3"),
    (IntentionDelete("i3"), "i3"),
]  # fmt: skip


@pytest.fixture
def machine() -> StateMachine:
    machine = StateMachine()
    for index, (command, result) in enumerate(HISTORY, 1):
        assert machine.apply(index, command) == result
    return machine


def test_the_commands_leave_what_they_say(machine: StateMachine) -> None:
    index, rows = machine.intentions.every()
    assert index == 11
    assert rows == [
        replace(ROW, action="allow", create_index=1, modify_index=8),
        replace(LAYERED, description="other", create_index=6, modify_index=7),
    ]
    assert INTENTIONS in machine.take_touched()


def test_a_refusal_touches_nothing_and_moves_no_index(machine: StateMachine) -> None:
    machine.take_touched()
    assert isinstance(machine.apply(12, IntentionUpsert(replace(ROW, action=""))), Refusal)
    assert not machine.take_touched()
    assert machine.intentions.index == 11


def test_a_snapshot_holds_them_with_their_index(machine: StateMachine) -> None:
    data = b"".join(machine.snapshot())
    copy = StateMachine()
    copy.apply(1, IntentionSet(Intention("other", "x", "y", "deny"), create=True))
    copy.restore(data)
    assert copy.intentions.every() == machine.intentions.every()
    assert copy.intentions.exact(ROW.source, ROW.destination) == machine.intentions.exact(
        ROW.source, ROW.destination
    )
    assert b"".join(copy.snapshot()) == data


def test_a_snapshot_without_intentions_is_read_as_before_there_were_any() -> None:
    machine = StateMachine()
    machine.apply(1, KvPut("a", b""))
    data = b"".join(machine.snapshot())
    assert b"intention" not in data
    copy = StateMachine()
    copy.restore(data)
    assert copy.intentions.every() == (1, [])
