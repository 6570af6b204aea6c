"""The settings of Autopilot in the replicated state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.control.autopilot import DEFAULT, AutopilotConfig, fault
from meshnode.control.command import AutopilotSet, KvPut, Lead
from meshnode.control.machine import Refusal, StateMachine
from meshnode.control.snapshot import _frame as frame

CONFIG = AutopilotConfig(False, 0.5, 9)


def test_a_new_cluster_has_consuls_defaults() -> None:
    assert StateMachine().autopilot.config == AutopilotConfig(True, 0.2, 250, 10.0, "", False, "", 0, 0)


def test_a_change_has_the_index_of_its_command_and_wakes_who_waits() -> None:
    machine = StateMachine()
    assert machine.apply(3, AutopilotSet(CONFIG)) is True
    assert machine.apply(5, AutopilotSet(replace(CONFIG, max_trailing_logs=1, create_index=77))) is True
    assert machine.autopilot.config == AutopilotConfig(False, 0.5, 1, create_index=3, modify_index=5)
    assert machine.take_touched() == {("autopilot",)}


@pytest.mark.parametrize(("expected", "done"), [(3, True), (2, False), (0, False), (None, True)])
def test_with_an_index_it_is_a_check_and_set(expected: int | None, done: bool) -> None:
    machine = StateMachine()
    machine.apply(3, AutopilotSet(CONFIG))
    machine.take_touched()
    assert machine.apply(4, AutopilotSet(DEFAULT, expected)) is done
    assert (machine.autopilot.index, bool(machine.take_touched())) == ((4, True) if done else (3, False))


def test_a_leader_that_was_replaced_sets_nothing() -> None:
    machine = StateMachine()
    machine.apply(1, Lead("server2", 5))
    result = machine.apply(2, AutopilotSet(CONFIG, 0, epoch=4))
    assert isinstance(result, Refusal)
    assert machine.autopilot.config == DEFAULT


def test_a_snapshot_has_them_and_one_without_them_gives_the_defaults() -> None:
    machine, copy = StateMachine(), StateMachine()
    machine.apply(1, KvPut("a", b"1"))
    plain = b"".join(machine.snapshot())
    assert b"autopilot" not in plain, "a release before this one reads it"
    machine.apply(2, AutopilotSet(CONFIG))
    copy.restore(b"".join(machine.snapshot()))
    assert copy.autopilot.config == replace(CONFIG, create_index=2, modify_index=2)
    copy.restore(plain)
    assert copy.autopilot.config == DEFAULT


@pytest.mark.parametrize("row", [{}, [1] * 9, "text", [True, "0.2", 250, 10.0, "", False, "", 0, 0]])
def test_a_snapshot_with_other_things_in_their_place_is_refused(row: Any) -> None:
    machine = StateMachine()
    machine.apply(1, KvPut("a", b"1"))
    whole = b"".join(machine.snapshot())
    end = frame("end", [1])
    assert whole.endswith(end)
    with pytest.raises(RemoteProtocolError):
        machine.restore(whole.removesuffix(end) + frame("autopilot", [row]) + frame("end", [2]))
    assert machine.kv.get("a")[1] is not None


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (AutopilotConfig(last_contact_threshold=-0.1), "LastContactThreshold"),
        (AutopilotConfig(last_contact_threshold=1e18), "LastContactThreshold"),
        (AutopilotConfig(max_trailing_logs=-1), "MaxTrailingLogs"),
        (AutopilotConfig(max_trailing_logs=2**63), "MaxTrailingLogs"),
        (AutopilotConfig(server_stabilization_time=5.0), "ServerStabilizationTime must stay 10s"),
        (AutopilotConfig(redundancy_zone_tag="zone"), "RedundancyZoneTag must stay empty"),
        (AutopilotConfig(disable_upgrade_migration=True), "DisableUpgradeMigration must stay false"),
        (AutopilotConfig(upgrade_version_tag="v"), "UpgradeVersionTag must stay empty"),
    ],
)
def test_what_has_no_meaning_here_is_refused_by_name(config: AutopilotConfig, field: str) -> None:
    assert fault(config).startswith(field)


@pytest.mark.parametrize(
    "config", [DEFAULT, CONFIG, AutopilotConfig(True, 0.0, 0), AutopilotConfig(True, 9e9, 2**63 - 1)]
)
def test_what_has_a_meaning_may_be_anything_in_its_range(config: AutopilotConfig) -> None:
    assert fault(config) == ""
