"""Two state machines: what rules in one is taken over by the other, from whatever it had before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.acl.authorizer import ALLOW_ALL, Authorizer
from meshnode.base.errors import RemoteProtocolError
from meshnode.control import replica
from meshnode.control.command import (
    Command,
    ConfigEntryDelete,
    ConfigEntrySet,
    IntentionDelete,
    IntentionSet,
    IntentionsReplace,
    IntentionUpsert,
    parse_command,
    serialize_command,
)
from meshnode.control.config_entry_commands import EntryName, PrimaryRules
from meshnode.control.endpoints import config_entry, intention
from meshnode.control.machine import Refusal, StateMachine
from meshnode.control.replica import differences, parse_rules
from meshnode.intentions.model import HttpMatch, Intention, Permission, ServiceName
from tests.support.state_api import Grants

NAMES = ["web", "db", "*"]
ROW = Intention("i1", "api", "web", "deny", created_at=1_700_000_000.25, updated_at=1_700_000_001.5)


def lists(machine: StateMachine, authorizer: Authorizer = ALLOW_ALL) -> tuple[dict[str, Any], dict[str, Any]]:
    entries = config_entry.METHODS["ConfigEntry.List"].read(machine, {"Kind": ""}, authorizer)[1]  # type: ignore[union-attr]
    rows = intention.METHODS["Intention.List"].read(machine, {}, authorizer)[1]  # type: ignore[union-attr]
    return entries, rows


def apply(machine: StateMachine, *commands: Command) -> list[Any]:
    return [
        machine.apply(machine.last_index + 1, parse_command(serialize_command(command)))
        for command in commands
    ]


def take_over(primary: StateMachine, secondary: StateMachine) -> list[PrimaryRules]:
    rules = parse_rules(*lists(primary))
    commands = [*differences(secondary.config, secondary.intentions, rules, 0)]
    assert all(result is True for result in apply(secondary, *commands))
    return commands


def said(machine: StateMachine) -> Any:
    """Everything that rules, without the indexes of this machine."""
    rows = [replace(row, create_index=0, modify_index=0) for row in machine.intentions.every()[1]]
    entries = [replace(row, create_index=0, modify_index=0) for row in machine.config.every()]
    metas = [(found.key, dict(found.meta)) for found in machine.intentions.destinations()]
    return rows, entries, metas


_intentions = st.builds(
    Intention,
    st.sampled_from(["i1", "i2", "i3", "i4"]),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.sampled_from(["allow", "deny"]),
    created_at=st.integers(1, 4).map(lambda at: 1_700_000_000 + at / 3),
    meta=st.sampled_from([{}, {"k": "v"}]),
    description=st.sampled_from(["", "why"]),
    default_port=st.sampled_from([0, 80]),
)
_entries = st.sampled_from(
    [
        {"Kind": "service-defaults", "Name": "web", "Protocol": "http"},
        {"Kind": "service-defaults", "Name": "web", "Protocol": "grpc", "Meta": {"a": "b"}},
        {"Kind": "service-defaults", "Name": "db", "Protocol": "tcp"},
        {"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100}]},
        {"Kind": "proxy-defaults", "Name": "global", "Config": {"a": [1, {"b": None}]}},
    ]
)
_commands = st.lists(
    st.one_of(
        st.builds(IntentionSet, _intentions, st.booleans()),
        st.builds(IntentionUpsert, _intentions),
        st.builds(IntentionDelete, st.sampled_from(["i1", "i2"])),
        st.builds(ConfigEntrySet, _entries),
        st.builds(ConfigEntryDelete, st.just("service-defaults"), st.sampled_from(["web", "db"])),
        st.builds(
            lambda row, meta: IntentionsReplace(row.destination_name, "default", (row,), meta),
            _intentions,
            st.sampled_from([{}, {"m": "1"}]),
        ),
    ),
    max_size=12,
)


@given(_commands, _commands)
def test_whatever_both_had_the_secondary_then_says_what_the_primary_says(
    there: list[Command], here: list[Command]
) -> None:
    primary, secondary = StateMachine(), StateMachine()
    apply(primary, *there)
    apply(secondary, *here)
    take_over(primary, secondary)
    rows, *others = said(secondary)
    # Times are told in microseconds.
    assert rows == [*parse_rules(*lists(primary)).intentions]
    assert others == [*said(primary)[1:]]
    assert take_over(primary, secondary) == []


def test_an_intention_keeps_its_id_its_times_and_its_permissions() -> None:
    primary, secondary = StateMachine(), StateMachine()
    layered = Intention(
        "i2", "api", "web", permissions=(Permission("deny", HttpMatch("", "/a")),), created_at=2.0
    )
    apply(primary, ConfigEntrySet({"Kind": "service-defaults", "Name": "web", "Protocol": "http"}))
    assert apply(primary, IntentionSet(layered, create=True)) == ["i2"]
    take_over(primary, secondary)
    found = secondary.intentions.get("i2")[1]
    assert found is not None
    assert (found.permissions, found.created_at) == (layered.permissions, 2.0)
    # Not refused on the way though its protocol may come in another command.
    assert secondary.config.entries.get("service-defaults", "web") is not None


def test_the_times_of_an_intention_are_the_primarys() -> None:
    primary, secondary = StateMachine(), StateMachine()
    apply(primary, IntentionSet(ROW, create=True))
    take_over(primary, secondary)
    assert said(secondary) == said(primary)


def test_an_intention_of_our_own_gives_way_to_the_primarys_of_the_same_names() -> None:
    primary, secondary = StateMachine(), StateMachine()
    apply(primary, IntentionSet(ROW, create=True))
    apply(secondary, IntentionSet(replace(ROW, id="own", action="allow"), create=True))
    take_over(primary, secondary)
    assert [(row.id, row.action) for row in secondary.intentions.every()[1]] == [("i1", "deny")]


def test_one_that_was_renamed_in_the_primary_takes_its_id_along() -> None:
    primary, secondary = StateMachine(), StateMachine()
    apply(primary, IntentionSet(ROW, create=True))
    take_over(primary, secondary)
    apply(primary, IntentionSet(replace(ROW, destination_name="db"), create=False))
    take_over(primary, secondary)
    assert secondary.intentions.exact(ServiceName("api"), ServiceName("web"))[1] is None
    assert secondary.intentions.exact(ServiceName("api"), ServiceName("db"))[1] is not None


def test_differences_that_are_too_many_for_one_command_come_in_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica, "MAX_BYTES", 1000)
    primary, secondary = StateMachine(), StateMachine()
    apply(
        primary,
        *(IntentionSet(replace(ROW, id=f"i{n}", source_name=f"s{n}"), create=True) for n in range(50)),
    )
    commands = take_over(primary, secondary)
    assert len(commands) > 3
    assert all(len(serialize_command(command)) <= 1000 for command in commands)
    assert said(secondary) == said(primary)


def test_a_list_that_access_control_has_cut_short_is_not_taken_for_the_whole() -> None:
    primary = StateMachine()
    apply(primary, IntentionSet(ROW, create=True))
    with pytest.raises(RemoteProtocolError, match="only a part of its intentions"):
        parse_rules(*lists(primary, Grants()))


@pytest.mark.parametrize(
    ("entries", "rows"),
    [
        ({"Entries": 5}, {"Intentions": []}),
        ({"Entries": [{"Kind": "nothing"}]}, {"Intentions": []}),
        ({"Entries": []}, {"Intentions": [{"ID": ""}]}),
        ({"Entries": []}, {"Intentions": [{"ID": "i1", "CreatedAt": "yesterday"}]}),
        ({"Entries": []}, {"Intentions": [{"ID": 7}]}),
    ],
)
def test_an_answer_that_cannot_be_read_changes_nothing(entries: Any, rows: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_rules(entries, rows)


@pytest.mark.parametrize(
    "command",
    [
        PrimaryRules(entries=({"Kind": "nothing"},), gone_intentions=("i1",)),
        PrimaryRules(intentions=(replace(ROW, id="i2", action="maybe"),), gone_intentions=("i1",)),
    ],
)
def test_a_command_with_something_unusable_changes_nothing_at_all(command: PrimaryRules) -> None:
    machine = StateMachine()
    apply(machine, IntentionSet(ROW, create=True))
    (result,) = apply(machine, command)
    assert isinstance(result, Refusal)
    assert machine.intentions.get("i1")[1] is not None


def test_what_goes_is_named_by_kind_and_name() -> None:
    machine = StateMachine()
    apply(machine, ConfigEntrySet({"Kind": "service-defaults", "Name": "web", "Protocol": "http"}))
    assert apply(machine, PrimaryRules(gone_entries=(EntryName("service-defaults", "WEB"),))) == [True]
    assert machine.config.every() == []
