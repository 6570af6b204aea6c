"""The entries that a cluster begins with: written where there is none, in any order, and never over another's."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from meshnode.agent.config_entry_bootstrap import bootstrap_entries
from meshnode.config_entries.model import ConfigEntry
from meshnode.config_entries.parse import parse_entry
from meshnode.control.command import Command, ConfigEntrySet, parse_command, serialize_command
from meshnode.control.log import LogUnavailableError
from meshnode.control.machine import StateMachine
from meshnode.control.method import Moment
from meshnode.intentions.model import ServiceName

SHARED = parse_entry({"Kind": "proxy-defaults", "Config": {"protocol": "http"}})
ROUTER = parse_entry(
    {"Kind": "service-router", "Name": "web", "Routes": [{"Destination": {"Service": "api"}}]}
)
RULES = parse_entry({
    "Kind": "service-intentions", "Name": "web", "Sources": [{"Name": "a", "Permissions": [
        {"Action": "allow", "HTTP": {"PathPrefix": "/"}}]}, {"Name": "*", "Action": "deny"}],
})  # fmt: skip


class State:
    """A state whose log is memory; ``before`` is called with each command, before it is written."""

    def __init__(self) -> None:
        self.machine = StateMachine()
        self.written: list[Command] = []
        self.before: Callable[[Command], None] = lambda command: None

    async def submit(self, command: Command, *, epoch: int) -> Any:
        assert epoch == 4
        self.before(command)
        self.written.append(command)
        return self.machine.apply(self.machine.last_index + 1, parse_command(serialize_command(command)))

    def begin(self, *entries: ConfigEntry) -> None:
        ids = (f"id-{number}" for number in itertools.count())
        moment = Moment(5.0, lambda: next(ids))
        asyncio.run(bootstrap_entries(self, entries, 4, lambda: moment))  # type: ignore[arg-type]

    @property
    def names(self) -> list[str]:
        return [f"{row.kind}/{row.name}" for row in self.machine.config.every()]


@pytest.fixture
def state() -> State:
    return State()


def test_entries_are_written_whatever_their_order(state: State) -> None:
    state.begin(ROUTER, RULES, SHARED)
    assert state.names == ["proxy-defaults/global", "service-router/web"]
    found = state.machine.intentions.every()[1]
    assert [(row.source_name, row.created_at) for row in found] == [("a", 5.0), ("*", 5.0)]


def test_what_is_there_stays_as_it_is_and_nothing_is_written_twice(state: State) -> None:
    state.begin(SHARED, ROUTER, RULES)
    index = state.machine.last_index
    other = parse_entry(
        {"Kind": "service-intentions", "Name": "web", "Sources": [{"Name": "z", "Action": "deny"}]}
    )
    state.begin(parse_entry({"Kind": "proxy-defaults", "Config": {"protocol": "grpc"}}), ROUTER, other)
    assert state.machine.last_index == index
    assert state.machine.intentions.destination(ServiceName("web")) is not None


def test_who_writes_one_meanwhile_wins(state: State) -> None:
    def overtake(command: Command) -> None:
        state.before = lambda command: None
        fields = {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "grpc"}}
        state.machine.apply(1, ConfigEntrySet(fields))

    state.before = overtake
    state.begin(SHARED)
    (row,) = state.machine.config.every()
    assert row.modify_index == 1


def test_one_that_does_not_fit_is_told_and_the_others_are_written(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        state.begin(ROUTER, parse_entry({"Kind": "service-resolver", "Name": "x"}))
    assert state.names == ["service-resolver/x"]
    assert "service-router/web was not written: discovery chain" in caplog.text


def test_a_log_that_is_away_is_the_callers_to_try_again(state: State) -> None:
    def away(command: Command) -> None:
        raise LogUnavailableError("away")

    state.before = away
    with pytest.raises(LogUnavailableError):
        state.begin(SHARED)
    state.before = lambda command: None
    state.begin(SHARED)
    assert state.names == ["proxy-defaults/global"]
