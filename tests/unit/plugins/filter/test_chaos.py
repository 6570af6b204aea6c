"""The filters of a chaos run: names and numbers as people write them, errors that name the variable."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.meshnode.lab.plugins.filter.chaos import (
    FilterModule,
    chaos_faults,
    chaos_schedule,
    chaos_verdict,
)
from ansible_collections.meshnode.lab.plugins.module_utils._chaos import CATALOGUE

SERVERS = ["server1", "server2", "server3"]
BOUNDS = {"writes": 20, "pair": "20", "agent": 20, "members": 60}


@pytest.mark.parametrize("wanted", ["kill,pause", "pause kill", ["pause", "kill"], "pause, kill,"])
def test_faults_are_a_list_or_a_text(wanted: str | list[str]) -> None:
    assert chaos_faults(wanted, {}) == ["kill", "pause"]


def test_all_faults_are_those_that_no_node_refuses() -> None:
    assert chaos_faults("all", {"slow_disk": "no controller"}) == [n for n in CATALOGUE if n != "slow_disk"]
    assert chaos_faults("", {}) == list(CATALOGUE)
    assert chaos_faults("none", {}) == []


def test_a_fault_that_was_named_and_is_refused_is_an_error_with_the_reason() -> None:
    with pytest.raises(AnsibleFilterError, match="slow_disk is refused: no controller"):
        chaos_faults("kill,slow_disk", {"slow_disk": "no controller"})
    with pytest.raises(AnsibleFilterError, match="'meteor' is not known"):
        chaos_faults("meteor", {})


def test_a_schedule_has_steps_a_digest_and_a_table() -> None:
    made = chaos_schedule(["kill"], 7, "2", SERVERS, [], True)
    assert made["rows"][0] == ["at", "for", "fault", "of", "on"]
    assert len(made["rows"]) == len(made["steps"]) + 1
    assert made["digest"] == chaos_schedule(["kill"], "7", 2.0, SERVERS, [], True)["digest"]


@pytest.mark.parametrize(
    ("minutes", "text"), [("soon", "'soon' is not a number"), (0, "chaos_minutes: 0 is not")]
)
def test_minutes_that_are_none_are_named(minutes: object, text: str) -> None:
    with pytest.raises(AnsibleFilterError, match=text):
        chaos_schedule(["kill"], 7, minutes, SERVERS, [], True)


def test_a_verdict_is_made_of_reports() -> None:
    report = {
        "node": "client1",
        "targets": [{"name": "dns x", "requests": 0, "failed": 0, "failures": [], "outages": []}],
    }
    found = chaos_verdict([], [report], BOUNDS, 10, SERVERS, ["client1"])
    assert found["broken"] == ["client1 dns x: nothing was asked: the run proves nothing"]


@pytest.mark.parametrize("bounds", [{}, {**BOUNDS, "pair": "soon"}, {**BOUNDS, "agent": None}])
def test_bounds_that_are_missing_or_no_numbers_are_named(bounds: dict[str, object]) -> None:
    with pytest.raises(AnsibleFilterError, match="mesh_chaos_bounds: give seconds for each of writes, pair"):
        chaos_verdict([], [], bounds, 10, SERVERS, [])


def test_faults_without_times_are_named() -> None:
    with pytest.raises(AnsibleFilterError, match="faults: "):
        chaos_verdict([{}], [], BOUNDS, 10, SERVERS, [])


def test_the_filters_are_there_by_name() -> None:
    assert set(FilterModule().filters()) == {"chaos_faults", "chaos_schedule", "chaos_verdict"}
