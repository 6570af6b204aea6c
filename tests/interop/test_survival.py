"""The state survives trouble: short versions of what ``make chaos`` does at length (docs/survival.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import scenarios
from tests.support.chaos_lab import Lab, lab_on_etcd
from tests.support.programs import needs, skip

SECONDS = 1.0
needs_etcd = needs("etcd", "etcdctl")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_on_etcd(tmp_path_factory.mktemp("survival")) as made:
        yield made


@needs_etcd
def test_the_history_is_linearizable_when_the_leader_is_killed(lab: Lab) -> None:
    scenarios.leader_is_killed(lab, SECONDS)


@needs_etcd
def test_the_history_is_linearizable_when_the_leader_of_etcd_is_killed(lab: Lab) -> None:
    scenarios.leader_of_etcd_is_killed(lab, SECONDS)


@needs_etcd
def test_nothing_is_lost_when_every_process_is_killed_at_once(lab: Lab) -> None:
    scenarios.everything_is_killed(lab, SECONDS)


@needs_etcd
def test_a_snapshot_carries_the_state_to_new_machines_and_indexes_go_on(lab: Lab, tmp_path: Path) -> None:
    scenarios.snapshot_goes_to_new_machines(lab, tmp_path)


def test_a_full_disk_refuses_writes_keeps_reading_and_loses_nothing(tmp_path: Path) -> None:
    if not scenarios.can_mount(tmp_path):
        skip("mount")
    scenarios.log_fills_its_disk(tmp_path)
