from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from meshnode.agent.primary_copy import PrimaryCopy
from meshnode.base.errors import MeshError
from meshnode.control.command import Command, IntentionSet, PrimaryRules, parse_command, serialize_command
from meshnode.control.machine import Refusal, StateMachine
from meshnode.intentions.model import Intention

ROW = {"ID": "i1", "SourceName": "api", "DestinationName": "web", "Action": "deny"}
TIMES = {"CreatedAt": "2026-01-01T00:00:00Z", "UpdatedAt": "2026-01-01T00:00:00Z"}


class Secondary:
    """A state, and a primary that answers with ``entries`` and ``rows``."""

    def __init__(self, entries: Any, rows: Any) -> None:
        self.answers = {"ConfigEntry.List": entries, "Intention.List": rows}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.epochs: list[int | None] = []
        self.machine = StateMachine()
        self.refusal: Refusal | None = None
        held: Any = SimpleNamespace(machine=self.machine, submit=self.submit, barrier=self.barrier)
        self.copy = PrimaryCopy(lambda: held, self.ask)

    async def ask(self, method: str, body: Mapping[str, Any]) -> Any:
        self.asked.append((method, dict(body)))
        return self.answers[method]

    async def barrier(self) -> int:
        return self.machine.last_index

    async def submit(self, command: Command, *, epoch: int | None = None) -> Any:
        self.epochs.append(epoch)
        if self.refusal is not None:
            return self.refusal
        return self.machine.apply(self.machine.last_index + 1, parse_command(serialize_command(command)))

    def step(self, index: int = 0) -> int:
        return asyncio.run(self.copy.step(index, 4))

    @property
    def ids(self) -> list[str]:
        return [row.id for row in self.machine.intentions.every()[1]]


def test_what_differs_is_written_under_the_leaders_epoch_and_it_goes_on_from_the_primarys_index() -> None:
    secondary = Secondary({"Entries": [], "Index": 12}, {"Intentions": [{**ROW, **TIMES}]})
    assert secondary.step() == 12
    assert (secondary.ids, secondary.epochs) == (["i1"], [4])
    assert secondary.step(12) == 12
    assert secondary.epochs == [4]
    (first, _), (again, _) = secondary.asked[0], secondary.asked[2]
    assert first == again == "ConfigEntry.List"
    assert "MinQueryIndex" not in secondary.asked[0][1]
    assert secondary.asked[2][1]["MinQueryIndex"] == 12


@pytest.mark.parametrize(
    ("entries", "rows"),
    [
        ({"Entries": [], "ResultsFilteredByACLs": True}, {"Intentions": []}),
        ({"Entries": []}, {"Intentions": [], "ResultsFilteredByACLs": True}),
        (None, {"Intentions": []}),
        ({"Entries": []}, ["x"]),
    ],
)
def test_a_list_that_is_not_whole_deletes_nothing(entries: Any, rows: Any) -> None:
    secondary = Secondary(entries, rows)
    secondary.machine.apply(1, IntentionSet(Intention("own", "a", "b", "deny"), create=True))
    with pytest.raises(MeshError):
        secondary.step()
    assert secondary.ids == ["own"]


def test_a_refusal_is_an_error_with_its_reason() -> None:
    secondary = Secondary({"Entries": []}, {"Intentions": [{**ROW, **TIMES}]})
    secondary.refusal = Refusal("it is over")
    with pytest.raises(MeshError, match="not taken over: it is over"):
        secondary.step()


def test_a_stale_leader_takes_nothing_over() -> None:
    machine = StateMachine()
    machine.epoch = 5
    assert isinstance(machine.apply(1, PrimaryRules(gone_intentions=("i1",), epoch=4)), Refusal)
