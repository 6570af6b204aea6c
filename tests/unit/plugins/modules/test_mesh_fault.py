"""The module as Ansible runs it, on a node that nothing is done to: refusals, check mode, what is undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _fault
from ansible_collections.meshnode.lab.plugins.module_utils._chaos import CATALOGUE
from ansible_collections.meshnode.lab.plugins.modules import mesh_fault

from tests.unit.plugins.module_run import Outcome, run_module


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "faults"
    monkeypatch.setattr(_fault, "DIRECTORY", str(made))
    monkeypatch.setattr(_fault.Faults.__init__, "__defaults__", (str(made),))
    monkeypatch.setattr(_fault, "FAKETIME", str(tmp_path / "none"))
    return made


def run(capsys: pytest.CaptureFixture[str], *, check: bool = True, **options: Any) -> Outcome:
    return run_module(mesh_fault.main, capsys, check=check, **options)


def test_a_node_says_what_it_can_have(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, state="asked")
    assert (told["changed"], told["faults"]) == (False, [])
    assert "install libfaketime on this node" in told["refused"]["clock"]
    assert set(told["refused"]) <= set(CATALOGUE)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"fault": "clock"}, "mesh_fault: fault: clock is refused: the wall clock belongs to the whole"),
        ({"fault": "pause", "hold": 30, "max_seconds": 30}, "the first has to be less than the second"),
        ({"fault": "pause", "hold": -1}, "the first has to be less than the second"),
        ({"fault": "pause", "max_seconds": 1e9}, "at most 3600"),
        ({"fault": "dns", "service": "etcd"}, "service: dns is not for 'etcd'"),
        ({}, "state is present but all of the following are missing: fault"),
    ],
)
def test_what_is_not_possible_is_refused_with_its_reason_before_anything_is_done(
    directory: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], text: str
) -> None:
    told = run(capsys, check=False, **options)
    assert told["failed"]
    assert text in told["msg"]
    assert not directory.exists()


def test_check_mode_says_that_it_would_change_and_does_nothing(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run(capsys, fault="pause")
    assert (told["changed"], told["faults"]) == (True, [])
    assert not directory.exists()


def test_what_is_there_is_undone_once(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory.mkdir()
    (directory / "cut.undo").write_text(_fault.undo_text([("true",)], "cut"))
    assert run(capsys, state="absent")["undone"] == ["cut"]
    assert (directory / "cut.undo").exists()
    assert run(capsys, check=False, state="absent", name="kill")["changed"] is False
    told = run(capsys, check=False, state="absent")
    assert (told["changed"], told["undone"], told["faults"]) == (True, ["cut"], [])
    assert run(capsys, check=False, state="absent")["changed"] is False
